/**
 * One node's view of the world's time: its wall clock may be wrong or jump, its timers run with the world, and all of it
 * stops when the node's process ends.
 *
 * Stands behind xstate's `clock`, Effect's `Clock` and `Scheduler`, the transport's clock, and `ports.now`.
 *
 * @module
 */
import { Clock, Duration, Effect } from "effect";
import { MixedScheduler, type Scheduler } from "effect/Scheduler";
import type { Clock as TransportClock } from "../../transport/core/clock.ts";
import type { Scheduled, VirtualTime } from "./virtual_time.ts";

/** What xstate asks of a clock. */
export interface MachineClock {
  setTimeout(task: () => void, delayMs: number): unknown;
  clearTimeout(timer: unknown): void;
}

/** A process's clock. */
export class NodeClock implements TransportClock {
  readonly #time: VirtualTime;
  #skewMs: number;
  #stopped = false;
  readonly machine: MachineClock;
  readonly effectClock: Clock.Clock;
  readonly effectScheduler: Scheduler;

  constructor(time: VirtualTime, skewMs = 0) {
    this.#time = time;
    this.#skewMs = skewMs;
    this.machine = {
      setTimeout: (task, delayMs) => this.after(delayMs, task),
      clearTimeout: (timer) => time.cancel(timer as Scheduled | undefined),
    };
    this.effectClock = effectClockOf(this);
    this.effectScheduler = new MixedScheduler("async", (task) => {
      const scheduled = this.after(0, task);
      return () => time.cancel(scheduled);
    });
  }

  /** Milliseconds since the epoch, as this node believes. */
  now(): number {
    return this.#time.now + this.#skewMs;
  }

  /** The world's time: no jump of the wall clock changes it. */
  monotonic(): number {
    return this.#time.now;
  }

  /** How far the node's wall clock is ahead of the world's, in milliseconds. Setting it is a jump; timers don't notice. */
  get skewMs(): number {
    return this.#skewMs;
  }
  set skewMs(skewMs: number) {
    this.#skewMs = skewMs;
  }

  /** Runs `task` after `delayMs`, unless the process has ended by then. */
  after(delayMs: number, task: () => void): Scheduled {
    return this.#time.schedule(delayMs, () => {
      if (!this.#stopped) task();
    });
  }

  cancel(scheduled: Scheduled | undefined): void {
    this.#time.cancel(scheduled);
  }

  /** Runs `task` before time passes, unless the process has ended by then. */
  soon(task: () => void): void {
    this.#time.soon(() => {
      if (!this.#stopped) task();
    });
  }

  /** Runs `task` after everything that is due now. */
  yield(task: () => void): void {
    this.after(0, task);
  }

  /** The process ended: nothing it waited for comes to pass. */
  stop(): void {
    this.#stopped = true;
  }
}

function effectClockOf(clock: NodeClock): Clock.Clock {
  const nanos = () => BigInt(Math.round(clock.now() * 1_000)) * 1_000n;
  return {
    currentTimeMillisUnsafe: () => clock.now(),
    currentTimeMillis: Effect.sync(() => clock.now()),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) => {
      const delayMs = Duration.toMillis(duration);
      if (!Number.isFinite(delayMs)) return Effect.never;
      return Effect.callback((resume) => {
        const timer = clock.after(delayMs, () => resume(Effect.void));
        return Effect.sync(() => clock.cancel(timer));
      });
    },
  };
}
