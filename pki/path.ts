/**
 * Chain building and validation (RFC 5280 §6). A reader starts here.
 *
 * Each check is a function of its own, in `checks/`, and returns a proof that only it can make; the next check needs that
 * proof. `checks/check_table.ts` has their order, for {@linkcode verifyPath} and for the connection gate. All of it is
 * pure: time and trust are arguments.
 *
 * @module
 */
import * as Result from "effect/Result";
import {
  type AnyCheck,
  checksOf,
  firstRefusal,
  holds,
  type Outcomes,
  pkiChecks,
  runChecks,
} from "./checks/check_table.ts";
import type { ExpectedName } from "./checks/expected_name.ts";
import type { Path, PathLimits } from "./checks/find_paths.ts";
import type { PeerIdentity } from "./checks/identity.ts";
import type { ChainLimits } from "./checks/well_formed.ts";
import { Internal, type Refusal } from "./refusal.ts";
import type { TrustSnapshot } from "./trust.ts";
import { cachedChecks, type VerificationCache } from "./verification_cache.ts";

export { type AlgorithmAllowed, checkAlgorithm } from "./checks/algorithm.ts";
export { checkName, type ExpectedName, type Named } from "./checks/expected_name.ts";
export { type DomainSearch, findPaths, type Path, type PathLimits, type PathsFound } from "./checks/find_paths.ts";
export { checkIdentity, checkRole, type PeerIdentity, type RoleAllowed } from "./checks/identity.ts";
export { checkRevocation, type NotRevoked } from "./checks/revocation.ts";
export { checkTlsVersion, type Tls13 } from "./checks/tls_version.ts";
export { checkValidity, type WithinValidity } from "./checks/validity.ts";
export { type ChainLimits, checkWellFormed, type WellFormed } from "./checks/well_formed.ts";

/** What {@linkcode verifyPath} proved. */
export interface Verified {
  /** Who the peer is. */
  readonly identity: PeerIdentity;
  /** Leaf first, the anchor last. */
  readonly path: Path;
  /** When the first certificate of the path expires. */
  readonly expiresAt: Date;
  /** How many signatures were verified. */
  readonly signatureChecks: number;
  /** The trust domain that vouches for the leaf; absent where it is the node's own bundle. */
  readonly domain?: string;
}

/** What {@linkcode verifyPath} is to check for. */
export interface VerifyOptions extends PathLimits, ChainLimits {
  /** The time; the caller owns the clock. */
  readonly at: Date;
  /** The PeerID that was dialled, where one was. */
  readonly expectedPeer?: string | undefined;
  /** The name under which the peer was looked for (RFC 9525). Nodes name none: their peers' identity is the PeerID. */
  readonly expectedName?: ExpectedName | undefined;
  /** Caches chains that were found good; nothing is cached where undefined. */
  readonly cache?: VerificationCache | undefined;
}

/**
 * Verifies a chain: runs every check in order until one refuses.
 *
 * Does not prove that the peer holds the leaf's key: TLS does.
 *
 * @param chain DER as the peer sent it: the leaf first, anything else in any order.
 * @param snapshot What this node trusts.
 * @param options The time to check for; the peer or name that the caller expects; how long a path may be.
 * @returns Who the peer is, and by which path; or the first refusal.
 *
 * @example A peer that shows nothing
 * ```ts
 * import * as assert from "uvu/assert";
 * import { Result } from "effect";
 * import { defaultPolicy, verifyPath } from "hypha-runtime/pki";
 *
 * const nothing = { generation: 1, anchors: [], anchorsId: "", revocation: undefined, policy: defaultPolicy };
 * const outcome = verifyPath([], nothing, { at: new Date(0) });
 * assert.is(Result.isFailure(outcome) && outcome.failure.code, "no-certificate");
 * ```
 */
export function verifyPath(
  chain: readonly Uint8Array[],
  snapshot: TrustSnapshot,
  options: VerifyOptions,
): Result.Result<Verified, Refusal> {
  return verifyStepByStep(chain, snapshot, options).verdict;
}

const chainChecks = checksOf("chain");
const chainAndNameChecks = checksOf("chain", "name");

/** The verdict with the outcome of each check. */
export interface VerifiedSteps {
  /** What {@linkcode verifyPath} returns. */
  readonly verdict: Result.Result<Verified, Refusal>;
  /** The outcome of each check up to the first that refused. */
  readonly outcomes: Outcomes;
}

/**
 * As {@linkcode verifyPath}, with the outcome of each check: for an operator who wants to see how far a chain came.
 *
 * @param chain As there.
 * @param snapshot As there.
 * @param options As there.
 */
export function verifyStepByStep(
  chain: readonly Uint8Array[],
  snapshot: TrustSnapshot,
  options: VerifyOptions,
): VerifiedSteps {
  const { at, expectedPeer, expectedName, cache } = options;
  const functions = cache === undefined ? pkiChecks : cachedChecks(cache);
  const checks = expectedName === undefined ? chainChecks : chainAndNameChecks;
  const terms = { at: () => at, expectedPeer, expectedName, limits: options };
  const outcomes = runChecks(
    checks,
    { version: "", chain, snapshot, terms },
    (check, seen) => check.run(seen, functions),
  );
  return { verdict: verdictOf(checks, outcomes), outcomes };
}

/** Accepts where every one of the checks holds. */
function verdictOf(checks: readonly AnyCheck[], outcomes: Outcomes): Result.Result<Verified, Refusal> {
  const refusal = firstRefusal(checks, outcomes);
  if (refusal !== undefined) return Result.fail(refusal);
  const { path: found, revocation, identity } = outcomes;
  if (!holds(found) || !holds(revocation) || !holds(identity)) {
    return Result.fail(new Internal({ detail: "the checks prove no path and no identity" }));
  }
  const { path, expiresAt, domain } = revocation.success;
  const { signatureChecks } = found.success;
  const named = domain === undefined ? {} : { domain };
  return Result.succeed({ identity: identity.success, path, expiresAt, signatureChecks, ...named });
}
