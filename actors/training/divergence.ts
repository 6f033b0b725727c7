/**
 * Trainers whose parameters are not the scheduler's after a result. Either the trainer errs or lies, or the aggregator of that round
 * sent it another result. Nodes count, not keys: a node that takes another key is the same witness.
 *
 * @module
 */

/** So many nodes that contradict one aggregator cost it its part: one alone may be the one that errs. */
export const divergedMax = 2;
/** Nodes of which it is remembered; with more, the one that diverged first is forgotten. */
export const divergedNodesMax = 1_024;
/** Rounds whose aggregators are remembered: a trainer may be late. */
const roundsRememberedMax = 8;

/** Which nodes diverged, and under which aggregators. */
export interface Divergence {
  /** The node that aggregated each of the newest rounds. */
  readonly makers: Readonly<Record<number, string | undefined>>;
  /** The aggregators, as nodes, under which each node diverged. */
  readonly under: Readonly<Record<string, readonly string[] | undefined>>;
}

/** No node diverged. */
export const noDivergence: Divergence = { makers: {}, under: {} };

/** A round was kept, whose result came of this node. */
export function withMaker(divergence: Divergence, round: number, maker: string | undefined): Divergence {
  const newer = Object.entries(divergence.makers).filter(([at]) => Number(at) > round - roundsRememberedMax);
  return { ...divergence, makers: { ...Object.fromEntries(newer), [round]: maker } };
}

/** A node has other parameters than the scheduler after a round. Of a round whose aggregator is not known, nothing follows. */
export function withDiverged(divergence: Divergence, node: string, round: number): Divergence {
  const maker = divergence.makers[round];
  const before = divergence.under[node] ?? [];
  if (maker === undefined || before.includes(maker)) return divergence;
  const { [node]: _, ...others } = divergence.under;
  const kept = Object.entries(others).slice(1 - divergedNodesMax);
  // Two are enough to bar it.
  return { ...divergence, under: { ...Object.fromEntries(kept), [node]: [...before, maker].slice(-divergedMax) } };
}

/** Whether a node diverged under two aggregators: it is not leased again, and what it says counts against neither. */
export function isDiscredited({ under }: Divergence, node: string): boolean {
  return (under[node] ?? []).length >= divergedMax;
}

/** How many nodes contradict an aggregator. Those that contradict another one too do not count. */
export function contradictionsOf({ under }: Divergence, aggregator: string): number {
  return Object.values(under).filter((makers) => makers?.length === 1 && makers[0] === aggregator).length;
}
