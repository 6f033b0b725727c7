/**
 * The interface between an actor and the world: clock, randomness, identifiers, log, and a way to run Effects. A simulation
 * replaces each of them, which makes a run a function of its seed.
 *
 * @module
 */
import type { Effect, Exit } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { ChildProcessSpawner } from "effect/process/ChildProcessSpawner";

/** Services that the Effects of actors may ask for. */
export type Services = FileSystem | Path | ChildProcessSpawner;

/** Starts an Effect; `onExit` is called once, never inside the call itself. Returns how to interrupt it. */
export type Run = <A, E>(
  effect: Effect.Effect<A, E, Services>,
  onExit: (exit: Exit.Exit<A, E>) => void,
) => () => void;

/** One line of the log. `event` is dotted lower case; `fields` holds the data to search for. */
export interface Report {
  /** The severity. */
  readonly level: "debug" | "info" | "warn" | "error";
  /** The event, dotted lower case: `trust.loaded`. */
  readonly event: string;
  /** The event in one line of plain text. */
  readonly message: string;
  /** Data to search for. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** The severity of a line. */
export type LogLevel = Report["level"];
/** Levels of the log, the most talkative first. */
export const logLevels = ["debug", "info", "warn", "error"] as const satisfies readonly LogLevel[];

/** The ports that every actor gets. */
export interface Ports {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** The same without the steps of the system's clock: for how long something lasts. Where undefined, `now` makes no steps. */
  readonly monotonic?: () => number;
  /** Evenly spread in [0, 1). Never for identifiers or secrets. */
  readonly random: () => number;
  /** A fresh random UUID, hyphenated lower case. */
  readonly uuid: () => string;
  /** Takes a line of the log. */
  readonly report: (report: Report) => void;
  /** Starts an Effect. */
  readonly run: Run;
}

/** The longest delay that a timer of either runtime keeps: a longer one fires after a millisecond. */
export const timerMaxMs = 2 ** 31 - 1;

/** Milliseconds by a clock that makes no steps: differences are durations, and nothing that a peer or a file names compares with it. */
export function monotonicNow({ now, monotonic = now }: Pick<Ports, "now" | "monotonic">): number {
  return monotonic();
}
