/**
 * Signing a node's certificate: dates, key and names as the CA decides them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, parseCertificate, type SubjectAltName } from "../../pki/certificate.ts";
import { composeCsrTbs, type CsrToSign, IssueError, signCsr } from "../../pki/issue/mod.ts";
import { type Csr, csrBytesMax, readCsrDer } from "../../pki/issue/read_csr.ts";
import { backdateMs } from "./backdate.ts";
import { CaRefused } from "./ca_refused.ts";
import { type CertificateAuthority, keyHash } from "./certificate_authority.ts";

/** A request that was read; its signature proves that its sender has the key. */
export interface ReadRequest {
  readonly csr: Csr;
  /** SHA-256 of the key's SPKI, hexadecimal. */
  readonly key: string;
}

/** Reads a signing request. Nothing but its key counts; the keys of CAs are refused. */
export function readRequest(ca: CertificateAuthority, der: Uint8Array): Result.Result<ReadRequest, CaRefused> {
  if (der.length > csrBytesMax) {
    return Result.fail(new CaRefused({ code: "csr-malformed", detail: `it is larger than ${csrBytesMax} octets` }));
  }
  const read = Result.try({
    try: () => readCsrDer(der),
    catch: (error) => new CaRefused({ code: "csr-malformed", detail: detailOf(error) }),
  });
  return Result.flatMap(read, (csr) => {
    const { spki, algorithm } = csr.publicKey;
    const detail = [
        ca.anchor,
        ...ca.intermediates,
        ...ca.next,
        ...ca.retired.flatMap((each) => each.intermediates),
      ].some(({ publicKey }) => sameBytes(publicKey.spki, spki))
      ? "the request is about a CA's key"
      : algorithm !== "ed25519"
      ? `the request is about a key of type ${csr.publicKey.label}; nodes have Ed25519 keys`
      : undefined;
    if (detail !== undefined) return Result.fail(new CaRefused({ code: "csr-not-allowed", detail }));
    return Result.succeed({ csr, key: keyHash(spki) });
  });
}

/**
 * Subject and names of a renewal are absent, or the former certificate's (RFC 7030 §4.2.2). Subjects are compared as text: strongSwan
 * writes a PrintableString where the certificate has a UTF8String.
 */
export function checkWishes(
  csr: Csr,
  former: { readonly subject: { readonly text: string }; readonly names: readonly SubjectAltName[] },
): Result.Result<void, CaRefused> {
  if (csr.subject.text !== "" && csr.subject.text !== former.subject.text) {
    return notAllowed(`the request asks for ${csr.subject.text}, the certificate has ${former.subject.text}`);
  }
  const wished = namesText(csr.names);
  if (wished !== "" && wished !== namesText(former.names)) {
    return notAllowed("the request asks for other names than the certificate has");
  }
  return Result.void;
}

function namesText(names: readonly SubjectAltName[]): string {
  return names.map(({ type, value }) => JSON.stringify([type, value])).sort().join();
}

const notAllowed = (detail: string) => Result.fail(new CaRefused({ code: "csr-not-allowed", detail }));

/** Whom a certificate is for, and how long it lives. */
export interface LeafTerms {
  readonly identity: CsrToSign["identity"];
  readonly lifetimeMs: number;
}

/** Signs a certificate for a request's key. It ends with its issuer at the latest. */
export function signLeaf(
  ca: CertificateAuthority,
  request: ReadRequest,
  terms: LeafTerms,
  at: Date,
): Effect.Effect<Certificate, CaRefused> {
  return issuing(ca, { request, terms, at }, async (asked) => {
    const { der } = await signCsr(asked);
    return Result.getOrThrow(parseCertificate(Uint8Array.from(Buffer.from(der))));
  });
}

/** The bytes that would be signed for it (`tbsCertificate`). */
export function leafTbs(
  ca: CertificateAuthority,
  request: ReadRequest,
  terms: LeafTerms,
  at: Date,
): Effect.Effect<Uint8Array, CaRefused> {
  return issuing(ca, { request, terms, at }, async (asked) => Uint8Array.from(await composeCsrTbs(asked)));
}

interface Leaf {
  readonly request: ReadRequest;
  readonly terms: LeafTerms;
  readonly at: Date;
}

function issuing<A>(
  ca: CertificateAuthority,
  { request: { csr }, terms: { identity, lifetimeMs }, at }: Leaf,
  issue: (asked: CsrToSign) => Promise<A>,
): Effect.Effect<A, CaRefused> {
  const end = ca.issuer.certificate.period.notAfter;
  if (end <= at) {
    const detail = `${ca.issuer.certificate.subject.text} ended at ${end.toISOString()}`;
    return Effect.fail(new CaRefused({ code: "issuer-ended", detail }));
  }
  const notAfter = new Date(Math.min(+at + lifetimeMs, +end));
  const notBefore = new Date(+at - backdateMs);
  return Effect.tryPromise({
    try: () => issue({ issuer: ca.issuer, csr, identity, notBefore, notAfter }),
    catch: refusalOf,
  });
}

/** What is wrong with the request is the sender's fault; everything else lies with the CA's key. */
function refusalOf(error: unknown): CaRefused {
  const problem = error instanceof IssueError ? error.problem : undefined;
  const code = problem === "csr-role" || problem === "san"
    ? "csr-not-allowed"
    : problem === "csr"
    ? "csr-malformed"
    : "signer-unavailable";
  return new CaRefused({ code, detail: detailOf(error) });
}

function detailOf(error: unknown): string {
  if (error instanceof IssueError) return error.detail;
  return error instanceof Error ? error.message : String(error);
}
