/**
 * A clock that a test moves by hand.
 *
 * @module
 */
import type { Clock, Timer } from "../../transport/core/clock.ts";

interface Task {
  readonly due: number;
  readonly sequence: number;
  readonly run: () => void;
}

/** Time stands until {@linkcode ManualClock.pass}; `soon` runs before the next timer, or at {@linkcode ManualClock.settle}. */
export class ManualClock implements Clock {
  #now = 0;
  #sequence = 0;
  #timers: Task[] = [];
  readonly #soon: (() => void)[] = [];
  /** Milliseconds between the epoch and the clock's start. */
  wallAt: number;

  constructor(wallAt = 1_700_000_000_000) {
    this.wallAt = wallAt;
  }

  now(): number {
    return this.wallAt + this.#now;
  }
  monotonic(): number {
    return this.#now;
  }
  after(delayMs: number, run: () => void): Timer {
    const task: Task = { due: this.#now + Math.max(0, delayMs), sequence: this.#sequence++, run };
    this.#timers.push(task);
    return task;
  }
  cancel(timer: Timer | undefined): void {
    this.#timers = this.#timers.filter((task) => task !== timer);
  }
  soon(task: () => void): void {
    this.#soon.push(task);
  }
  yield(task: () => void): void {
    this.after(0, task);
  }

  /** Timers that wait. */
  get waiting(): number {
    return this.#timers.length;
  }

  /** How long each waiting timer has still to wait, in milliseconds. */
  get waits(): number[] {
    return this.#timers.map(({ due }) => due - this.#now);
  }

  /** Runs what was to run soon. */
  settle(): void {
    for (let turn = 0; this.#soon.length > 0; turn++) {
      if (turn > 10_000) throw new Error("a chain of soon() does not end");
      this.#soon.shift()?.();
    }
  }

  /** Lets time pass, task by task. */
  pass(ms: number): void {
    const until = this.#now + ms;
    this.settle();
    for (;;) {
      const [next] = this.#timers.filter(({ due }) => due <= until)
        .sort((a, b) => a.due - b.due || a.sequence - b.sequence);
      if (next === undefined) break;
      this.cancel(next);
      this.#now = Math.max(this.#now, next.due);
      next.run();
      this.settle();
    }
    this.#now = until;
  }
}
