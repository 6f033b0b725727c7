/**
 * Runs seeds until enough of them fail, shrinks the first failure, and prints the result as JSON. `planted.ts` runs it in a
 * patched copy.
 *
 * @module
 */
import process from "node:process";
import {
  type InvariantName,
  memberScenarioOf,
  type MemberScenarioOptions,
  runMemberScenario,
  runScenario,
  runWitnessScenario,
  type Scenario,
  scenarioOf,
  shrinkMemberScenario,
  shrinkScenario,
  trainingScenarioOf,
  witnessScenarioOf,
} from "../../actors/simulation/mod.ts";
import { shrinkWitnessScenario } from "./witnesses.ts";

/** The result of a search. */
export interface Found {
  /** Seeds that ran, from 0 on. */
  readonly runs: number;
  readonly found: readonly { readonly seed: number; readonly invariant: InvariantName }[];
  /** The first failure, shrunk; undefined where none failed, or shrinking was not asked for. */
  readonly shrunk: Shrinking | undefined;
}

/** The size of a failing scenario before and after shrinking. */
export interface Shrinking {
  readonly events: number;
  readonly shrunkEvents: number;
  readonly nodes: number;
  readonly shrunkNodes: number;
  /** Runs that shrinking took. */
  readonly runs: number;
}

/** A family of scenarios. */
interface Family {
  readonly violationOf: (seed: number) => Promise<InvariantName | undefined>;
  readonly shrink: (seed: number, invariant: InvariantName) => Promise<Shrinking>;
}

const familyOf = (draw: (seed: number) => Scenario): Family => ({
  violationOf: async (seed) => (await runScenario(draw(seed))).violations[0]?.invariant,
  shrink: async (seed, invariant) => shrinkingOf(draw(seed), await shrinkScenario(draw(seed), invariant)),
});

const membershipOf = (options: MemberScenarioOptions): Family => ({
  violationOf: async (seed) => (await runMemberScenario(memberScenarioOf(seed, options))).violations[0]?.invariant,
  shrink: async (seed, invariant) => {
    const scenario = memberScenarioOf(seed, options);
    return shrinkingOf(scenario, await shrinkMemberScenario(scenario, invariant));
  },
});

async function find({ violationOf, shrink }: Family, terms: readonly number[]): Promise<Found> {
  const [runs = 500, enough = 3, shrinks = 0] = terms;
  const found: { seed: number; invariant: InvariantName }[] = [];
  let seed = 0;
  while (seed < runs && found.length < enough) {
    const invariant = await violationOf(seed);
    if (invariant !== undefined) found.push({ seed, invariant });
    seed += 1;
  }
  const [first] = found;
  const shrunk = first !== undefined && shrinks === 1 ? await shrink(first.seed, first.invariant) : undefined;
  return { runs: seed, found, shrunk };
}

interface Sized {
  readonly events: readonly unknown[];
  readonly nodes: readonly unknown[];
}

function shrinkingOf(
  { events, nodes }: Sized,
  { scenario, runs }: { readonly scenario: Sized; readonly runs: number },
): Shrinking {
  return {
    events: events.length,
    shrunkEvents: scenario.events.length,
    nodes: nodes.length,
    shrunkNodes: scenario.nodes.length,
    runs,
  };
}

const witnesses: Family = {
  violationOf: async (seed) => (await runWitnessScenario(witnessScenarioOf(seed))).violations[0]?.invariant,
  shrink: async (seed, invariant) =>
    shrinkingOf(witnessScenarioOf(seed), await shrinkWitnessScenario(witnessScenarioOf(seed), invariant)),
};

const families: Readonly<Record<string, Family>> = {
  membership: membershipOf({}),
  approvals: membershipOf({ approvals: true }),
  hardware: membershipOf({ hardware: true }),
  trainings: familyOf(trainingScenarioOf),
  witnesses,
};
const [runs, enough, shrinks, family = ""] = process.argv.slice(2);
const terms = [runs, enough, shrinks].flatMap((text) => text === undefined ? [] : [Number(text)]);
process.stdout.write(`${JSON.stringify(await find(families[family] ?? familyOf(scenarioOf), terms))}\n`);
