/**
 * The tests that a file could not run on this machine. The process of the file counts them; the runner reports them at its end.
 *
 * @module
 */
import { installCommand, missingPrerequisites, prerequisites } from "./prerequisites.ts";

/** How many tests or checks were left out, for each thing that they need. */
export type Lacking = Readonly<Record<string, number>>;

/** A cell of level full that this machine does not allow although it has the programs. */
export const fullCells = "full cells";

/** Root's rights: tests of root's operations need them. */
export const rootRights = "root's rights";

const counts = new Map<string, number>();

/** Notes that one test, or one check of a test, was left out for want of `tool`. */
export function noteLacking(tool: string): void {
  counts.set(tool, (counts.get(tool) ?? 0) + 1);
}

/** Takes the gaps that this process noted since it was asked last. */
export function takeLacking(): Lacking {
  const noted = Object.fromEntries(counts);
  counts.clear();
  return noted;
}

/** Sums the missing tools of several files. */
export function sumLacking(all: readonly Lacking[]): Lacking {
  const sum: Record<string, number> = {};
  for (const [tool, count] of all.flatMap((each) => Object.entries(each))) sum[tool] = (sum[tool] ?? 0) + count;
  return sum;
}

const plural = (count: number) => `${count} ${count === 1 ? "test" : "tests"}`;

/** Programs of the base system: they are not installed one by one. */
const isOther = (tool: string) =>
  !["node", "npm", fullCells, rootRights, ...prerequisites.map(({ program }) => program)].includes(tool);

/** Describes the tests that are left out because tools are missing. */
function costsOf(sum: Lacking): readonly string[] {
  const named = Object.entries(sum).filter(([tool]) => !isOther(tool)).map(([tool, count]) => {
    if (tool === rootRights) return `${plural(count)} without ${rootRights}: what a worker does as root`;
    if (tool === fullCells) return `${plural(count)} of cells of level full: this machine does not allow them`;
    const covers = prerequisites.find(({ program }) => program === tool)?.covers;
    return `${plural(count)} without ${tool}${covers === undefined ? "" : `: ${covers}`}`;
  });
  const others = Object.keys(sum).filter(isOther);
  return others.length === 0 ? named : [...named, `tests that use ${others.join(", ")}`];
}

/**
 * The closing lines: the tests that are left out, and the command that enables them.
 *
 * @param sum The missing tools of all files and runtimes.
 * @param untested Parts that did not run at all, in words.
 */
export function coverageLines(sum: Lacking, untested: readonly string[]): readonly string[] {
  const items = [...untested, ...costsOf(sum)];
  if (items.length === 0) return [];
  return ["Not covered:", ...items.map((item) => `  ${item}`), `To cover it: ${remedy(sum, untested).join("; ")}`];
}

function remedy(sum: Lacking, untested: readonly string[]): readonly string[] {
  const packages = missingPrerequisites().map((missing) => missing.package);
  const others = Object.keys(sum).filter(isOther);
  const lacksNode = untested.length > 0 || "node" in sum || "npm" in sum;
  return [
    ...(packages.length > 0 ? [installCommand(packages)] : []),
    ...(others.length > 0 ? [`have ${others.join(", ")} in PATH`] : []),
    ...(lacksNode ? ["install Node with npm (https://nodejs.org), then: npm test"] : []),
    ...(rootRights in sum || (fullCells in sum && packages.length === 0) ? ["sudo npm test"] : []),
  ];
}
