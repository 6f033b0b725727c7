/**
 * Spans of handshakes, from what gates emit: one for each gate, with the TLS handshake, each check and the opening as children.
 *
 * Gates that admission refuses have none: a flood would fill the queue, and metrics count them.
 *
 * @module
 */
import { Result } from "effect";
import { type CheckFunctions, type CheckName, checkTable, type Outcome } from "../../pki/checks/check_table.ts";
import type { Refusal } from "../../pki/refusal.ts";
import type { Gate, GateEvent, GateInput, MakeGate } from "../../transport/port.ts";
import type { TraceContext } from "../../transport/protocols/trace_context.ts";
import type { Recorder } from "./recorder.ts";
import type { Attributes, Span } from "./span.ts";

/** A check that ran. */
interface TimedCheck {
  readonly name: CheckName;
  readonly startMs: number;
  readonly endMs: number;
  readonly refusal: Refusal | undefined;
}

/** Checks that measure themselves. */
export interface TimedChecks {
  readonly functions: CheckFunctions;
  /** The checks of the verification that has just ended with this refusal, or without one; none where another one was the last. */
  take(refusal: Refusal | undefined): readonly TimedCheck[];
}

const [{ name: firstCheck }] = checkTable;

/**
 * Wraps the functions of checks. A verification runs all its checks in one synchronous call, and its gate emits the verdict before
 * another one begins: so one list is enough for all gates.
 */
export function timeChecks(functions: CheckFunctions, now: () => number): TimedChecks {
  let ran: TimedCheck[] = [];
  let startMs = 0;
  const timed =
    (name: CheckName, run: (...args: readonly unknown[]) => Outcome<unknown>) => (...args: readonly unknown[]) => {
      if (name === firstCheck) {
        ran = [];
        startMs = now();
      }
      const outcome = run(...args);
      const endMs = now();
      ran.push({ name, startMs, endMs, refusal: Result.isFailure(outcome) ? outcome.failure : undefined });
      startMs = endMs; // the next check follows at once
      return outcome;
    };
  const wrapped = Object.entries(functions).map(([name, run]) => [name, timed(name as CheckName, run)]);
  return {
    functions: Object.fromEntries(wrapped) as CheckFunctions,
    take: (refusal) => {
      const own = ran;
      ran = [];
      return own.at(-1)?.refusal === refusal ? own : [];
    },
  };
}

/** Wraps a factory of gates, and records the handshakes of its gates. */
export function traceHandshakes(recorder: Recorder, checks: TimedChecks): (makeGate: MakeGate) => MakeGate {
  return (makeGate) => (input) => {
    const gate = makeGate(input);
    if (gate.phase === "refused" || gate.phase === "closed") return gate;
    const context = recorder.begin();
    if (context.sampled) follow({ recorder, checks, context, gate, input, startMs: recorder.now() });
    return gate;
  };
}

interface Followed {
  readonly recorder: Recorder;
  readonly checks: TimedChecks;
  readonly context: TraceContext;
  readonly gate: Gate;
  readonly input: GateInput;
  readonly startMs: number;
}

function follow(followed: Followed): void {
  const { recorder, checks, gate } = followed;
  let verified: readonly TimedCheck[] | undefined;
  const stop = gate.listen((event: GateEvent) => {
    if (event.type === "gate.verified") {
      verified = checks.take(undefined);
      return;
    }
    stop();
    const refusal = "refusal" in event ? event.refusal : undefined;
    const ran = verified ?? (refusal === undefined ? [] : checks.take(refusal));
    const error = event.type === "gate.established" ? undefined : refusal?.code ?? "closed";
    record(followed, { ran, isVerified: verified !== undefined, endMs: recorder.now(), error });
  });
}

interface Ended {
  readonly ran: readonly TimedCheck[];
  readonly isVerified: boolean;
  readonly endMs: number;
  readonly error: string | undefined;
}

function record({ recorder, context, gate, input, startMs }: Followed, ended: Ended): void {
  const { ran, isVerified, endMs, error } = ended;
  const { traceId, spanId } = context;
  const child = (of: Pick<Span, "name" | "startMs" | "endMs" | "error"> & { readonly attributes?: Attributes }) =>
    recorder.end({ attributes: {}, ...of, traceId, spanId: recorder.spanId(), parentSpanId: spanId, kind: "internal" });
  const [first] = ran;
  if (first !== undefined) child({ name: "handshake.tls", startMs, endMs: first.startMs, error: undefined });
  for (const { name, refusal, ...times } of ran) {
    child({ name: "handshake.check", ...times, attributes: { "hypha.check": name }, error: refusal?.code });
  }
  if (isVerified) {
    child({ name: "handshake.opening", startMs: ran.at(-1)?.endMs ?? startMs, endMs, error });
  }
  const { identity, presented } = gate;
  recorder.end({
    traceId,
    spanId,
    parentSpanId: undefined,
    name: "handshake",
    kind: input.direction === "inbound" ? "server" : "client",
    startMs,
    endMs,
    attributes: {
      "hypha.direction": input.direction,
      "network.peer.address": input.address,
      "hypha.peer.id": identity?.peer ?? presented?.id,
      "hypha.peer.name": identity?.name ?? presented?.name,
    },
    error,
  });
}
