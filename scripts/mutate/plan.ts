/**
 * The sources that are mutated and the tests that evaluate them, from `plan.json`, paths and imports.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, posix } from "node:path";
import { type Mutant, mutantsOf } from "./mutants.ts";

/** The plan as data. Sources are named by path; one that ends in `/` or not in `.ts` is a prefix. */
interface Plan {
  /** Sources whose mutants are all evaluated. */
  readonly whole: readonly string[];
  /** Of each of these about so many, chosen by the seed; files that are whole do not count. */
  readonly sampled: readonly { readonly where: string; readonly mutants: number }[];
  /** Tests that evaluate a source, besides those that have its name or import it. */
  readonly tests: Readonly<Record<string, readonly string[]>>;
  /** Tests that are too slow, or start too much, to evaluate a source because they import it. */
  readonly slow: readonly string[];
  /** Tests that hold sockets and processes: a process in which one of them failed evaluates no further mutant. */
  readonly apart: readonly string[];
}

/** Tests that are taken because they import a source, at most. */
const importersMax = 6;

/** Reads a plan. */
export function readPlan(path: string): Plan {
  return JSON.parse(readFileSync(path, "utf8")) as Plan;
}

/** Files below a folder of the tree, sorted, with forward slashes. */
export function filesBelow(root: string, folder: string, ending: string): string[] {
  if (!existsSync(join(root, folder))) return [];
  return readdirSync(join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const path = posix.join(folder, entry.name);
    if (entry.isDirectory()) return filesBelow(root, path, ending);
    return entry.name.endsWith(ending) ? [path] : [];
  }).sort();
}

function sourcesOf(root: string, where: string): string[] {
  if (existsSync(join(root, where)) && statSync(join(root, where)).isFile()) return [where];
  const folder = where.endsWith("/") ? where.slice(0, -1) : posix.dirname(where);
  return filesBelow(root, folder, ".ts").filter((path) => path.startsWith(where));
}

/** The first 32 bits of a hash: it chooses a mutant independently of the other mutants. */
function lot(seed: number, id: string): number {
  return createHash("sha256").update(`${seed} ${id}`).digest().readUInt32BE();
}

/** A part of the tree and the share of it that is evaluated. */
export interface Chosen {
  readonly mutants: readonly Mutant[];
  /** How many there are, evaluated or not. */
  readonly total: number;
}

/** Every mutant to be evaluated, and of the sampled parts how many there were to choose from. */
export function choose(
  root: string,
  plan: Plan,
  { seed, sample }: { seed: number; sample?: number | undefined },
): Chosen {
  const mutants = (path: string) => mutantsOf(path, readFileSync(join(root, path), "utf8"));
  const whole = [...new Set(plan.whole.flatMap((where) => sourcesOf(root, where)))];
  const chosen = whole.flatMap(mutants);
  let total = chosen.length;
  for (const { where, mutants: planned } of plan.sampled) {
    const all = sourcesOf(root, where).filter((path) => !whole.includes(path)).flatMap(mutants);
    total += all.length;
    const share = ((sample ?? planned) / Math.max(1, all.length)) * 2 ** 32;
    chosen.push(...all.filter(({ id }) => lot(seed, id) < share));
  }
  return { mutants: chosen, total };
}

/** The paths that a file imports, of this tree. */
function importsOf(root: string, path: string): string[] {
  const text = readFileSync(join(root, path), "utf8");
  return [...text.matchAll(/\bfrom\s+"(\.[^"]*)"/g)].map(([, to = ""]) => posix.join(posix.dirname(path), to));
}

/** Finds the tests of each source: the test with its name, the tests in the plan, and the tests that import it. */
export function testsOf(root: string, plan: Plan): (source: string) => readonly string[] {
  const tests = filesBelow(root, "tests", ".test.ts");
  const imports = new Map(tests.map((test) => [test, importsOf(root, test)]));
  return (source) => {
    const named = Object.entries(plan.tests).filter(([where]) => source.startsWith(where)).flatMap(([, list]) => list);
    const room = source.split("/")[0] ?? "";
    const name = `${posix.basename(source, ".ts")}.test.ts`;
    const alike = tests.filter((test) =>
      test === `tests/${room}/${name}` || test === `tests/${posix.dirname(source)}/${name}`
    );
    const quick = tests.filter((test) => !plan.slow.some((where) => test.startsWith(where)));
    const importing = quick.filter((test) => imports.get(test)?.includes(source) === true).slice(0, importersMax);
    return [...new Set([...alike, ...named, ...importing])];
  };
}
