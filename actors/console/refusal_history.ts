/**
 * Refusals over time. A node counts since its start; the console notes the counts at regular times while it is open.
 *
 * @module
 */

/** Between two samples, in milliseconds. */
export const sampleMs = 15_000;
/** Samples that are kept: two hours. */
export const samplesMax = 480;

/** Refusals between a sample and the one before. */
export interface RefusalSample {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly count: number;
}

/** The history of one node. */
export interface RefusalHistory {
  /** Notes how many refusals there were since the start of the node. */
  readonly note: (at: number, total: number) => void;
  /** The oldest first. */
  readonly samples: () => readonly RefusalSample[];
}

/** Begins a history. */
export function makeRefusalHistory(): RefusalHistory {
  let samples: readonly RefusalSample[] = [];
  let last: number | undefined;
  return {
    note: (at, total) => {
      const count = Math.max(0, total - (last ?? total));
      last = total;
      samples = [...samples.slice(1 - samplesMax), { at, count }];
    },
    samples: () => samples,
  };
}
