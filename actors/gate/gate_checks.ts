/**
 * What the check states of the gate compute on entry: each outcome from the outcomes before it, never from anything
 * else, and never by throwing.
 *
 * @module
 */
import { Result } from "effect";
import type { VerificationCache } from "../../pki/verification_cache.ts";
import type {
  AlgorithmAllowed,
  NotRevoked,
  PathsFound,
  RoleAllowed,
  WellFormed,
  WithinValidity,
} from "../../pki/path.ts";
import {
  checkAlgorithm,
  checkIdentity,
  checkRevocation,
  checkRole,
  checkValidity,
  checkWellFormed,
  findPaths,
} from "../../pki/path.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { CertificateExpired, Internal, type Refusal, TlsVersion } from "../../pki/refusal.ts";
import { domainOf, type Policy, type TrustSnapshot, widestPolicy } from "../../pki/trust.ts";

declare const proof: unique symbol;

/** Proof that the connection speaks TLS 1.3. Only {@linkcode checkTlsVersion} makes one. */
export interface Tls13 {
  readonly [proof]: "Tls13";
  readonly version: "TLSv1.3";
}

/** The verdict of one check. */
export type Outcome<Proof> = Result.Result<Proof, Refusal>;

/** Every check's outcome, once it was computed. Plain data: with the refusal they are the audit record. */
export interface Outcomes {
  readonly admission: Outcome<unknown>;
  readonly tlsVersion: Outcome<Tls13>;
  readonly wellFormed: Outcome<WellFormed>;
  readonly algorithm: Outcome<AlgorithmAllowed>;
  readonly path: Outcome<PathsFound>;
  readonly validity: Outcome<WithinValidity>;
  readonly revocation: Outcome<NotRevoked>;
  readonly identity: Outcome<PeerIdentity>;
  readonly role: Outcome<RoleAllowed>;
}

/** The name of a check. */
export type CheckName = keyof Outcomes;

/** The functions that judge. The gate uses {@linkcode pkiChecks}; a simulation may use cheaper ones. */
export interface Checks {
  readonly tlsVersion: (version: string) => Outcome<Tls13>;
  readonly wellFormed: (chain: readonly Uint8Array[]) => Outcome<WellFormed>;
  readonly algorithm: (wellFormed: WellFormed, policy: Policy) => Outcome<AlgorithmAllowed>;
  readonly path: (wellFormed: WellFormed, snapshot: TrustSnapshot) => Outcome<PathsFound>;
  readonly validity: (found: PathsFound, at: Date) => Outcome<WithinValidity>;
  readonly revocation: (within: WithinValidity, snapshot: TrustSnapshot, at: Date) => Outcome<NotRevoked>;
  readonly identity: (wellFormed: WellFormed, expectedPeer?: string) => Outcome<PeerIdentity>;
  readonly role: (identity: PeerIdentity, policy: Policy) => Outcome<RoleAllowed>;
}

/** The outcomes that stand: those not computed yet, or stale by now, are undefined. */
export type Standing = { readonly [Name in CheckName]?: Outcomes[Name] | undefined };

/** What a check may read: the gate's context, as far as it concerns checks. */
export interface Evidence extends Standing {
  readonly version: string;
  /** Emptied once `wellFormed` holds it parsed. */
  readonly chain: readonly Uint8Array[];
  readonly snapshot: TrustSnapshot;
  readonly birth: Birth;
  readonly verifiedBefore: boolean;
  /** libp2p announced the connection: it was let in. */
  readonly opened: boolean;
}

/** What a gate is born with and keeps. */
export interface Birth {
  readonly expectedPeer: string | undefined;
  /** What we show the peer: its name, and when it ends. */
  readonly own: { readonly name: string; readonly notAfter: Date };
  /** In milliseconds since the epoch. */
  readonly at: number;
  readonly now: () => number;
}

/**
 * How far the clock may have stepped back between a gate's birth and its verdict, in milliseconds: what a time daemon
 * does in one step without harm. Beyond it, neither the deadline nor a validity period can be judged.
 */
export const clockBackMaxMs = 1_000;

/**
 * Checks that the connection speaks TLS 1.3 (specification: "TLS 1.3"). The chain that came with it is left to the
 * other checks.
 */
export function checkTlsVersion(version: string): Outcome<Tls13> {
  if (version === "TLSv1.3") return Result.succeed({ version } as Tls13);
  return Result.fail(new TlsVersion({ detail: `peer negotiated ${version === "" ? "no version" : version}` }));
}

/** The checks of `pki/path.ts`, and the TLS version. */
export const pkiChecks: Checks = {
  tlsVersion: checkTlsVersion,
  wellFormed: checkWellFormed,
  algorithm: checkAlgorithm,
  path: findPaths,
  validity: checkValidity,
  revocation: checkRevocation,
  identity: checkIdentity,
  role: checkRole,
};

/** The same, with a memory of chains that were found good. What time and revocation lists say is judged each time. */
export function rememberingChecks(memory: VerificationCache): Checks {
  return {
    ...pkiChecks,
    wellFormed: (chain) => memory.checkWellFormed(chain),
    path: (wellFormed, snapshot) => memory.findPaths(wellFormed, snapshot),
    validity: (found, at) => memory.checkValidity(found, at),
    identity: (wellFormed, expectedPeer) => memory.checkIdentity(wellFormed, expectedPeer),
  };
}

/** Whether an outcome stands and is a success. Anything that is no outcome is none. */
export function holds<Proof>(outcome: Outcome<Proof> | undefined): outcome is Result.Success<Proof, Refusal> {
  return Result.isResult(outcome) && Result.isSuccess(outcome);
}

/** Takes the proof out of an outcome. A check that runs without the proof before it is a defect of ours. */
function proven<Proof>(outcome: Outcome<Proof> | undefined): Proof {
  if (!holds(outcome)) throw new Error("the check before it proved nothing");
  return outcome.success;
}

/** Reads the clock. One that says nothing, or that stepped back during the handshake, proves no validity period. */
function readClock(evidence: Evidence): Date {
  const { birth } = evidence;
  const at = birth.now();
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) throw new Error(`the clock says ${at}`);
  if (!evidence.verifiedBefore && at < birth.at - clockBackMaxMs) {
    throw new Error(`the clock went back ${birth.at - at} ms during the handshake`);
  }
  return date;
}

/** What ends a connection at our own certificate's end, `notAfter` itself still valid; undefined where nothing does. */
function checkOwnEnd({ name, notAfter }: Birth["own"], at: Date): CertificateExpired | undefined {
  if (at <= notAfter) return undefined;
  return new CertificateExpired({ certificate: { subject: `${name} (this node's own)`, serial: "" }, at, notAfter });
}

type Judges = { readonly [Name in CheckName]: (evidence: Evidence, checks: Checks) => Outcomes[Name] };

const judges: Judges = {
  admission: ({ admission }) => Result.succeed(proven(admission)),
  tlsVersion: ({ version }, checks) => checks.tlsVersion(version),
  wellFormed: ({ chain }, checks) => checks.wellFormed(chain),
  algorithm: ({ wellFormed, snapshot }, checks) => checks.algorithm(proven(wellFormed), widestPolicy(snapshot)),
  path: ({ wellFormed, snapshot }, checks) => checks.path(proven(wellFormed), snapshot),
  validity: (evidence, checks) => {
    const at = readClock(evidence);
    // A peer is not refused for what we are: it refuses us. A connection that was let in ends with either certificate.
    const own = evidence.opened ? checkOwnEnd(evidence.birth.own, at) : undefined;
    return own === undefined ? checks.validity(proven(evidence.path), at) : Result.fail(own);
  },
  revocation: ({ validity, snapshot }, checks) => {
    const within = proven(validity);
    return checks.revocation(within, snapshot, within.at);
  },
  identity: ({ wellFormed, birth }, checks) => checks.identity(proven(wellFormed), birth.expectedPeer),
  role: ({ identity, revocation, snapshot }, checks) =>
    checks.role(proven(identity), domainOf(snapshot, proven(revocation).domain).policy),
};

/**
 * Computes a check's outcome, or keeps the one that stands in the evidence. Never throws: a check that throws, or that
 * gives anything but an outcome, amounts to the refusal `internal`.
 */
export function judge<Name extends CheckName>(name: Name, evidence: Evidence, checks: Checks): Outcomes[Name] {
  const standing = evidence[name] as Outcomes[Name] | undefined;
  if (Result.isResult(standing)) return standing as Outcomes[Name];
  const refuse = (why: string) =>
    Result.fail(new Internal({ detail: `check ${name} failed: ${why}` })) as Outcomes[Name];
  try {
    disown(standing);
    const outcome: unknown = judges[name](evidence, checks);
    if (Result.isResult(outcome)) return outcome as Outcomes[Name];
    disown(outcome);
    return refuse("it gave no outcome");
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

/** The checks behind the TLS handshake, in the order in which their states follow each other. */
export const verifyingChecks = [
  "tlsVersion",
  "wellFormed",
  "algorithm",
  "path",
  "validity",
  "revocation",
  "identity",
  "role",
] as const satisfies readonly CheckName[];

/** Computes the outcomes of these checks, as {@linkcode judge} does, up to the first that does not hold. */
export function judgeAll(evidence: Evidence, checks: Checks): Standing {
  const seen: Evidence = { ...evidence };
  const judged: Standing = {};
  for (const name of verifyingChecks) {
    const outcome: Outcome<unknown> | undefined = judge(name, seen, checks);
    Object.assign(seen, { [name]: outcome });
    Object.assign(judged, { [name]: outcome });
    if (!holds(outcome)) break;
  }
  return judged;
}

/** A promise is no outcome. Refused as it is, it must not end the process should it be rejected later. */
function disown(given: unknown): void {
  if (given instanceof Promise) given.catch(() => {});
}

/**
 * The evidence with which a re-verification begins: an outcome stays only where nothing it was computed from changed.
 * Signatures (the path) are repeated only if the anchors or the policy did.
 */
export function withoutStale(evidence: Evidence, snapshot: TrustSnapshot): Standing {
  const sameAnchors = evidence.snapshot.anchorsId === snapshot.anchorsId;
  return {
    ...(sameAnchors ? {} : { algorithm: undefined, path: undefined }),
    validity: undefined,
    revocation: undefined,
    role: undefined,
  };
}
