/**
 * What a witness concludes from the answers of a log's owner, and from what other witnesses hold. Pure.
 *
 * @module
 */
import { Result } from "effect";
import { sameBytes } from "../../pki/bytes.ts";
import { verifyPath } from "../../pki/path.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { AuditResponse } from "../../transport/protocols/messages.ts";
import { isConsistent } from "../audit/consistency.ts";
import { boundOrigin, type KeyBinding } from "../audit/key_binding.ts";
import { type Fork, type ForkProblem, type OpenedHead, openHead } from "./held_head.ts";

/** What follows. `unproven`: neither that the log is continued, nor that it is forked. */
export type Verdict =
  | { readonly type: "continued"; readonly head: OpenedHead }
  | ({ readonly type: "forked" } & Fork)
  /** `isRefused`: the node, or a witness, said something else than a proof; else nothing was said. */
  | { readonly type: "unproven"; readonly detail: string; readonly isRefused: boolean };

const unproven = (detail: string): Verdict => ({ type: "unproven", detail, isRefused: true });

function forked(problem: ForkProblem, held: OpenedHead, other: OpenedHead): Verdict {
  return { type: "forked", problem, held, other };
}

/** How two heads of one size and key compare: they agree, or the log is split. */
function compareSame(held: OpenedHead, other: OpenedHead, kept: OpenedHead): Verdict {
  return sameBytes(held.root, other.root) ? { type: "continued", head: kept } : forked("split", held, other);
}

/**
 * Judges the owner's answer to a request for the proof from the held state to its newest one.
 *
 * The owner is who TLS proved it to be: a node whose certificate names `origin`.
 *
 * @param held What the witness holds; undefined where it holds nothing yet.
 */
export function judgeOwner(
  { origin, held, answer }: {
    readonly origin: string;
    readonly held: OpenedHead | undefined;
    readonly answer: AuditResponse;
  },
): Verdict {
  if ("NoProof" in answer) return unproven(`the node has no proof (${answer.NoProof})`);
  if (!("Proof" in answer)) return unproven("the node answered something else");
  const head = openHead(answer.Proof.head);
  if (head === undefined || head.origin !== origin) return unproven("the node sent no checkpoint of its log");
  if (boundOrigin(head.binding) !== origin) return unproven("the node's certificate is not bound to the log's key");
  if (held === undefined) return { type: "continued", head };
  if (head.binding.key !== held.binding.key) return forked("other-key", held, head);
  if (head.size < held.size) return forked("shrunk", held, head);
  if (head.size === held.size) return compareSame(held, head, head);
  const continues = isConsistent(held, head, answer.Proof.path);
  return continues ? { type: "continued", head } : forked("rewritten", held, head);
}

/** Trust at a time. */
export interface TrustAt {
  readonly snapshot: TrustSnapshot | undefined;
  readonly at: Date;
}

/** Whether a binding's certificates lead to a trust anchor, and prove its key for an origin. */
export function isBindingTrusted(binding: KeyBinding, origin: string, { snapshot, at }: TrustAt): boolean {
  if (snapshot === undefined || boundOrigin(binding) !== origin) return false;
  return Result.isSuccess(verifyPath(binding.chain, snapshot, { at }));
}

/** Whether the proof between two heads decides: they have the same key, and the told one is the smaller. */
export function needsProof(held: OpenedHead, told: OpenedHead): boolean {
  return held.binding.key === told.binding.key && told.size < held.size;
}

/**
 * Judges what another witness holds, after the owner was asked for its newest state.
 *
 * @param held What this witness holds now.
 * @param told What the other one holds.
 * @param answer The owner's answer to a request for the proof from the told state to the held one, where {@linkcode needsProof}.
 */
export function judgeTold(
  { held, told, answer, trust }: {
    readonly held: OpenedHead;
    readonly told: OpenedHead;
    readonly answer: AuditResponse | undefined;
    readonly trust: TrustAt;
  },
): Verdict {
  if (told.origin !== held.origin) return unproven("it is about another log");
  if (told.binding.key !== held.binding.key) {
    return isBindingTrusted(told.binding, held.origin, trust)
      ? forked("other-key", held, told)
      : unproven("its key is not bound to the log's node");
  }
  if (told.size > held.size) return forked("shrunk", told, held);
  if (told.size === held.size) return compareSame(held, told, held);
  if (answer === undefined || !("Proof" in answer)) return unproven("the log's node gave no proof");
  const continues = isConsistent(told, held, answer.Proof.path);
  return continues ? { type: "continued", head: held } : forked("rewritten", told, held);
}
