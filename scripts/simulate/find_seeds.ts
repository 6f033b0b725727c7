/**
 * Finds seeds that together take as many transitions and paths of the gate as the seeds that were tried: what the fixtures
 * of `tests/simulation/` list. Run it after a change of the draws.
 *
 * Arguments: `transitions` or `paths`, the first seed, the number of seeds, and kinds of trouble (each alone) in place of what the seeds draw.
 *
 * @module
 */
import process from "node:process";
import { Coverage, type FaultKind, GatePaths, runScenario, scenarioOf } from "../../actors/simulation/mod.ts";

type Run = readonly [seed: number, kind?: FaultKind];

interface Taken {
  readonly run: Run;
  readonly names: ReadonlySet<string>;
}

/** What a run takes; nothing where it violates an invariant. */
async function take(run: Run, what: "transitions" | "paths"): Promise<Taken> {
  const [seed, kind] = run;
  const coverage = new Coverage(), paths = new GatePaths();
  const { inspect } = what === "transitions" ? coverage : paths;
  const { violations } = await runScenario(scenarioOf(seed, kind === undefined ? {} : { faults: [kind] }), { inspect });
  if (violations.length > 0) return { run, names: new Set() };
  return { run, names: what === "transitions" ? coverage.reached : paths.reached };
}

/** Greedy: the run that adds most, then the next. */
function choose(taken: readonly Taken[]): readonly (Taken & { readonly added: readonly string[] })[] {
  const known = new Set<string>();
  const chosen: (Taken & { readonly added: readonly string[] })[] = [];
  for (;;) {
    const ranked = taken.map((each) => ({ ...each, added: [...each.names].filter((name) => !known.has(name)) }));
    const best = ranked.reduce((one, other) => other.added.length > one.added.length ? other : one, ranked[0]!);
    if (best === undefined || best.added.length === 0) return chosen;
    for (const name of best.added) known.add(name);
    chosen.push(best);
  }
}

const [what = "transitions", first = "0", count = "50", ...kinds] = process.argv.slice(2);
const seeds = Array.from({ length: Number(count) }, (_, nth) => Number(first) + nth);
const runs: Run[] = kinds.length === 0
  ? seeds.map((seed): Run => [seed])
  : kinds.flatMap((kind) => seeds.map((seed): Run => [seed, kind as FaultKind]));
const taken: Taken[] = [];
for (const run of runs) taken.push(await take(run, what === "paths" ? "paths" : "transitions"));
for (const { run, added } of choose(taken)) {
  process.stdout.write(`${JSON.stringify(run)} adds ${added.length}: ${added.slice(0, 4).join("; ")}\n`);
}
