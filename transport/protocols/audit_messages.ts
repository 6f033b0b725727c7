/**
 * Messages about audit logs: extensions of ours, which the existing nodes ignore (`docs/wire.md`, "Extensions").
 *
 * @module
 */

/** A checkpoint of a log, and what binds its key to the node that keeps the log. */
export interface AuditHead {
  /** The signed note (C2SP `tlog-checkpoint`). */
  readonly checkpoint: string;
  /** The verifier key of the log: `NAME+ID+KEY`. */
  readonly key: string;
  /** The node's signature over the verifier key, by the key of its certificate. */
  readonly signature: Uint8Array;
  /** The node's certificate and its intermediates, DER. */
  readonly chain: readonly Uint8Array[];
}

/** Which proof is asked for. */
export interface ProofAsked {
  /** The log's origin, which is the node's own. */
  readonly origin: string;
  /** Records of the earlier state; 0: any. */
  readonly old: number;
  /** Records of the later state; null: those of the newest checkpoint. */
  readonly new: number | null;
}

/** Why there is no proof: the node keeps no such log, the log has no checkpoint yet, or its files cannot be read now. */
export type NoProof = "no-log" | "no-checkpoint" | "unavailable";

/** Requests on `/hypha-audit/1`. */
export type AuditRequest =
  | { readonly Prove: ProofAsked }
  /** What a witness holds of the logs of gateways and CAs. */
  | { readonly Held: readonly AuditHead[] };

/** Answers on `/hypha-audit/1`. */
export type AuditResponse =
  /**
   * The newest checkpoint, and the hashes that lead from `old` to `new` (RFC 6962 §2.1.2). Without hashes where the log has fewer records
   * than were asked for.
   */
  | { readonly Proof: { readonly head: AuditHead; readonly path: readonly Uint8Array[] } }
  | { readonly NoProof: NoProof }
  /** How many of the heads are compared with what the receiver holds. */
  | { readonly Noted: number };
