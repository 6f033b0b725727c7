/**
 * What a test file could not cover on this machine: counted in the process that runs the file, told by the runner at its end.
 *
 * @module
 */
import { findRuntime } from "./runtimes.ts";
import { installCommand, missingPrerequisites, prerequisites } from "./prerequisites.ts";

/** How many tests or checks were left out, for each thing that they need. */
export type Lacking = Readonly<Record<string, number>>;

/** A cell of level full that this machine does not allow although its programs are there. */
export const fullCells = "full cells";

const counts = new Map<string, number>();

/** Notes that one test, or one check of a test, was left out for want of `tool`. */
export function noteLacking(tool: string): void {
  counts.set(tool, (counts.get(tool) ?? 0) + 1);
}

/** What was noted in this process. */
export function lacking(): Lacking {
  return Object.fromEntries(counts);
}

/** Adds up what several files lacked. */
export function sumLacking(all: readonly Lacking[]): Lacking {
  const sum: Record<string, number> = {};
  for (const [tool, count] of all.flatMap((each) => Object.entries(each))) sum[tool] = (sum[tool] ?? 0) + count;
  return sum;
}

const plural = (count: number) => `${count} ${count === 1 ? "test" : "tests"}`;

/** What a tool's absence cost, in words. */
function costOf(tool: string, count: number): string {
  if (tool === fullCells) {
    return `${plural(count)} of cells of level full: this machine does not allow them to this user`;
  }
  const covers = prerequisites.find(({ program }) => program === tool)?.covers;
  return `${plural(count)} without ${tool}${covers === undefined ? "" : `: ${covers}`}`;
}

/**
 * The closing lines: what was not covered, and the one command that covers it.
 *
 * @param sum What the tests of all files and runtimes lacked.
 * @param untested Parts that did not run at all, in words.
 */
export function coverageLines(sum: Lacking, untested: readonly string[]): readonly string[] {
  const items = [...untested, ...Object.entries(sum).map(([tool, count]) => costOf(tool, count))];
  if (items.length === 0) return [];
  return ["Not covered:", ...items.map((item) => `  ${item}`), `To cover it: ${remedy(sum)}`];
}

function remedy(sum: Lacking): string {
  if (findRuntime("node") === undefined) return "install Node and npm (https://nodejs.org), then: npm test";
  const packages = missingPrerequisites().map((missing) => missing.package);
  if (packages.length > 0) return `${installCommand(packages)}`;
  if (fullCells in sum) return "sudo npm test";
  return `${installCommand(Object.keys(sum))}`;
}
