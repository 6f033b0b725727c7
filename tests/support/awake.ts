/**
 * The time that this process gets.
 *
 * @module
 */
const tickMs = 25;
const tickMaxMs = 4 * tickMs;

/** Counts the time that the process really had: on a machine that is short of it, both ends of every exchange stand still. */
export function awake(): { readonly ms: () => number; readonly stop: () => void } {
  let [ms, last] = [0, performance.now()];
  const timer = setInterval(() => {
    const now = performance.now();
    ms += Math.min(tickMaxMs, now - last);
    last = now;
  }, tickMs);
  return { ms: () => ms, stop: () => clearInterval(timer) };
}

/** Waits until the process had so much time, in milliseconds, or something holds; whether it does. */
export async function whileAwake(ms: number, holds: () => boolean = () => false): Promise<boolean> {
  const clock = awake();
  while (!holds() && clock.ms() < ms) await new Promise((resolve) => setTimeout(resolve, 10));
  clock.stop();
  return holds();
}
