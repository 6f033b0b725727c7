/**
 * The checks of a chain one by one, in the order in which the gate has them as states, for an operator who wants to see
 * how far it came.
 *
 * @module
 */
import { Result } from "effect";
import {
  checkAlgorithm,
  checkIdentity,
  checkRevocation,
  checkRole,
  checkValidity,
  checkWellFormed,
  findPaths,
} from "../../pki/path.ts";
import type { Refusal } from "../../pki/refusal.ts";
import { domainOf, type TrustSnapshot, widestPolicy } from "../../pki/trust.ts";

/** One check, and what it proved or why it refused. */
export interface CheckStep {
  readonly check: "form" | "algorithm" | "path" | "validity" | "revocation" | "identity" | "role";
  readonly ok: boolean;
  readonly detail: string;
}

/** Every check until one refuses, that one included. The verdict is `verifyPath`'s; this only tells of it. */
export function checkByCheck(chain: readonly Uint8Array[], snapshot: TrustSnapshot, at: Date): readonly CheckStep[] {
  const steps: CheckStep[] = [];
  const note = <A>(check: CheckStep["check"], outcome: Result.Result<A, Refusal>, say: (proof: A) => string) => {
    const ok = Result.isSuccess(outcome);
    steps.push({
      check,
      ok,
      detail: ok ? say(outcome.success) : `${outcome.failure.code}: ${outcome.failure.message}`,
    });
    return outcome;
  };
  Result.gen(function* () {
    const formed = yield* note("form", checkWellFormed(chain), ({ leaf, others }) => {
      const sent = others.length === 0 ? "" : `, and ${others.length} certificates behind it`;
      return `${leaf.subject.text}${sent}`;
    });
    const { label } = formed.leaf.publicKey;
    yield* note("algorithm", checkAlgorithm(formed, widestPolicy(snapshot)), () => `a key of ${label}`);
    const found = yield* note("path", findPaths(formed, snapshot), ({ paths, signatureChecks }) => {
      const way = paths[0]!.map(({ subject }) => subject.text).join(" ← ");
      return `${way} (${paths.length} in all, ${signatureChecks} signatures)`;
    });
    const within = yield* note("validity", checkValidity(found, at), () => `in force at ${at.toISOString()}`);
    const clear = yield* note("revocation", checkRevocation(within, snapshot, at), ({ expiresAt }) => {
      const known = snapshot.revocation === undefined ? "no lists to ask" : "nobody on the path is revoked";
      return `${known}; the path ends at ${expiresAt.toISOString()}`;
    });
    const identity = yield* note("identity", checkIdentity(formed, undefined), ({ peer }) => peer);
    yield* note(
      "role",
      checkRole(identity, domainOf(snapshot, clear.domain).policy),
      ({ role }) => role ?? "none claimed, none required",
    );
  });
  return steps;
}
