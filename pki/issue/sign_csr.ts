/**
 * Certificate signing requests, the CA's half: only the key is the request's.
 *
 * @module
 */
import { Result } from "effect";
import { encodeTbs, randomSerial, signCertificate } from "./certificate_template.ts";
import type { IssuePeriod, IssuerFiles } from "./certificate_template.ts";
import { sameBytes } from "../bytes.ts";
import type { Certificate, SubjectAltName } from "../certificate.ts";
import { decodeDer } from "../der.ts";
import { readName } from "../distinguished_name.ts";
import type { GeneralName } from "./general_name.ts";
import { IssueError } from "./issue_error.ts";
import { alternativeNames, nodeExtensions } from "./issue_node.ts";
import { type Issuer, readIssuer } from "./issuer.ts";
import { encodeName, type SubjectName } from "./name.ts";
import { formatPem } from "../pem.ts";
import { type Csr, readCsr } from "./read_csr.ts";
import { loadLibrary, owned } from "./to_library.ts";

/** The request to sign and its issuer. */
export type CsrToSign = CsrTerms & (UnreadCsr | ReadCsr);

/** A request that was read. */
export interface ReadCsr {
  /** The request, whose signature was verified. */
  readonly csr: Csr;
}

/** A request that was not read yet. */
export interface UnreadCsr {
  /** The request, PEM. */
  readonly csrPem: string;
}

/** What a request is signed with. */
export interface CsrTerms extends IssuePeriod {
  /** The CA that signs it. */
  readonly issuer: IssuerFiles | Issuer;
  /** Whose certificate it is to be: nothing of this is taken from the request. */
  readonly identity: SignerIdentity | RenewedIdentity;
}

/** Subject and names that the signer gives. */
export interface SignerIdentity extends SubjectName {
  /** Alternative names; as for a node's certificate when absent. */
  readonly san?: readonly string[] | undefined;
}

/** Subject and names of a certificate that the signer renews. Whether it may be renewed is the caller's decision. */
export interface RenewedIdentity {
  /** The certificate that is renewed. */
  readonly renews: Certificate;
}

/** The certificate, and what became of the request's wishes. */
export interface SignedCsr {
  /** The certificate, PEM. */
  readonly certPem: string;
  /** The same, DER. */
  readonly der: Uint8Array;
  /** The alternative names that it got. */
  readonly names: readonly GeneralName[];
  /** What the request asked for and did not get: its subject, names, extensions, attributes. */
  readonly ignored: readonly string[];
}

/**
 * Signs a request. Only the key is the request's: subject and alternative names, and with them the role, are the
 * signer's, and the extensions are those of a node's certificate.
 *
 * A request that asks for a URI name, which is a role, must ask for one that the signer gives: a node that expects
 * another role than it gets is a mistake that is better found here.
 *
 * @throws {IssueError} When the issuer, a name or the request is not usable, the request's signature is wrong, its key is
 * the issuer's own, or the period ends after the issuer's certificate.
 */
export async function signCsr(request: CsrToSign): Promise<SignedCsr> {
  const { template, issuer, names, ignored } = await readToSign(request);
  const der = await signCertificate(template, issuer.key);
  return { certPem: formatPem("CERTIFICATE", der), der, names, ignored };
}

/**
 * The bytes that {@linkcode signCsr} would sign (`tbsCertificate`), after the same checks.
 *
 * @throws {IssueError} As `signCsr`.
 */
export async function composeCsrTbs(request: CsrToSign): Promise<Uint8Array> {
  const { template, issuer } = await readToSign(request);
  return encodeTbs(template, issuer.key.signatureAlgorithm);
}

async function readToSign(request: CsrToSign) {
  const issuer = readIssuer(request.issuer);
  const csr = "csr" in request ? request.csr : await readGiven(request);
  checkForeignKey(csr, issuer);
  checkWithin(request, issuer);
  const { subject, subjectText, names } = identityOf(request.identity);
  checkRoleWish(csr, names);
  const template = {
    serial: randomSerial(),
    issuer: issuer.certificate.subject.der,
    subject,
    period: request,
    spki: csr.publicKey.spki,
    extensions: nodeExtensions(csr.publicKey.raw, names, issuer),
  };
  return { template, issuer, names, ignored: ignoredOf(csr, subjectText, names) };
}

/**
 * The library verifies the signature of a file's request too, after our own reader: the certificate signed here lasts a year. A CA
 * as a service signs for days, and the second verification was half of a certificate's processor time there.
 */
async function readGiven({ csrPem }: UnreadCsr): Promise<Csr> {
  const csr = readCsr(csrPem);
  const { Pkcs10CertificateRequest } = await loadLibrary();
  if (await new Pkcs10CertificateRequest(owned(csr.der)).verify()) return csr;
  throw new IssueError({ problem: "csr", detail: "the request is not signed by the key it is about" });
}

/** A node with the CA's key could not be told from the CA. */
function checkForeignKey({ publicKey }: Csr, { certificate }: Issuer): void {
  if (!sameBytes(publicKey.spki, certificate.publicKey.spki)) return;
  throw new IssueError({ problem: "csr", detail: "the request is about the CA's own key" });
}

/** A certificate is of no use after its issuer's. */
function checkWithin({ notAfter }: IssuePeriod, { certificate }: Issuer): void {
  const end = certificate.period.notAfter;
  if (Math.floor(notAfter.getTime() / 1_000) <= end.getTime() / 1_000) return;
  throw new IssueError({ problem: "validity", detail: `the period ends after the CA's, at ${end.toISOString()}` });
}

interface Identity {
  /** DER. */
  readonly subject: Uint8Array;
  readonly subjectText: string;
  readonly names: readonly GeneralName[];
}

function identityOf(identity: CsrToSign["identity"]): Identity {
  if ("renews" in identity) {
    const { subject, subjectAltNames } = identity.renews;
    return { subject: subject.der, subjectText: subject.text, names: subjectAltNames.map(issuable) };
  }
  const subject = encodeName(identity);
  return { subject, subjectText: nameText(subject), names: alternativeNames(identity.commonName, identity.san) };
}

function nameText(subject: Uint8Array): string {
  return Result.getOrThrow(decodeDer(subject, (cursor) => readName(cursor, "subject"))).text;
}

/**
 * A name of a kind that is issued here.
 *
 * @throws {IssueError} `san` for another one.
 */
export function issuable({ type, value }: SubjectAltName): GeneralName {
  if (type !== "directory" && type !== "other") return { type, value };
  throw new IssueError({ problem: "san", detail: `the certificate has a name of a kind not issued here: ${value}` });
}

function checkRoleWish(csr: Csr, names: readonly GeneralName[]): void {
  const wish = csr.names.find((name) => name.type === "uri" && !isGiven(name, names));
  if (wish === undefined) return;
  const given = names.filter(({ type }) => type === "uri").map(({ value }) => value);
  const instead = given.length === 0 ? "the signer gives no URI" : `the signer gives ${given.join(", ")}`;
  throw new IssueError({ problem: "csr-role", detail: `the request asks for URI:${wish.value}, and ${instead}` });
}

function isGiven({ type, value }: SubjectAltName, names: readonly GeneralName[]): boolean {
  const plain = (text: string) => type === "dns" ? text.toLowerCase() : text;
  return names.some((name) => name.type === type && plain(name.value) === plain(value));
}

function ignoredOf(csr: Csr, subject: string, names: readonly GeneralName[]): readonly string[] {
  const wished = csr.subject.text;
  return [
    ...(wished === "" || wished === subject ? [] : [`subject ${wished}`]),
    ...csr.names.filter((name) => !isGiven(name, names)).map(({ type, value }) =>
      `${type === "email" ? type : type.toUpperCase()}:${value}`
    ),
    ...csr.others,
  ];
}
