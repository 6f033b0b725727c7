/**
 * Runs seeds until enough of them fail, and prints which did as JSON: what `planted.ts` runs in a patched copy.
 *
 * @module
 */
import process from "node:process";
import { runScenario, scenarioOf } from "../../actors/simulation/mod.ts";

const [runs = 500, enough = 3] = process.argv.slice(2).map(Number);
const found: { seed: number; invariant: string }[] = [];
let seed = 0;
while (seed < runs && found.length < enough) {
  const { violations } = await runScenario(scenarioOf(seed));
  const [violation] = violations;
  if (violation !== undefined) found.push({ seed, invariant: violation.invariant });
  seed += 1;
}
process.stdout.write(`${JSON.stringify({ runs: seed, found })}\n`);
