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
  | { readonly type: "unproven"; readonly detail: string; readonly cause: UnprovenCause };

/**
 * Why nothing is proven. `silent`: no answer came. `refused`: what came is no proof. `untrusted`: a state came with a key that no trusted
 * certificate of the log's node binds.
 */
export type UnprovenCause = "silent" | "refused" | "untrusted";

const unproven = (detail: string, cause: UnprovenCause = "refused"): Verdict => ({ type: "unproven", detail, cause });

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
 * The owner is who TLS proved it to be: a node whose certificate names `origin`. The certificate that binds the key is checked all the
 * same: with one that the owner made up, other witnesses could not compare the state with theirs.
 *
 * @param held What the witness holds; undefined where it holds nothing yet.
 */
export function judgeOwner(
  { origin, held, answer, trust }: {
    readonly origin: string;
    readonly held: OpenedHead | undefined;
    readonly answer: AuditResponse;
    readonly trust: TrustAt;
  },
): Verdict {
  if ("NoProof" in answer) return unproven(`the node has no proof (${answer.NoProof})`);
  if (!("Proof" in answer)) return unproven("the node answered something else");
  const head = openHead(answer.Proof.head);
  if (head === undefined || head.origin !== origin) return unproven("the node sent no checkpoint of its log");
  const refused = refuseBinding(head.binding, origin, trust);
  if (refused !== undefined) return unproven(refused, "untrusted");
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

/** Why a binding does not prove its key for an origin; undefined where it does, and its certificates lead to a trust anchor. */
function refuseBinding(binding: KeyBinding, origin: string, { snapshot, at }: TrustAt): string | undefined {
  if (boundOrigin(binding) !== origin) return "its key is not bound to the log's node";
  if (snapshot === undefined) return "no trust is loaded that its certificate could be verified with";
  const verified = verifyPath(binding.chain, snapshot, { at });
  return Result.isSuccess(verified)
    ? undefined
    : `its key is bound by a refused certificate (${verified.failure.code})`;
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
    const refused = refuseBinding(told.binding, held.origin, trust);
    return refused === undefined ? forked("other-key", held, told) : unproven(refused, "untrusted");
  }
  if (told.size > held.size) return forked("shrunk", told, held);
  if (told.size === held.size) return compareSame(held, told, held);
  if (answer === undefined || !("Proof" in answer)) return unproven("the log's node gave no proof");
  const continues = isConsistent(told, held, answer.Proof.path);
  return continues ? { type: "continued", head: held } : forked("rewritten", told, held);
}
