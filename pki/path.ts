/**
 * Chain building and validation (RFC 5280 §6). A reader starts here.
 *
 * Each check is a function of its own, in `checks/`, and returns a proof that only it can make; the next check wants
 * that proof. {@linkcode verifyPath} composes them in the order in which the gate has them as states:
 *
 * ```text
 * wellFormed → algorithm → path → validity → revocation (→ name) → identity → role
 * ```
 *
 * All of it is pure: time and trust are arguments. Paths are found before their dates and revocation are looked at, so
 * that a live connection can be judged again by a new clock or list without repeating a signature.
 *
 * @module
 */
import * as Result from "effect/Result";
import type { Certificate, Role } from "./certificate.ts";
import type { VerificationCache } from "./verification_cache.ts";
import { checkAlgorithm } from "./checks/algorithm.ts";
import { checkIdentity, checkRole } from "./checks/identity.ts";
import { checkName, type ExpectedName, type Named } from "./checks/expected_name.ts";
import { findPaths, type PathLimits } from "./checks/find_paths.ts";
import { checkRevocation } from "./checks/revocation.ts";
import { checkValidity } from "./checks/validity.ts";
import { type ChainLimits, checkWellFormed } from "./checks/well_formed.ts";
import type { Refusal } from "./refusal.ts";
import { domainOf, type TrustSnapshot, widestPolicy } from "./trust.ts";

export type { ChainLimits, ExpectedName, Named, PathLimits };
export {
  checkAlgorithm,
  checkIdentity,
  checkName,
  checkRevocation,
  checkRole,
  checkValidity,
  checkWellFormed,
  findPaths,
};

declare const proof: unique symbol;

/** A chain that parsed: the leaf and whatever else the peer sent, in its order. Only `checkWellFormed` makes one. */
export interface WellFormed {
  /** @ignore Only its check makes one. */
  readonly [proof]: "WellFormed";
  /** The peer's certificate. */
  readonly leaf: Certificate;
  /** What else the peer sent. */
  readonly others: readonly Certificate[];
}

/** Proof that the leaf's key algorithm is allowed. Only `checkAlgorithm` makes one. */
export interface AlgorithmAllowed {
  /** @ignore Only its check makes one. */
  readonly [proof]: "AlgorithmAllowed";
}

/** One candidate: leaf first, the anchor last. */
export type Path = readonly [leaf: Certificate, ...issuers: Certificate[]];

/** Candidate paths whose signatures and constraints hold; at least one. Only `findPaths` makes one. */
export interface PathsFound {
  /** @ignore Only its check makes one. */
  readonly [proof]: "PathsFound";
  /** The paths that verify, in the order in which they are tried. */
  readonly paths: readonly Path[];
  /** Trust domain of each path's anchor; absent where all are of the node's own bundle. */
  readonly domains?: readonly (string | undefined)[];
  /** How many signatures were verified to find them. */
  readonly signatureChecks: number;
}

/** The candidates that are inside their validity period at `at`; at least one. Only `checkValidity` makes one. */
export interface WithinValidity {
  /** @ignore Only its check makes one. */
  readonly [proof]: "WithinValidity";
  /** The paths that are valid at {@linkcode at}. */
  readonly paths: readonly Path[];
  /** The trust domain of each path. */
  readonly domains?: readonly (string | undefined)[];
  /** The time of the check. */
  readonly at: Date;
}

/** The path that is not revoked, and when the first of its certificates expires. Only `checkRevocation` makes one. */
export interface NotRevoked {
  /** @ignore Only its check makes one. */
  readonly [proof]: "NotRevoked";
  /** The path that was chosen, the leaf first. */
  readonly path: Path;
  /** When the first certificate of the path expires. */
  readonly expiresAt: Date;
  /** The trust domain that vouches for the leaf; absent where it is the node's own bundle. */
  readonly domain?: string;
}

/** What the leaf proves about its holder. Only `checkIdentity` makes one. */
export interface PeerIdentity {
  /** @ignore Only its check makes one. */
  readonly [proof]: "PeerIdentity";
  /** PeerID of the leaf's key, base58btc text. */
  readonly peer: string;
  /** The subject's common name, or the whole subject where it has none. */
  readonly name: string;
  /** The leaf's subject, for people. */
  readonly subject: string;
  /** Subject alternative names with their kind in front: `DNS:gateway-01`, `IP:0.0.0.0`, `URI:spiffe://…`. */
  readonly names: readonly string[];
  /** The role that the certificate grants; undefined where it names none. */
  readonly role: Role | undefined;
  /** The trust domain; undefined for the own. */
  readonly domain: string | undefined;
  /** What the URI SANs claim where that is not exactly one known role: `checkRole` refuses it. */
  readonly roleClaim?: string;
  /** The leaf's serial, hexadecimal. */
  readonly serial: string;
  /** The leaf's issuer, for people. */
  readonly issuer: string;
  /** The leaf's last moment of validity. */
  readonly notAfter: Date;
}

/** Proof that the identity's role may connect. Only `checkRole` makes one. */
export interface RoleAllowed {
  /** @ignore Only its check makes one. */
  readonly [proof]: "RoleAllowed";
  /** The role that was allowed. */
  readonly role: Role | undefined;
}

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
  /** Remembers chains that were found good; nothing is remembered where undefined. */
  readonly memory?: VerificationCache | undefined;
}

/**
 * Judges a chain: every check, one after the other, until one refuses.
 *
 * Does not prove that the peer holds the leaf's key: TLS does.
 *
 * @param chain DER as the peer sent it: the leaf first, anything else in any order.
 * @param snapshot What this node trusts.
 * @param options The time to check for; whom the caller meant; how long a path may be.
 * @returns Who the peer is, and by which path; or the first refusal.
 *
 * @example A peer that shows nothing
 * ```ts
 * import * as assert from "uvu/assert";
 * import { Result } from "effect";
 * import { defaultPolicy, verifyPath } from "hypha-runtime/pki";
 *
 * const nobody = { generation: 1, anchors: [], anchorsId: "", revocation: undefined, policy: defaultPolicy };
 * const outcome = verifyPath([], nobody, { at: new Date(0) });
 * assert.is(Result.isFailure(outcome) && outcome.failure.code, "no-certificate");
 * ```
 */
export function verifyPath(
  chain: readonly Uint8Array[],
  snapshot: TrustSnapshot,
  options: VerifyOptions,
): Result.Result<Verified, Refusal> {
  return Result.gen(function* () {
    const checks = options.memory ?? { checkWellFormed, findPaths, checkValidity, checkIdentity };
    const wellFormed = yield* checks.checkWellFormed(chain, options);
    yield* checkAlgorithm(wellFormed, widestPolicy(snapshot));
    const found = yield* checks.findPaths(wellFormed, snapshot, options);
    const within = yield* checks.checkValidity(found, options.at);
    const { path, expiresAt, domain } = yield* checkRevocation(within, snapshot, options.at);
    if (options.expectedName !== undefined) yield* checkName(wellFormed, options.expectedName);
    const identity = yield* checks.checkIdentity(wellFormed, options.expectedPeer);
    yield* checkRole(identity, domainOf(snapshot, domain).policy);
    const { signatureChecks } = found;
    return { identity, path, expiresAt, signatureChecks, ...(domain === undefined ? {} : { domain }) };
  });
}
