/**
 * The doctor on a node's chain and trust bundle (specification: "Certificate Validation Failures").
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../../pki/bytes.ts";
import { type Certificate, isSelfIssued, parseCertificate } from "../../../pki/certificate.ts";
import { keyMatches, type PrivateKey } from "../../../pki/key.ts";
import { parsePem } from "../../../pki/pem.ts";
import { daysUntil, doubtful, type Finding, fine, soonMs, wrong } from "./finding.ts";
import type { NodeFile } from "./node_file.ts";
import { shellWord } from "../../files/shell_word.ts";

/** What was found, and the certificates where all could be read. */
export interface CertificatesExamined {
  readonly findings: readonly Finding[];
  readonly certificates: readonly Certificate[] | undefined;
}

const newCertificate = "hypha-certutil csr on the node, hypha-certutil sign at the CA";

/** How a node of a `hypha-ca` gets another certificate: one that `sign` makes is not in the CA's register, and is not renewed. */
export const joinAgain = "hypha-ca token --replace at the CA, then join with it in an empty folder";

/** Reads a file of certificates; `check` is what a file that cannot be read is found under. */
export function readCertificates({ path, text }: NodeFile, check: string): CertificatesExamined {
  const refuse = (detail: string, mend = `hypha-certutil inspect ${shellWord(path)}`): CertificatesExamined => ({
    findings: [wrong(check, path, detail, mend)],
    certificates: undefined,
  });
  const blocks = parsePem(text);
  if (Result.isFailure(blocks)) return refuse(`line ${blocks.failure.line}: ${blocks.failure.detail}`);
  const odd = blocks.success.find(({ label }) => label !== "CERTIFICATE");
  if (odd !== undefined) return refuse(`line ${odd.line}: a block ${odd.label}, where certificates belong`);
  const certificates: Certificate[] = [];
  for (const { der, line } of blocks.success) {
    const parsed = parseCertificate(der);
    if (Result.isFailure(parsed)) return refuse(`line ${line}: ${parsed.failure.detail}`);
    certificates.push(parsed.success);
  }
  if (certificates.length === 0) return refuse("there is no certificate in it");
  return { findings: [fine(check, path, `${certificates.length} certificates`)], certificates };
}

/** Examines the node's own chain: key, order, dates. */
export function examineChain(
  path: string,
  chain: readonly Certificate[],
  { key, at, membership }: {
    readonly key: PrivateKey | undefined;
    readonly at: Date;
    /** Whether the node renews its certificate at a `hypha-ca`. */
    readonly membership: boolean;
  },
): readonly Finding[] {
  const [leaf, ...issuers] = chain as readonly [Certificate, ...Certificate[]];
  const another = membership ? joinAgain : newCertificate;
  const issuersMend = membership
    ? "hypha-ca rotate at the CA; the node's next certificate brings the new one"
    : another;
  const check = "certificate-expiry";
  return [
    ...(key === undefined ? [] : [matchFinding(path, chain, { key, another })]),
    orderFinding(path, chain),
    membership ? renewalFinding(path, leaf, at) : expiryFinding(check, path, leaf, { at, mend: another }),
    ...issuers.map((issuer) => expiryFinding(check, path, issuer, { at, mend: issuersMend })),
    isSelfIssued(leaf)
      ? wrong("self-signed", path, "the certificate is self-signed, and every peer refuses those", another)
      : fine("self-signed", path, `issued by ${leaf.issuer.text}`),
  ];
}

/** A node renews its certificate when a third of its life is left: it is late from then on. */
function renewalFinding(path: string, leaf: Certificate, at: Date): Finding {
  const { notBefore, notAfter } = leaf.period;
  const look = "start the node; its log says why it does not renew";
  const mend = at > notAfter ? `${look}. Too late after the end: ${joinAgain}` : look;
  const third = (notAfter.getTime() - notBefore.getTime()) / 3;
  return expiryFinding("certificate-expiry", path, leaf, { at, mend, soon: third });
}

/** Examines the certificate of an identity in hardware: the node renews it itself, with the certificates for TLS. */
export function examineIdentity(file: NodeFile, at: Date): readonly Finding[] {
  const { findings, certificates } = readCertificates(file, "identity-format");
  const [leaf] = certificates ?? [];
  if (leaf === undefined) return findings;
  const mend = at > leaf.period.notAfter
    ? "hypha-ca token --identity --replace, then join again with the same key"
    : "start the node with its token and its CA in reach; its log says why it was not renewed";
  const named = leaf.subjectAltNames.some(({ type, value }) =>
    type === "uri" && /^spiffe:\/\/[^/]+\/identity\//.test(value)
  );
  const kind = named
    ? fine("identity-kind", file.path, "an identity's")
    : wrong("identity-kind", file.path, "it is not an identity's certificate", "hypha-ca token --identity, then join");
  return [...findings, kind, expiryFinding("identity-expiry", file.path, leaf, { at, mend })];
}

function matchFinding(
  path: string,
  chain: readonly Certificate[],
  { key, another }: { readonly key: PrivateKey; readonly another: string },
): Finding {
  const place = chain.findIndex((certificate) => keyMatches(certificate, key));
  if (place === 0) return fine("key-match", path, "the key belongs to the certificate");
  const mend = place > 0
    ? `put the node's certificate first, its issuers behind it: ${makeChain(path)}`
    : `give the key that was made along with it, or a new one: ${another}`;
  const detail = place > 0
    ? `the certificate of the key is number ${place + 1} in the file`
    : "the key is not this certificate's";
  return wrong("key-match", path, detail, mend);
}

/** Through another file: one of those that are read may be the chain itself. */
const makeChain = (path: string) => `cat NODE-CERT.pem INTERMEDIATE-CERT.pem > CHAIN.pem && mv CHAIN.pem ${path}`;

function orderFinding(path: string, chain: readonly Certificate[]): Finding {
  const misplaced = chain.slice(1).find((issuer, index) => !sameBytes(chain[index]!.issuer.der, issuer.subject.der));
  if (misplaced !== undefined) {
    const mend = `each certificate stands before its issuer's: ${makeChain(path)}`;
    return doubtful("chain-order", path, `${misplaced.subject.text} did not issue what stands before it`, mend);
  }
  const last = chain.at(-1)!;
  if (chain.length > 1 && isSelfIssued(last)) {
    return doubtful("chain-order", path, `${last.subject.text} is a root, which peers have`, `take it out of ${path}`);
  }
  return fine("chain-order", path, "leaf first, each before its issuer");
}

/** Whether a certificate is valid, and how much longer. */
export function expiryFinding(
  check: string,
  path: string,
  { subject, period }: Certificate,
  { at, mend, soon = soonMs }: { readonly at: Date; readonly mend: string; readonly soon?: number },
): Finding {
  const { notBefore, notAfter } = period;
  const end = notAfter.toISOString();
  if (at < notBefore) {
    const begin = notBefore.toISOString();
    return wrong(check, path, `${subject.text} is valid from ${begin} only`, "check this machine's clock: timedatectl");
  }
  if (at > notAfter) return wrong(check, path, `${subject.text} expired at ${end}`, mend);
  const days = daysUntil(notAfter, at);
  if (notAfter.getTime() - at.getTime() < soon) {
    return doubtful(check, path, `${subject.text} expires in ${days} days, at ${end}`, mend);
  }
  return fine(check, path, `${subject.text} is valid until ${end}`);
}

/** Examines the trust bundle: order, dates, what does not belong there. A member's node writes its own, roots first: no reader needs an order. */
export function examineBundle(
  path: string,
  bundle: readonly Certificate[],
  { at, membership }: { readonly at: Date; readonly membership: boolean },
): readonly Finding[] {
  const rebuild = `hypha-certutil bundle --out NEW-BUNDLE.pem INTERMEDIATE-CERT.pem ROOT-CERT.pem`;
  const leaf = bundle.find(({ basicConstraints }) => basicConstraints?.ca !== true);
  const late = bundle.find((certificate, index) =>
    !membership && bundle.slice(0, index).some((earlier) => earlier !== certificate && isIssuer(earlier, certificate))
  );
  const twice = bundle.find(({ fingerprint }, index) =>
    bundle.slice(0, index).some((earlier) => earlier.fingerprint === fingerprint)
  );
  return [
    leaf === undefined
      ? fine("bundle-content", path, "CA certificates only")
      : doubtful("bundle-content", path, `${leaf.subject.text} is no CA and anchors nothing`, rebuild),
    late !== undefined
      ? doubtful("bundle-order", path, `${late.subject.text} stands behind its issuer`, rebuild)
      : twice !== undefined
      ? doubtful("bundle-order", path, `${twice.subject.text} is in it twice`, rebuild)
      : fine("bundle-order", path, membership ? "each once" : "intermediates before roots"),
    ...bundle.map((certificate) => expiryFinding("bundle-expiry", path, certificate, { at, mend: rebuild })),
  ];
}

/** Whether one names the other as its issuer; roots are their own. */
function isIssuer(issuer: Certificate, certificate: Certificate): boolean {
  return !isSelfIssued(certificate) && sameBytes(certificate.issuer.der, issuer.subject.der);
}
