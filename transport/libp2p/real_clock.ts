/**
 * The clock of production.
 *
 * @module
 */
import process from "node:process";
import { clearTimeout, setImmediate, setTimeout } from "node:timers";
import type { Clock, Timer } from "../core/clock.ts";

/**
 * Makes a clock over the runtime's timers.
 *
 * @param now Milliseconds since the epoch. Deadlines and rates do not use it: they use the runtime's monotonic time.
 */
export function realClock(now: () => number): Clock {
  return {
    now,
    monotonic: () => {
      const [seconds, nanoseconds] = process.hrtime();
      return seconds * 1_000 + nanoseconds / 1_000_000;
    },
    after: (delayMs: number, task: () => void): Timer => setTimeout(task, delayMs),
    cancel: (timer: Timer | undefined) => clearTimeout(timer as NodeJS.Timeout | undefined),
    soon: (task: () => void) => queueMicrotask(task),
    yield: (task: () => void) => void setImmediate(task),
  };
}
