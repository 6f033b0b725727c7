/**
 * The paths that the gates of a run took from creation to end, in the notation of the machine's enumeration: the phases of a
 * gate, the event that led from each to the next, and the check that ended it.
 *
 * @module
 */
import { Result } from "effect";
import type { InspectionEvent, SnapshotFrom } from "xstate";
import { type connectionGateMachine, phaseOf } from "../gate/connection_gate.ts";
import { gateCheckNames } from "../gate/gate_checks.ts";

/** A state of the gate's machine. */
export type GateState = SnapshotFrom<typeof connectionGateMachine>;

/** Paths kept of one batch; there are about a hundred. */
const pathsMax = 10_000;

/** A state in a path: its phase, and at the end the check that failed. */
export function placeOf({ value, context }: GateState): string {
  const phase = phaseOf(value);
  if (phase !== "refused" && phase !== "closed") return phase;
  const failed = gateCheckNames.find((name) => {
    const outcome: unknown = context[name];
    return Result.isResult(outcome) && Result.isFailure(outcome);
  });
  return failed === undefined ? phase : `${phase} by ${failed}`;
}

/** One step: the event, and the state it led to. */
export function stepOf(event: { readonly type: string; readonly by?: string }, next: GateState): string {
  const timer = /^xstate\.after\.([A-Za-z]+)/.exec(event.type)?.[1];
  const what = timer ?? (event.by === undefined ? event.type : `${event.type} by ${event.by}`);
  return `${what} → ${placeOf(next)}`;
}

/** Collects paths. A transition from a phase to itself is no step of a simple path. */
export class GatePaths {
  readonly #under = new WeakMap<object, { place: string; path: string }>();
  readonly #reached = new Set<string>();

  /** For {@linkcode SimulationOptions.inspect}. */
  readonly inspect = (inspected: InspectionEvent): void => {
    if (inspected.type !== "@xstate.snapshot") return;
    const { actorRef, event, snapshot } = inspected;
    if ((actorRef as { readonly logic?: { readonly id?: string } }).logic?.id !== "connectionGate") return;
    const state = snapshot as GateState;
    if (state.status === "stopped") return;
    const place = placeOf(state);
    const before = this.#under.get(actorRef);
    if (before?.place === place) return;
    const step = before === undefined ? place : stepOf(event, state);
    const path = before === undefined ? step : `${before.path}, ${step}`;
    this.#under.set(actorRef, { place, path });
    if (this.#reached.size < pathsMax) this.#reached.add(path);
  };

  /** Every path that a gate took, and every prefix of one. */
  get reached(): ReadonlySet<string> {
    return this.#reached;
  }
}
