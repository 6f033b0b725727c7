/**
 * Runs seeds until enough of them fail, shrinks the first failure, and prints the result as JSON. `planted.ts` runs it in a
 * patched copy.
 *
 * @module
 */
import process from "node:process";
import { type InvariantName, runScenario, scenarioOf, shrinkScenario } from "../../actors/simulation/mod.ts";

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

async function find(runs: number, enough: number, shrinks: boolean): Promise<Found> {
  const found: { seed: number; invariant: InvariantName }[] = [];
  let seed = 0;
  while (seed < runs && found.length < enough) {
    const { violations } = await runScenario(scenarioOf(seed));
    const [violation] = violations;
    if (violation !== undefined) found.push({ seed, invariant: violation.invariant });
    seed += 1;
  }
  const [first] = found;
  const shrunk = first !== undefined && shrinks ? await shrink(first.seed, first.invariant) : undefined;
  return { runs: seed, found, shrunk };
}

async function shrink(seed: number, invariant: InvariantName): Promise<Shrinking> {
  const { events, nodes } = scenarioOf(seed);
  const { scenario, runs } = await shrinkScenario(scenarioOf(seed), invariant);
  return {
    events: events.length,
    shrunkEvents: scenario.events.length,
    nodes: nodes.length,
    shrunkNodes: scenario.nodes.length,
    runs,
  };
}

const [runs = 500, enough = 3, shrinks = 0] = process.argv.slice(2).map(Number);
process.stdout.write(`${JSON.stringify(await find(runs, enough, shrinks === 1))}\n`);
