/**
 * The checks of a verification, in their order: the only place that has it.
 *
 * `verifyPath`, both compounds of the connection gate, `hypha-certutil verify`, the bench's gate without a machine and the
 * list in ARCHITECTURE all come from {@linkcode checkTable}. Each check needs the proofs of checks above it. Paths are found
 * before their dates and revocation are checked, so that a live connection is verified again, under a new clock or a new
 * CRL, without repeating a signature.
 *
 * @module
 */
import * as Result from "effect/Result";
import { Internal, type Refusal } from "../refusal.ts";
import { domainOf, type Policy, type TrustSnapshot, widestPolicy } from "../trust.ts";
import { type AlgorithmAllowed, checkAlgorithm } from "./algorithm.ts";
import { checkName, type ExpectedName, type Named } from "./expected_name.ts";
import { findPaths, type PathLimits, type PathsFound } from "./find_paths.ts";
import { checkIdentity, checkRole, ofDomain, type PeerIdentity, type RoleAllowed } from "./identity.ts";
import { checkRevocation, type NotRevoked } from "./revocation.ts";
import { checkTlsVersion, type Tls13 } from "./tls_version.ts";
import { checkValidity, type WithinValidity } from "./validity.ts";
import { type ChainLimits, checkWellFormed, type WellFormed } from "./well_formed.ts";

/** The verdict of one check. */
export type Outcome<Proof> = Result.Result<Proof, Refusal>;

/** What each check proves, by the check's name. */
export interface Proofs {
  /** TLS 1.3. */
  readonly tlsVersion: Tls13;
  /** The chain, parsed. */
  readonly wellFormed: WellFormed;
  /** The leaf's algorithm. */
  readonly algorithm: AlgorithmAllowed;
  /** Paths to an anchor. */
  readonly path: PathsFound;
  /** Paths within their dates. */
  readonly validity: WithinValidity;
  /** The path that is not revoked. */
  readonly revocation: NotRevoked;
  /** The name that was looked for. */
  readonly expectedName: Named;
  /** Who the peer is. */
  readonly identity: PeerIdentity;
  /** The role that may connect. */
  readonly role: RoleAllowed;
}

/** The name of a check. */
export type CheckName = keyof Proofs;

/** The outcomes known so far. An outcome that was not computed yet, or that is stale, is undefined. */
export type Outcomes = { readonly [Name in CheckName]?: Outcome<Proofs[Name]> | undefined };

/** The caller's input to a verification, in addition to the trust snapshot. */
export interface VerificationTerms {
  /** The time to check for; the caller owns the clock. Called once, by the check of the validity periods. */
  readonly at: () => Date;
  /** The PeerID that was dialled, where one was. */
  readonly expectedPeer?: string | undefined;
  /** The name under which the peer was looked for (RFC 9525). */
  readonly expectedName?: ExpectedName | undefined;
  /** Limits below those of the policy. */
  readonly limits?: (PathLimits & ChainLimits) | undefined;
}

/** Everything that a check may read: what the peer presented, what is trusted, and the outcomes of the checks before. */
export interface Evidence extends Outcomes {
  /** The TLS version of the connection; empty where there is no connection. */
  readonly version: string;
  /** DER as the peer sent it: the leaf first, anything else in any order. */
  readonly chain: readonly Uint8Array[];
  readonly snapshot: TrustSnapshot;
  readonly terms: VerificationTerms;
}

/** The functions that the checks call: {@linkcode pkiChecks}, a cache of them, or those of a test. */
export interface CheckFunctions {
  readonly tlsVersion: (version: string) => Outcome<Tls13>;
  readonly wellFormed: (chain: readonly Uint8Array[], limits?: ChainLimits) => Outcome<WellFormed>;
  readonly algorithm: (wellFormed: WellFormed, policy: Policy) => Outcome<AlgorithmAllowed>;
  readonly path: (wellFormed: WellFormed, snapshot: TrustSnapshot, limits?: PathLimits) => Outcome<PathsFound>;
  readonly validity: (found: PathsFound, at: Date) => Outcome<WithinValidity>;
  readonly revocation: (within: WithinValidity, snapshot: TrustSnapshot, at: Date) => Outcome<NotRevoked>;
  readonly expectedName: (wellFormed: WellFormed, expected: ExpectedName) => Outcome<Named>;
  readonly identity: (wellFormed: WellFormed, expectedPeer?: string) => Outcome<PeerIdentity>;
  readonly role: (identity: PeerIdentity, policy: Policy) => Outcome<RoleAllowed>;
}

/** The functions of this room. */
export const pkiChecks: CheckFunctions = {
  tlsVersion: checkTlsVersion,
  wellFormed: checkWellFormed,
  algorithm: checkAlgorithm,
  path: findPaths,
  validity: checkValidity,
  revocation: checkRevocation,
  expectedName: checkName,
  identity: checkIdentity,
  role: checkRole,
};

/**
 * What a check is about: the `connection` (the gate alone), the `chain` (every verification), or a `name` (only where the
 * caller looked for one).
 */
export type CheckScope = "connection" | "chain" | "name";

/** One row of the table. */
export interface Check<Name extends CheckName> {
  readonly name: Name;
  readonly scope: CheckScope;
  /** What the check answers, for people. */
  readonly question: string;
  /** Computes the outcome. Throws where an outcome that it needs is no proof: that is a defect of the caller. */
  readonly run: (evidence: Evidence, functions: CheckFunctions) => Outcome<Proofs[Name]>;
}

/** Any row of the table. */
export type AnyCheck = { readonly [Name in CheckName]: Check<Name> }[CheckName];

/** The table. */
export const checkTable = [
  {
    name: "tlsVersion",
    scope: "connection",
    question: "Does the connection speak TLS 1.3?",
    run: ({ version }, { tlsVersion }) => tlsVersion(version),
  },
  {
    name: "wellFormed",
    scope: "chain",
    question: "Did the peer send a chain of X.509 certificates, within its limits?",
    run: ({ chain, terms }, { wellFormed }) => wellFormed(chain, terms.limits),
  },
  {
    name: "algorithm",
    scope: "chain",
    question: "Is the leaf's key of an allowed algorithm?",
    run: (seen, { algorithm }) => algorithm(proven(seen.wellFormed), widestPolicy(seen.snapshot)),
  },
  {
    name: "path",
    scope: "chain",
    question: "Does a path of valid signatures and constraints lead to an anchor?",
    run: (seen, { path }) => path(proven(seen.wellFormed), seen.snapshot, seen.terms.limits),
  },
  {
    name: "validity",
    scope: "chain",
    question: "Is every certificate of the path inside its validity period?",
    run: (seen, { validity }) => validity(proven(seen.path), seen.terms.at()),
  },
  {
    name: "revocation",
    scope: "chain",
    question: "Is no certificate of the path revoked?",
    run: (seen, { revocation }) => {
      const within = proven(seen.validity);
      return revocation(within, seen.snapshot, within.at);
    },
  },
  {
    name: "expectedName",
    scope: "name",
    question: "Does the leaf carry the name that the caller looked for?",
    run: (seen, { expectedName }) => expectedName(proven(seen.wellFormed), wanted(seen.terms)),
  },
  {
    name: "identity",
    scope: "chain",
    question: "Is it the peer that was dialled?",
    run: (seen, { identity }) => {
      const { domain } = proven(seen.revocation);
      const who = identity(proven(seen.wellFormed), seen.terms.expectedPeer);
      return holds(who) ? Result.succeed(ofDomain(who.success, domain)) : who;
    },
  },
  {
    name: "role",
    scope: "chain",
    question: "May a peer of this role connect?",
    run: (seen, { role }) =>
      role(proven(seen.identity), domainOf(seen.snapshot, proven(seen.revocation).domain).policy),
  },
] as const satisfies readonly AnyCheck[];

type Row = (typeof checkTable)[number];

/** The rows of these scopes, in the table's order. */
export function checksOf<Scope extends CheckScope>(
  ...scopes: readonly Scope[]
): readonly Extract<Row, { readonly scope: Scope }>[] {
  const isWanted = (row: Row): row is Extract<Row, { readonly scope: Scope }> =>
    (scopes as readonly CheckScope[]).includes(row.scope);
  return checkTable.filter(isWanted);
}

/** Whether an outcome is known and a success. Anything that is no outcome does not hold. */
export function holds<Proof>(outcome: Outcome<Proof> | undefined): outcome is Result.Success<Proof, Refusal> {
  return Result.isResult(outcome) && Result.isSuccess(outcome);
}

/**
 * Runs checks in the given order, up to the first that does not hold.
 *
 * @param evidence A record that the caller made for this call: each outcome is added to it.
 * @param evaluate Gives the outcome of one check; the evidence then holds those of the checks before.
 * @returns The outcomes of these checks, that of the first failure included.
 */
export function runChecks(
  checks: readonly AnyCheck[],
  evidence: Evidence,
  evaluate: (check: AnyCheck, evidence: Evidence) => Outcome<unknown>,
): Outcomes {
  const seen: { [Name in CheckName]?: Outcome<unknown> | undefined } = evidence;
  const outcomes: Partial<Record<CheckName, Outcome<unknown>>> = {};
  for (const check of checks) {
    const outcome = evaluate(check, evidence);
    seen[check.name] = outcome;
    outcomes[check.name] = outcome;
    if (!holds(outcome)) break;
  }
  return outcomes as Outcomes;
}

/** Why these checks refuse: undefined where each of them holds. A check without an outcome is a defect, and refuses. */
export function firstRefusal(checks: readonly AnyCheck[], outcomes: Outcomes): Refusal | undefined {
  for (const { name } of checks) {
    const outcome: Outcome<unknown> | undefined = outcomes[name];
    if (holds(outcome)) continue;
    return outcome?.failure ?? new Internal({ detail: `check ${name} gave no outcome` });
  }
  return undefined;
}

/** Takes the proof out of an outcome. */
function proven<Proof>(outcome: Outcome<Proof> | undefined): Proof {
  if (!holds(outcome)) throw new Error("the check before it proved nothing");
  return outcome.success;
}

function wanted({ expectedName }: VerificationTerms): ExpectedName {
  if (expectedName === undefined) throw new Error("no name was looked for");
  return expectedName;
}
