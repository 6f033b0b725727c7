/**
 * What is recorded of a program for traces, and a program of which nothing is recorded.
 *
 * @module
 */
import type { Report } from "../../actors/runtime/ports.ts";
import type { Recorder } from "../../actors/telemetry/recorder.ts";
import type { Outgoing } from "../../actors/telemetry/sender.ts";
import type { CheckFunctions } from "../../pki/checks/check_table.ts";
import type { RequestTraces } from "../../transport/core/request_traces.ts";
import type { MakeGate } from "../../transport/port.ts";

/** What is recorded of a program. */
export interface Tracing {
  /** Wraps a report function. */
  readonly meter: (report: (line: Report) => void) => (line: Report) => void;
  /** Wraps a factory of gates that was made with `checks`. */
  readonly follow: (makeGate: MakeGate) => MakeGate;
  readonly checks: CheckFunctions | undefined;
  readonly requests: RequestTraces | undefined;
  readonly recorder: Recorder | undefined;
  /** The node's PeerID is known, or has changed. */
  readonly name: (peer: string) => void;
  /** The node has ended: what is open is recorded as interrupted. */
  readonly end: () => void;
  readonly outgoing: readonly Outgoing[];
}

/** Nothing is recorded. */
export const noTracing: Tracing = {
  meter: (report) => report,
  follow: (makeGate) => makeGate,
  checks: undefined,
  requests: undefined,
  recorder: undefined,
  name: () => {},
  end: () => {},
  outgoing: [],
};
