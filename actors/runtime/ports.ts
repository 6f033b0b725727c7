/**
 * What an actor is given of the world: clock, randomness, identifiers, a place to report to, and a way to run Effects.
 * Each of them is replaced in a simulation, which makes a run a function of its seed.
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

/** One line of the log. `event` is dotted lower case; what a reader may search for is in `fields`. */
export interface Report {
  /** How serious it is. */
  readonly level: "debug" | "info" | "warn" | "error";
  /** What happened, dotted lower case: `trust.loaded`. */
  readonly event: string;
  /** The same for a person, in one line. */
  readonly message: string;
  /** What a reader may search for. */
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** What every actor is given. */
export interface Ports {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Evenly spread in [0, 1). Never for identifiers or secrets. */
  readonly random: () => number;
  /** A fresh random UUID, hyphenated lower case. */
  readonly uuid: () => string;
  /** Takes a line of the log. */
  readonly report: (report: Report) => void;
  /** Starts an Effect. */
  readonly run: Run;
}
