/**
 * How the gate runs the checks of `pki/checks/check_table.ts`: each outcome from the outcomes before it, never from
 * anything else, and never by throwing.
 *
 * @module
 */
import { Result } from "effect";
import {
  type AnyCheck,
  type CheckFunctions,
  checksOf,
  type Evidence,
  type Outcome,
  type Outcomes,
  runChecks,
} from "../../pki/checks/check_table.ts";
import { CertificateExpired, Internal, type Refusal } from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";

/** The checks after the TLS handshake, in the order in which their states follow each other. */
export const verifyingChecks = checksOf("connection", "chain");

/** The name of a check that a connection is verified by. */
export type VerifyingCheckName = (typeof verifyingChecks)[number]["name"];

/** The name of a check of the gate. The transport decides admission; the gate reads that outcome. */
export type GateCheckName = "admission" | VerifyingCheckName;

/** Every check of the gate, in order. */
export const gateCheckNames: readonly GateCheckName[] = ["admission", ...verifyingChecks.map(({ name }) => name)];

/** The outcomes that the gate knows. Plain data: with the refusal they are the audit record. */
export type GateOutcomes =
  & { readonly admission: Outcome<unknown> }
  & { readonly [Name in VerifyingCheckName]?: Outcomes[Name] };

/** What the gate's checks read of its context. */
export interface GateEvidence extends GateOutcomes {
  readonly version: string;
  /** Emptied once `wellFormed` holds it parsed. */
  readonly chain: readonly Uint8Array[];
  readonly snapshot: TrustSnapshot;
  readonly input: CheckInput;
  readonly verifiedBefore: boolean;
  /** libp2p announced the connection: it was let in. */
  readonly opened: boolean;
}

/** What never changes in a gate's life and matters to checks. */
export interface CheckInput {
  readonly expectedPeer: string | undefined;
  /** What we show the peer: its name, and when it ends. */
  readonly own: { readonly name: string; readonly notAfter: Date };
  /** When the gate was created, in milliseconds since the epoch. */
  readonly createdAt: number;
  readonly now: () => number;
}

/**
 * How far the clock may step back between a gate's creation and its verdict, in milliseconds: what a time daemon does in one
 * step without harm. After a larger step, neither the deadline nor a validity period can be checked.
 */
export const clockBackMaxMs = 1_000;

/** Reads the clock. A clock that gives no time, or that stepped back during the handshake, proves no validity period. */
function readClock({ input, verifiedBefore }: GateEvidence): Date {
  const at = input.now();
  const date = new Date(at);
  if (Number.isNaN(date.getTime())) throw new Error(`the clock says ${at}`);
  if (!verifiedBefore && at < input.createdAt - clockBackMaxMs) {
    throw new Error(`the clock went back ${input.createdAt - at} ms during the handshake`);
  }
  return date;
}

/**
 * The functions, with one more condition once a connection was let in: it ends with this node's own certificate too. Before
 * that a peer is not refused for what we present: the peer refuses us.
 */
function withOwnEnd(functions: CheckFunctions, { name, notAfter }: CheckInput["own"]): CheckFunctions {
  return {
    ...functions,
    validity: (found, at) => {
      if (at <= notAfter) return functions.validity(found, at);
      const certificate = { subject: `${name} (this node's own)`, serial: "" };
      return Result.fail(new CertificateExpired({ certificate, at, notAfter }));
    },
  };
}

/** The outcome of admission, as the transport gave it; anything that is no outcome refuses. */
export function evaluateAdmission(given: unknown): Outcome<unknown> {
  if (Result.isResult(given)) return given as Outcome<unknown>;
  disown(given);
  return refuse("admission", "it gave no outcome");
}

/**
 * Computes the outcome of each check up to the first that does not hold; a cached outcome is used again. Never throws: a
 * check that throws, or that returns anything but an outcome, is the refusal `internal`.
 */
export function evaluateChecks(gate: GateEvidence, given: CheckFunctions): Outcomes {
  const functions = gate.opened ? withOwnEnd(given, gate.input.own) : given;
  const terms = { at: () => readClock(gate), expectedPeer: gate.input.expectedPeer };
  return runChecks(verifyingChecks, { ...gate, terms }, (check, seen) => evaluate(check, seen, functions));
}

function evaluate(check: AnyCheck, evidence: Evidence, functions: CheckFunctions): Outcome<unknown> {
  const cached: unknown = evidence[check.name];
  if (Result.isResult(cached)) return cached as Outcome<unknown>;
  try {
    disown(cached);
    const outcome: unknown = check.run(evidence, functions);
    if (Result.isResult(outcome)) return outcome as Outcome<unknown>;
    disown(outcome);
    return refuse(check.name, "it gave no outcome");
  } catch (error) {
    return refuse(check.name, error instanceof Error ? error.message : String(error));
  }
}

function refuse(check: GateCheckName | AnyCheck["name"], why: string): Result.Result<never, Refusal> {
  return Result.fail(new Internal({ detail: `check ${check} failed: ${why}` }));
}

/** A promise is no outcome. It is refused, and must not end the process if it is rejected later. */
function disown(given: unknown): void {
  if (given instanceof Promise) given.catch(() => {});
}

/**
 * The cached outcomes that a re-verification must not use: an outcome stays only where nothing that it was computed from
 * changed. Signatures (the path) are verified again only if the anchors or the policy changed.
 */
export function staleOutcomes(gate: GateEvidence, snapshot: TrustSnapshot): Outcomes {
  const sameAnchors = gate.snapshot.anchorsId === snapshot.anchorsId;
  return {
    ...(sameAnchors ? {} : { algorithm: undefined, path: undefined }),
    validity: undefined,
    revocation: undefined,
    identity: undefined,
    role: undefined,
  };
}
