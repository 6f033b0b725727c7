/**
 * Virtual time: a heap of tasks, ordered by due time and then by the order of scheduling. A step runs one task; time passes
 * to the next due task.
 *
 * xstate's `SimulatedClock` runs timers late after a large step, and in the order of their creation.
 *
 * @module
 */

/** A scheduled task; `undefined` once it ran or was cancelled. */
export interface Scheduled {
  task: (() => void) | undefined;
  readonly due: number;
  readonly sequence: number;
}

/** Waiting tasks at once; a run that schedules more has a leak. */
export const tasksMax = 1_000_000;

/** The world's time, in milliseconds since the epoch. It never goes back; a node's clock may ({@linkcode NodeClock}). */
export class VirtualTime {
  readonly #heap: Scheduled[] = [];
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

  /** Waiting tasks, including cancelled ones that are still in the heap. */
  get size(): number {
    return this.#heap.length;
  }

  /** Runs `task` after `delayMs`, after every task that was scheduled earlier for the same instant. */
  schedule(delayMs: number, task: () => void): Scheduled {
    if (this.#heap.length >= tasksMax) throw new RangeError(`Cannot schedule task: ${tasksMax} tasks wait`);
    const delay = delayMs > 0 ? delayMs : 0;
    const scheduled: Scheduled = { task, due: this.#now + delay, sequence: this.#sequence++ };
    this.#push(scheduled);
    return scheduled;
  }

  cancel(scheduled: Scheduled | undefined): void {
    if (scheduled !== undefined) scheduled.task = undefined;
  }

  /** Runs the next task if it is due by `until`; false where none is. */
  step(until: number): boolean {
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
      return true;
    }
  }

  /** Lets time pass to `until`, and runs every task that is due. */
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
