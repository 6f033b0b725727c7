/**
 * Counters of events that no actor's state holds: phases of gates, and lines of the log. All other metrics are read from the
 * actors on request (`samples.ts`).
 *
 * @module
 */
import type { CloseReason, Gate, GateEvent, GateInput, MakeGate } from "../../transport/port.ts";
import type { Ports, Report } from "../runtime/ports.ts";
import { durationBounds, type Durations } from "./instruments.ts";

/** The direction of a connection. */
export type Direction = GateInput["direction"];

/** The gates of one direction, since the start. */
export interface GateCounts {
  readonly pending: number;
  readonly open: number;
  readonly accepted: number;
  readonly durations: Durations;
}

/** Counts gates. */
export interface GateTally {
  readonly counts: Readonly<Record<Direction, GateCounts>>;
  /** Established connections that ended, by reason. */
  readonly closed: Readonly<Record<CloseReason["type"], number>>;
  /** Wraps a factory of gates, and counts its gates. */
  meter(makeGate: MakeGate): MakeGate;
}

interface Counting {
  pending: number;
  open: number;
  accepted: number;
  readonly durations: { readonly counts: number[]; sum: number; min: number; max: number };
}

const nothing = (): Counting => ({
  pending: 0,
  open: 0,
  accepted: 0,
  durations: { counts: new Array<number>(durationBounds.length + 1).fill(0), sum: 0, min: 0, max: 0 },
});

/** Makes a counter of gates. `now` in milliseconds. */
export function makeGateTally({ now }: Pick<Ports, "now">): GateTally {
  const counts: Record<Direction, Counting> = { inbound: nothing(), outbound: nothing() };
  const closed = { "by-us": 0, "by-them": 0, lost: 0, "trust.changed": 0, expired: 0 };
  return {
    counts,
    closed,
    meter: (makeGate) => (input) => {
      const bornAt = now();
      const gate = makeGate(input);
      follow(gate, { counting: counts[input.direction], closed, ageSeconds: () => (now() - bornAt) / 1_000 });
      return gate;
    },
  };
}

interface Followed {
  readonly counting: Counting;
  readonly closed: Record<CloseReason["type"], number>;
  readonly ageSeconds: () => number;
}

/** A gate emits each of these at most once, and none after the last: see `connection_gate.ts`. */
function follow(gate: Gate, { counting, closed, ageSeconds }: Followed): void {
  if (gate.phase === "refused" || gate.phase === "closed") return; // refused when it was created: it was never pending
  let phase: "pending" | "open" | "over" = "pending";
  counting.pending += 1;
  gate.listen((event: GateEvent) => {
    const { type } = event;
    if (type === "gate.established" && phase === "pending") {
      phase = "open";
      counting.pending -= 1;
      counting.open += 1;
      counting.accepted += 1;
      observe(counting.durations, ageSeconds());
    } else if (type === "gate.refused" || type === "gate.closed") {
      if (phase === "pending") counting.pending -= 1;
      if (phase === "open") counting.open -= 1;
      if (phase === "open" && type === "gate.closed") closed[event.reason.type] += 1;
      phase = "over";
    }
  });
}

function observe(durations: Counting["durations"], seconds: number): void {
  const value = Math.max(0, seconds); // the clock may have gone back
  const place = durationBounds.findIndex((bound) => value <= bound);
  const isFirst = durations.counts.every((count) => count === 0);
  const index = place < 0 ? durationBounds.length : place;
  durations.counts[index] = (durations.counts[index] ?? 0) + 1;
  durations.sum += value;
  durations.min = isFirst ? value : Math.min(durations.min, value);
  durations.max = Math.max(durations.max, value);
}

/** Lines of one level and event. */
export interface LineCount {
  readonly level: Report["level"];
  readonly event: string;
  readonly count: number;
}

/** Counts lines of the log. */
export interface LineTally {
  readonly counts: Iterable<LineCount>;
  /** Wraps a report function, and counts its lines. */
  meter(report: Ports["report"]): Ports["report"];
}

/** Pairs of a level and an event that are counted separately: more than the source has (tested). All others are counted as `other`. */
export const eventsMax = 1_024;

/** Makes a counter of lines. */
export function makeLineTally(): LineTally {
  const rows = new Map<string, { readonly level: Report["level"]; readonly event: string; count: number }>();
  const count = ({ level, event }: Report) => {
    const called = rows.has(`${level} ${event}`) || rows.size < eventsMax ? event : "other";
    const row = rows.get(`${level} ${called}`) ?? { level, event: called, count: 0 };
    row.count += 1;
    rows.set(`${level} ${called}`, row);
  };
  return {
    counts: { [Symbol.iterator]: () => rows.values() },
    meter: (report) => (line) => {
      if (line.level !== "debug") count(line);
      report(line);
    },
  };
}
