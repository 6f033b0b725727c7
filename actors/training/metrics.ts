/**
 * Which metrics of a participant are noted. What one sends displaces neither others' metrics nor the rest of the training's log.
 *
 * @module
 */

/** Metrics of one participant that are noted in one round. */
export const metricsOfRoundMax = 32;
/** Longest name of a metric, in characters. */
const nameMax = 64;

/** How many metrics of a participant were noted since the newest round was reported. */
export interface NotedMetrics {
  readonly roundsDone: number;
  readonly count: number;
}

type Metrics = Readonly<Record<string, number>>;

/** The metrics that are noted, as many as there is room for, and the count after them. The scheduler counts the rounds, not the sender. */
export function noteMetrics(
  before: NotedMetrics | undefined,
  roundsDone: number,
  metrics: Metrics,
): { readonly noted: NotedMetrics; readonly metrics: Metrics; readonly dropped: number } {
  const count = before?.roundsDone === roundsDone ? before.count : 0;
  const all = Object.entries(metrics);
  const taken = all.filter(([name]) => name.length <= nameMax).slice(0, metricsOfRoundMax - count);
  return {
    noted: { roundsDone, count: count + taken.length },
    metrics: Object.fromEntries(taken),
    dropped: all.length - taken.length,
  };
}
