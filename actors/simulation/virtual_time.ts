/**
 * Time that passes only when everything due has happened: a heap of tasks, ordered by when they are due and then by when
 * they were scheduled, of which one is run a step.
 *
 * xstate's own simulated clock runs timers late on a large step, and in the order of their making: not this one.
 *
 * @module
 */

/** A scheduled task; `undefined` once it ran or was cancelled. */
export interface Scheduled {
  task: (() => void) | undefined;
  readonly due: number;
  readonly sequence: number;
}

/** Tasks under way at once; a run that schedules more has a leak. */
export const tasksMax = 1_000_000;
/** Tasks that one step may add with {@linkcode VirtualTime.soon}; a chain of more never ends. */
export const soonMax = 1_000_000;

/** The world's time, in milliseconds since the epoch. It never goes back; nodes' own clocks do ({@linkcode NodeClock}). */
export class VirtualTime {
  readonly #heap: Scheduled[] = [];
  #soon: (() => void)[] = [];
  #now: number;
  #sequence = 0;
  #steps = 0;

  constructor(startAt: number) {
    this.#now = startAt;
  }

  get now(): number {
    return this.#now;
  }

  /** Tasks that ran. */
  get steps(): number {
    return this.#steps;
  }

  /** Tasks that wait, cancelled ones that were not yet met included. */
  get size(): number {
    return this.#heap.length;
  }

  /** Runs `task` after `delayMs`; after everything that was scheduled for the same instant before. */
  schedule(delayMs: number, task: () => void): Scheduled {
    if (this.#heap.length >= tasksMax) throw new RangeError(`Cannot schedule: ${tasksMax} tasks wait already`);
    const delay = delayMs > 0 ? delayMs : 0;
    const scheduled: Scheduled = { task, due: this.#now + delay, sequence: this.#sequence++ };
    this.#push(scheduled);
    return scheduled;
  }

  /** Runs `task` at the end of the current step, before time passes; outside of a step, at the beginning of the next. */
  soon(task: () => void): void {
    this.#soon.push(task);
  }

  cancel(scheduled: Scheduled | undefined): void {
    if (scheduled !== undefined) scheduled.task = undefined;
  }

  /** Runs the next task if it is due by `until`, and what it wants done soon; false where there is none. */
  step(until: number): boolean {
    if (this.#soon.length > 0) {
      this.#steps += 1;
      this.#empty();
      return true;
    }
    for (;;) {
      const next = this.#heap[0];
      if (next === undefined || next.due > until) return false;
      this.#pop();
      const { task } = next;
      if (task === undefined) continue;
      next.task = undefined;
      if (next.due > this.#now) this.#now = next.due;
      this.#steps += 1;
      task();
      if (this.#soon.length > 0) this.#empty();
      return true;
    }
  }

  /** In order, and what they add with them. */
  #empty(): void {
    const queue = this.#soon;
    let next = 0;
    try {
      while (next < queue.length) {
        if (next >= soonMax) throw new RangeError(`Cannot go on: one step wants more than ${soonMax} tasks done soon`);
        (queue[next++] as () => void)();
      }
    } finally {
      this.#soon = next === queue.length ? [] : queue.slice(next);
    }
  }

  /** Lets time pass to `until`, running all that is due. */
  runTo(until: number): void {
    while (this.step(until));
    if (until > this.#now) this.#now = until;
  }

  #push(scheduled: Scheduled): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(scheduled);
    while (at > 0) {
      const above = (at - 1) >> 1;
      const parent = heap[above] as Scheduled;
      if (!isBefore(scheduled, parent)) break;
      heap[at] = parent;
      at = above;
    }
    heap[at] = scheduled;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Scheduled;
    const size = heap.length;
    if (size === 0) return;
    let at = 0;
    for (;;) {
      let below = 2 * at + 1;
      if (below >= size) break;
      if (below + 1 < size && isBefore(heap[below + 1] as Scheduled, heap[below] as Scheduled)) below += 1;
      if (!isBefore(heap[below] as Scheduled, last)) break;
      heap[at] = heap[below] as Scheduled;
      at = below;
    }
    heap[at] = last;
  }
}

function isBefore(left: Scheduled, right: Scheduled): boolean {
  return left.due === right.due ? left.sequence < right.sequence : left.due < right.due;
}
