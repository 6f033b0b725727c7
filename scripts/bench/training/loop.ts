/**
 * The inner loop of a trainer that the bench measures: so many passes over all parameters.
 *
 * @module
 */

/** How far an element goes towards its target in one pass. */
const rate = 0.01;

/** Makes so many passes. */
export function trainFor(weights: Float32Array, passes: number): void {
  for (let pass = 0; pass < passes; pass++) {
    for (let at = 0; at < weights.length; at++) {
      const value = weights[at] as number;
      weights[at] = value - rate * (value - ((at & 1_023) - 512) / 1_024);
    }
  }
}

/** How many passes fit into this time; at least one. */
export function passesIn(weights: Float32Array, forMs: number): number {
  const end = performance.now() + forMs;
  let passes = 0;
  do {
    trainFor(weights, 1);
    passes += 1;
  } while (performance.now() < end);
  return passes;
}
