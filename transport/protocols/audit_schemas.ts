/**
 * The shapes of messages about audit logs (`docs/wire.md`, "Extensions").
 *
 * @module
 */
import type { AuditHead, AuditRequest, AuditResponse, ProofAsked } from "./audit_messages.ts";
import { bytes, oneOf, text, u32, u64 } from "./scalars.ts";
import { checked, externallyTagged, list, nullable, type Schema, struct } from "./schema.ts";

/** Heads of one request. */
export const auditHeadsMax = 16;
/** Bytes of a checkpoint and of a verifier key: a name is in the checkpoint twice. */
export const auditNoteBytesMax = 4_608;
export const auditKeyBytesMax = 2_304;
/** Bytes of an origin. */
export const auditOriginBytesMax = 2_048;
/** Certificates of a head, and their bytes in all. */
export const auditChainMax = 5;
export const auditChainBytesMax = 16_384;
/** Bytes of the signature that binds a key: RSA with 4,096 bits. */
export const auditSignatureBytesMax = 512;
/** Hashes of a proof: two for each bit of a size. */
export const auditPathMax = 128;

const chain = checked(list(bytes), (all) => {
  const size = all.reduce((sum, { length }) => sum + length, 0);
  if (all.length === 0 || all.length > auditChainMax) return `expected 1 to ${auditChainMax} certificates`;
  return size > auditChainBytesMax ? `more than ${auditChainBytesMax} bytes of certificates` : undefined;
});

const head: Schema<AuditHead> = struct<AuditHead>({
  checkpoint: text(auditNoteBytesMax),
  key: text(auditKeyBytesMax),
  signature: checked(
    bytes,
    ({ length }) => length > auditSignatureBytesMax ? "a signature that is too long" : undefined,
  ),
  chain,
});

const hash = checked(bytes, ({ length }) => length === 32 ? undefined : `expected 32 bytes, got ${length}`);
const path = checked(
  list(hash),
  ({ length }) => length > auditPathMax ? `more than ${auditPathMax} hashes` : undefined,
);

export const auditRequestSchema: Schema<AuditRequest> = externallyTagged<AuditRequest>({
  Prove: struct<ProofAsked>({ origin: text(auditOriginBytesMax), old: u64, new: nullable(u64) }),
  Held: checked(
    list(head),
    ({ length }) => length > 0 && length <= auditHeadsMax ? undefined : `expected 1 to ${auditHeadsMax} heads`,
  ),
});

export const auditResponseSchema: Schema<AuditResponse> = externallyTagged<AuditResponse>({
  Proof: struct<{ readonly head: AuditHead; readonly path: readonly Uint8Array[] }>({ head, path }),
  NoProof: oneOf(["no-log", "no-checkpoint", "unavailable"] as const),
  Noted: u32,
});
