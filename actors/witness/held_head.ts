/**
 * What a witness holds of a log: the newest state of it that was verified.
 *
 * @module
 */
import { type KeyBinding } from "../audit/key_binding.ts";
import { openSignedHead, parseAuditKey, type SignedHead } from "../audit/checkpoint.ts";
import type { AuditHead } from "../../transport/protocols/messages.ts";

/** A checkpoint whose signature was verified with the key that came along. */
export interface OpenedHead extends SignedHead {
  readonly binding: KeyBinding;
}

/**
 * Two statements of a log's owner that no honest log makes.
 *
 * `split`: two states of one size. `shrunk`: a state of fewer records than an earlier one. `rewritten`: a state that does not continue an
 * earlier one. `other-key`: a state that another key signed, so that an earlier one is not continued.
 */
export type ForkProblem = "split" | "shrunk" | "rewritten" | "other-key";

/** Evidence of a fork: both signed checkpoints. */
export interface Fork {
  readonly problem: ForkProblem;
  readonly held: OpenedHead;
  readonly other: OpenedHead;
}

/** What a witness holds of one log. */
export interface HeldLog {
  readonly head: OpenedHead;
  /** Of a gateway or a CA: other witnesses are told. */
  readonly isShared: boolean;
  /** When the head was verified, in milliseconds since the epoch. */
  readonly at: number;
  readonly fork: (Fork & { readonly at: number; readonly from: string }) | undefined;
}

/**
 * Verifies a checkpoint with the key that came along; undefined where it is not that key's checkpoint of that key's log.
 *
 * Signatures of others are left out of its note: its owner can add as many as it likes.
 */
export function openHead({ checkpoint, key, signature, chain }: AuditHead): OpenedHead | undefined {
  const parsed = parseAuditKey(key);
  if (parsed === undefined) return undefined;
  const head = openSignedHead(checkpoint, parsed);
  if (typeof head === "string" || head.origin !== parsed.name) return undefined;
  return { ...head, binding: { key, signature, chain } };
}

/** A head as it travels. */
export function headMessage({ note: checkpoint, binding }: OpenedHead): AuditHead {
  return { checkpoint, ...binding };
}
