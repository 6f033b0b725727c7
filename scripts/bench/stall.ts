/**
 * The longest stall of this process's event loop.
 *
 * @module
 */
import { clearInterval, setInterval } from "node:timers";
import { setTimeout as sleep } from "node:timers/promises";

/** How often the loop is asked, in milliseconds: a stall is measured to within this. */
const everyMs = 2;
/** Before and after the work, in milliseconds: what it leaves behind counts too. */
const aroundMs = 20;

/** What a piece of work cost the loop. */
export interface Stalled<A> {
  /** The longest time between two turns of a timer beyond its own interval, in milliseconds. */
  readonly stallMs: number;
  readonly wallMs: number;
  readonly value: A;
}

/** Runs a piece of work and measures, with a timer, the longest stall of the event loop meanwhile. The same on both runtimes. */
export async function measureStall<A>(work: () => Promise<A>): Promise<Stalled<A>> {
  let stallMs = 0, last = performance.now();
  const look = () => {
    const now = performance.now();
    stallMs = Math.max(stallMs, now - last - everyMs);
    last = now;
  };
  const timer = setInterval(look, everyMs);
  try {
    await sleep(aroundMs);
    stallMs = 0;
    const begun = last = performance.now();
    const value = await work();
    const wallMs = performance.now() - begun;
    look();
    await sleep(aroundMs);
    return { stallMs, wallMs, value };
  } finally {
    clearInterval(timer);
  }
}
