/**
 * Shrinks a failing scenario while it fails in the same way: leaves out kinds of trouble, then events, turns knobs back, and
 * leaves out nodes.
 *
 * @module
 */
import type { InvariantName } from "./invariants.ts";
import { type KnobName, knobNames } from "./knobs.ts";
import { runScenario } from "./run_scenario.ts";
import type { Scenario, TroubleKind, Weights } from "./scenario.ts";

/** Runs that shrinking may cost. */
export const shrinkRunsMax = 160;

/** A shrunk scenario. */
export interface Shrunk {
  readonly scenario: Scenario;
  readonly runs: number;
}

/** Says whether a scenario still fails in the same way. */
type Fails = (candidate: Scenario) => Promise<boolean>;

/** Shrinks a scenario that violates `invariant`. */
export async function shrinkScenario(scenario: Scenario, invariant: InvariantName): Promise<Shrunk> {
  let runs = 0;
  const fails: Fails = async (candidate) => {
    if (runs >= shrinkRunsMax) return false;
    runs += 1;
    const { violations } = await runScenario(candidate);
    return violations[0]?.invariant === invariant;
  };
  let shrunk = scenario;
  for (const shrink of [fewerKinds, fewerEvents, fewerKnobs, fewerTrainings, fewerNodes]) {
    shrunk = await shrink(shrunk, fails);
  }
  return { scenario: { ...shrunk, weights: weightsOf(shrunk) }, runs };
}

const kindsOf = ({ events }: Scenario) => [...new Set(events.map(({ kind }) => kind))];

async function fewerKinds(scenario: Scenario, fails: Fails): Promise<Scenario> {
  const only = (kinds: readonly TroubleKind[]) => ({
    ...scenario,
    events: scenario.events.filter(({ kind }) => kinds.includes(kind)),
  });
  return only(await fewer(kindsOf(scenario), (kinds) => fails(only(kinds))));
}

async function fewerEvents(scenario: Scenario, fails: Fails): Promise<Scenario> {
  return { ...scenario, events: await fewer(scenario.events, (events) => fails({ ...scenario, events })) };
}

async function fewerKnobs(scenario: Scenario, fails: Fails): Promise<Scenario> {
  const { knobs = {} } = scenario;
  const only = (names: readonly KnobName[]) => ({
    ...scenario,
    knobs: Object.fromEntries(names.map((name) => [name, knobs[name]])),
  });
  const turned = knobNames.filter((name) => knobs[name] !== undefined);
  return only(await fewer(turned, (names) => fails(only(names))));
}

/** Trainings that are submitted. */
async function fewerTrainings(scenario: Scenario, fails: Fails): Promise<Scenario> {
  const { submitted } = scenario;
  if (submitted === undefined) return scenario;
  const only = (kept: typeof submitted) => ({ ...scenario, submitted: kept });
  return only(await fewer(submitted, (kept) => fails(only(kept))));
}

/** Workers that no event names. */
async function fewerNodes(scenario: Scenario, fails: Fails): Promise<Scenario> {
  const { nodes, events } = scenario;
  const targets = new Set(events.flatMap(({ target, other, seenAt }) => [target, other ?? target, seenAt ?? target]));
  const spare = nodes.filter(({ role, name }) => role === "worker" && !targets.has(name));
  const only = (kept: readonly unknown[]) => ({
    ...scenario,
    nodes: nodes.filter((plan) => !spare.includes(plan) || kept.includes(plan)),
  });
  return only(await fewer(spare, (kept) => fails(only(kept))));
}

/** The weights of the kinds that are left. */
function weightsOf(scenario: Scenario): Weights {
  const kinds = new Set<string>(kindsOf(scenario));
  const left = Object.entries(scenario.weights ?? {}).filter(([kind, weight]) => weight === 2 && kinds.has(kind));
  return Object.fromEntries(left);
}

/** Leaves out halves, then quarters, and so on, of what is left (Zeller's delta debugging, without its subsets). */
export async function fewer<A>(
  list: readonly A[],
  fails: (kept: readonly A[]) => Promise<boolean>,
): Promise<readonly A[]> {
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
