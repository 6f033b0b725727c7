/**
 * Every reason this network has to refuse a peer, a certificate or a revocation list.
 *
 * A refusal is a tagged error. Its `code` is kebab-case and never changes; its fields are the data that led to it; its
 * `hint` tells the operator what to do about it (specification: "Troubleshooting Security Issues"). `refusal_table.ts` has
 * all of that; here are the classes. A peer learns only that it was refused.
 *
 * @module
 */
import type { YieldableError } from "effect/Cause";
import * as Data from "effect/Data";
import type { CertificateLabel } from "./refusal_row.ts";
import { refusalTable } from "./refusal_table.ts";

export type { CertificateLabel } from "./refusal_row.ts";

/** What {@linkcode refusalCodes} lists: the closed set of codes. */
export type RefusalCode = keyof typeof refusalTable;

/** Every refusal code, in the order of the checks that produce them. */
export const refusalCodes: readonly RefusalCode[] = Object.keys(refusalTable) as RefusalCode[];

/** The path on which a refusal arose: the leaf first, then each certificate that was tried above it. */
export type Tried = readonly CertificateLabel[];

/** The data that leads to a refusal. */
export type RefusalFields<Code extends RefusalCode> = Parameters<(typeof refusalTable)[Code]["message"]>[0];

/** A refusal of this code. */
export type RefusalOf<Code extends RefusalCode> =
  & YieldableError
  & RefusalFields<Code>
  & ((typeof refusalTable)[Code] extends { readonly tried: true } ? { readonly tried?: Tried } : unknown)
  & {
    readonly _tag: (typeof refusalTable)[Code]["tag"];
    /** For programs; never changes. */
    readonly code: Code;
    /** What an operator can do. */
    readonly hint: string;
  };

/**
 * The class of a row. Its errors have no stack: a refusal is an answer, whose fields tell what led to it, and a stack costs
 * more than most of the checks (60 µs).
 */
export function refusalClass<Code extends RefusalCode>(
  code: Code,
): new (fields: RefusalFields<Code>) => RefusalOf<Code> {
  const { tag, hint, message } = refusalTable[code];
  const Tagged = Data.TaggedError(tag) as new (fields: object) => Error;
  const write = message as (fields: unknown) => string;
  return class extends Tagged {
    readonly code = code;
    readonly hint = hint;
    constructor(fields: object) {
      const { stackTraceLimit } = Error;
      Error.stackTraceLimit = 0;
      super(fields);
      Error.stackTraceLimit = stackTraceLimit;
    }
    override get message(): string {
      return write(this);
    }
  } as unknown as new (fields: RefusalFields<Code>) => RefusalOf<Code>;
}

/** An attempt arrived faster than the limit for its address allows. */
export class RateLimited extends refusalClass("rate-limited") {}

/** There are as many connections or pending handshakes as the limit allows. */
export class TooManyConnections extends refusalClass("too-many-connections") {}

/** What arrived is not the protocol spoken on this port. */
export class ProtocolMismatch extends refusalClass("protocol-mismatch") {}

/** The peer offered no TLS 1.3. */
export class TlsVersion extends refusalClass("tls-version") {}

/** The TLS handshake itself failed: for instance, the peer does not hold the key of the certificate it showed. */
export class TlsFailed extends refusalClass("tls-failed") {}

/** The handshake did not end within its deadline. */
export class HandshakeTimeout extends refusalClass("handshake-timeout") {}

/** The peer completed TLS without showing a certificate. */
export class NoCertificate extends refusalClass("no-certificate") {}

/** A certificate is not strict DER, not X.509 v3, or larger than the limits. */
export class MalformedCertificate extends refusalClass("malformed-certificate") {}

/** The leaf signed itself. It is refused even when it is in the trust bundle. */
export class SelfSigned extends refusalClass("self-signed") {}

/** A key or signature algorithm that the policy does not allow. */
export class UnsupportedKeyAlgorithm extends refusalClass("unsupported-key-algorithm") {}

/** No path leads from the leaf to an anchor of this node's trust bundle. */
export class UnknownIssuer extends refusalClass("unknown-issuer") {}

/** A signature does not verify under the key of the issuer that the names point to. */
export class BadSignature extends refusalClass("bad-signature") {}

/** A path is longer than a CA's path length constraint or this node's limit allows. */
export class PathTooLong extends refusalClass("path-too-long") {}

/** A certificate that signs others is not a CA. */
export class NotACa extends refusalClass("not-a-ca") {}

/** A certificate's key usage does not allow what it is used for. */
export class KeyUsage extends refusalClass("key-usage") {}

/** A certificate's extended key usage does not allow what it is used for. */
export class ExtendedKeyUsage extends refusalClass("extended-key-usage") {}

/** A name lies outside what a CA above it, or the CA's trust domain, may speak for. */
export class NameConstraint extends refusalClass("name-constraint") {}

/** The leaf does not carry the name under which the caller looked for it (RFC 9525). Nodes look for PeerIDs instead. */
export class NameMismatch extends refusalClass("name-mismatch") {}

/** A critical extension that this verifier does not process. */
export class UnknownCriticalExtension extends refusalClass("unknown-critical-extension") {}

/** The search for a path would cost more than its budget. */
export class BudgetExceeded extends refusalClass("budget-exceeded") {}

/** The check ran before a certificate's `notBefore`. */
export class CertificateNotYetValid extends refusalClass("certificate-not-yet-valid") {}

/** The check ran after a certificate's `notAfter`. */
export class CertificateExpired extends refusalClass("certificate-expired") {}

/** A certificate of the path is on its issuer's revocation list. */
export class CertificateRevoked extends refusalClass("certificate-revoked") {}

/** Revocation lists are configured, but none is of this certificate's issuer. */
export class RevocationUnknown extends refusalClass("revocation-unknown") {}

/** A revocation list is not strict DER, or carries what this verifier does not process. */
export class CrlMalformed extends refusalClass("crl-malformed") {}

/** A revocation list's signature does not verify, or its issuer may not sign lists. */
export class CrlSignature extends refusalClass("crl-signature") {}

/** The check ran before a revocation list's `thisUpdate`. */
export class CrlNotYetValid extends refusalClass("crl-not-yet-valid") {}

/** The check ran later than a revocation list's `nextUpdate` and the grace after it. */
export class CrlExpired extends refusalClass("crl-expired") {}

/** A revocation list is older than one already seen of the same issuer. */
export class CrlRollback extends refusalClass("crl-rollback") {}

/** Two revocation lists of one issuer have the same number and different contents. */
export class CrlEquivocation extends refusalClass("crl-equivocation") {}

/** The certificate's key is not the key of the PeerID that was dialled. */
export class PeerIdMismatch extends refusalClass("peer-id-mismatch") {}

/** The certificate's role is not one that may do this. */
export class RoleNotAllowed extends refusalClass("role-not-allowed") {}

/** A job asked for something that its specification does not name, or a peer for a slice that it was not granted. */
export class JobScope extends refusalClass("job-scope") {}

/** A member did what neither the table of acts nor a rule of the operator allows it. */
export class NotAuthorized extends refusalClass("not-authorized") {}

/** What a member asked of this node cost too much for too long. */
export class TooExpensive extends refusalClass("too-expensive") {}

/** The peer ended the connection before it was established; perhaps it refused us. */
export class HungUp extends refusalClass("hung-up") {}

/** No node answered at the address. */
export class Unreachable extends refusalClass("unreachable") {}

/** A defect of this program. The connection is refused. */
export class Internal extends refusalClass("internal") {}

/** Every reason to refuse. Match on `code` or `_tag`. */
export type Refusal = { [Code in RefusalCode]: RefusalOf<Code> }[RefusalCode];

/** Adds the path on which the refusal arose, where its row of the table has one and none is set. */
export function withTried<A extends Refusal>(refusal: A, path: readonly TriedCertificate[]): A {
  if (!("tried" in refusalTable[refusal.code])) return refusal;
  if ((refusal as { readonly tried?: Tried }).tried !== undefined) return refusal;
  const tried: Tried = path.map(({ subject, serial }) => ({ subject: subject.text, serial }));
  return Object.assign(refusal, { tried });
}

/** The part of a certificate that {@linkcode withTried} reads. */
export interface TriedCertificate {
  /** Its subject. */
  readonly subject: { readonly text: string };
  /** Hexadecimal. */
  readonly serial: string;
}

/** A refusal as one JSON object: for logs and audit records. Dates become RFC 3339 text. */
export function describeRefusal(refusal: Refusal): Record<string, unknown> {
  const { _tag, code, hint, ...data } = refusal as Refusal & Record<string, unknown>;
  return { code, message: refusal.message, hint, data: { tag: _tag, ...data } };
}
