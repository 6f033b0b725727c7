/**
 * The clock of a transport. No timer, date or promise order decides anything in the core, so that a run replays in virtual time.
 *
 * @module
 */

/** A timer that {@linkcode Clock.after} started. Only its clock reads it. */
export type Timer = object;

/** Time, timers and the order of tasks. */
export interface Clock {
  /** Milliseconds since the epoch. Wall time may jump: use it only for dates of certificates and records. */
  now(): number;
  /** Milliseconds since an arbitrary start; never goes back. Deadlines and rates use it. */
  monotonic(): number;
  /** Runs `task` after `delayMs`. */
  after(delayMs: number, task: () => void): Timer;
  /** Cancels a timer; one that has fired, or `undefined`, is ignored. */
  cancel(timer: Timer | undefined): void;
  /** Runs `task` after the current call, before any input or output. A chain of these starves sockets. */
  soon(task: () => void): void;
  /** Runs `task` once waiting input and output had its turn. */
  yield(task: () => void): void;
}
