/**
 * The longest stall of this process's event loop.
 *
 * @module
 */
import process from "node:process";
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
  /**
   * The longest piece of this thread's work: processor time between two turns, in milliseconds. Other work on the machine does not
   * lengthen it. Deno does not tell threads apart: there it is the stall.
   */
  readonly pieceMs: number;
  readonly wallMs: number;
  readonly value: A;
}

function spentMs(): number | undefined {
  if ("Deno" in globalThis) return undefined;
  const { user, system } = process.threadCpuUsage();
  return (user + system) / 1_000;
}

/** Runs a piece of work and measures, with a timer, the longest stall of the event loop meanwhile. The same on both runtimes. */
export async function measureStall<A>(work: () => Promise<A>): Promise<Stalled<A>> {
  let [stallMs, pieceMs, last, spent] = [0, 0, performance.now(), spentMs()];
  const look = () => {
    const [now, nowSpent] = [performance.now(), spentMs()];
    const gapMs = now - last - everyMs;
    stallMs = Math.max(stallMs, gapMs);
    pieceMs = Math.max(
      pieceMs,
      nowSpent === undefined || spent === undefined ? gapMs : Math.min(gapMs, nowSpent - spent),
    );
    [last, spent] = [now, nowSpent];
  };
  const timer = setInterval(look, everyMs);
  try {
    await sleep(aroundMs);
    [stallMs, pieceMs, spent] = [0, 0, spentMs()];
    const begun = last = performance.now();
    const value = await work();
    const wallMs = performance.now() - begun;
    look();
    await sleep(aroundMs);
    return { stallMs, pieceMs, wallMs, value };
  } finally {
    clearInterval(timer);
  }
}
