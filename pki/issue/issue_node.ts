/**
 * Node (leaf) certificates.
 *
 * @module
 */
import {
  type Issued,
  issued,
  type IssueOverrides,
  type IssuePeriod,
  type IssuerFiles,
  keyToCertify,
  overridden,
  randomSerial,
  signCertificate,
} from "./certificate_template.ts";
import {
  authorityKeyId,
  basicConstraints,
  extendedKeyUsage,
  type Extension,
  keyIdOf,
  keyUsage,
  nodePurposes,
  subjectAltName,
  subjectKeyId,
} from "./extensions.ts";
import { type GeneralName, isDnsName, parseGeneralName, sanEntriesMax } from "./general_name.ts";
import { IssueError } from "./issue_error.ts";
import { type Issuer, type IssuerCheck, readIssuer } from "./issuer.ts";
import { encodeName, type SubjectName } from "./name.ts";

/** What a node's certificate is made of. */
export interface NodeRequest extends SubjectName, IssuePeriod {
  /** The CA that signs it. */
  readonly issuer: IssuerFiles | Issuer;
  /** Alternative names; {@linkcode alternativeNames} has the defaults. */
  readonly san?: readonly string[];
  /** The key to certify; a fresh Ed25519 key when absent. */
  readonly keyPem?: string;
  /** `unchecked` lets something sign that is no CA. */
  readonly issuerCheck?: IssuerCheck;
  /** Departures from the usual certificate. */
  readonly overrides?: IssueOverrides;
}

/** What the existing network's nodes look for in the certificate of a peer that they dial. */
const dialledName: GeneralName = { type: "ip", value: "0.0.0.0" };

/**
 * Makes a node's certificate: digitalSignature and keyAgreement, server and client at once, no CA.
 *
 * @throws {IssueError} When the issuer, a name, the period or the key is not usable.
 */
export async function issueNode(request: NodeRequest): Promise<Issued> {
  const issuer = readIssuer(request.issuer, request.issuerCheck);
  const subject = encodeName(request);
  const names = alternativeNames(request.commonName, request.san);
  const key = await keyToCertify(request.keyPem, request.overrides);
  const template = {
    serial: request.overrides?.serial ?? randomSerial(),
    issuer: issuer.certificate.subject.der,
    subject,
    period: request,
    spki: key.spki,
    extensions: overridden(nodeExtensions(key.publicBits, names, issuer), request.overrides),
  };
  return issued(await signCertificate(template, issuer.key), key);
}

/** The usual extensions of a node's certificate. */
export function nodeExtensions(publicBits: Uint8Array, names: readonly GeneralName[], issuer: Pick<Issuer, "keyId">) {
  return [
    basicConstraints(false),
    keyUsage(["digitalSignature", "keyAgreement"]),
    extendedKeyUsage(nodePurposes),
    ...(names.length === 0 ? [] : [subjectAltName(names)]),
    subjectKeyId(keyIdOf(publicBits)),
    authorityKeyId(issuer.keyId),
  ] satisfies Extension[];
}

/**
 * A node's alternative names. Unless a DNS name or an address is given, these are `IP:0.0.0.0` (what nodes of the
 * existing network check when they dial) and the common name where it is a DNS name; a URI (the role) comes on top of
 * them. An empty list means none at all.
 *
 * @throws {IssueError} `san` when one cannot be read, or there are too many.
 */
export function alternativeNames(commonName: string, san: readonly string[] | undefined): readonly GeneralName[] {
  const given = (san ?? []).map(parseGeneralName);
  if (given.length > sanEntriesMax) {
    throw new IssueError({ problem: "san", detail: `there are more than ${sanEntriesMax} alternative names` });
  }
  if (san?.length === 0 || given.some(({ type }) => type === "dns" || type === "ip")) return given;
  const own: GeneralName[] = isDnsName(commonName) ? [{ type: "dns", value: commonName }] : [];
  return [dialledName, ...own, ...given];
}
