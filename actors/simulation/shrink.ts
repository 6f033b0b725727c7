/**
 * Makes a failing scenario smaller for as long as it fails in the same way: fewer events, then fewer nodes.
 *
 * @module
 */
import type { InvariantName } from "./invariants.ts";
import { runScenario } from "./run_scenario.ts";
import type { Scenario } from "./scenario.ts";

/** Runs that shrinking may cost. */
export const shrinkRunsMax = 120;

/** A scenario made smaller. */
export interface Shrunk {
  readonly scenario: Scenario;
  readonly runs: number;
}

/** Shrinks a scenario that violates `invariant`. */
export async function shrinkScenario(scenario: Scenario, invariant: InvariantName): Promise<Shrunk> {
  let runs = 0;
  const fails = async (candidate: Scenario): Promise<boolean> => {
    if (runs >= shrinkRunsMax) return false;
    runs += 1;
    const { violations } = await runScenario(candidate);
    return violations[0]?.invariant === invariant;
  };
  const events = await fewer(scenario.events, (kept) => fails({ ...scenario, events: kept }));
  const smaller = { ...scenario, events };
  const targets = new Set(events.flatMap(({ target, other }) => other === undefined ? [target] : [target, other]));
  const nodes = await fewer(
    smaller.nodes,
    (kept) => {
      const isWhole = smaller.nodes.every((plan) =>
        kept.includes(plan) || (plan.role === "worker" && !targets.has(plan.name))
      );
      return isWhole ? fails({ ...smaller, nodes: kept }) : Promise.resolve(false);
    },
  );
  return { scenario: { ...smaller, nodes }, runs };
}

/** Leaves out halves, then quarters, and so on, of what is still enough (Zeller's delta debugging, without its subsets). */
async function fewer<A>(list: readonly A[], fails: (kept: readonly A[]) => Promise<boolean>): Promise<readonly A[]> {
  let kept = list;
  for (let size = Math.max(1, kept.length >> 1);; size >>= 1) {
    for (let from = 0; from < kept.length;) {
      const without = [...kept.slice(0, from), ...kept.slice(from + size)];
      if (without.length < kept.length && await fails(without)) kept = without;
      else from += size;
    }
    if (size <= 1) return kept;
  }
}
