/**
 * Finds the changed files and the tests that need them: `npm test -- --fast`.
 *
 * A file is changed when git sees a difference between a commit and the working tree, or when it is new. The commit is the
 * given one, else the last that this branch shares with `origin/main` (or `main`), else, on `main` itself, the previous one.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { runCommand } from "./command.ts";
import { closureOf, importGraph } from "./import_graph.ts";

/** Tests for a change. */
interface ChangedTests {
  /** The commit that changes count from, as git writes it shortly. */
  readonly since: string;
  readonly changed: readonly string[];
  /** Tests that need something that changed: those that changed themselves first, then the quickest. */
  readonly tests: readonly string[];
}

const gitMs = 20_000;
/** A change of these files concerns every test. */
const everywhere = ["package.json", "package-lock.json", "deno.json", "tsconfig.json", "scripts/test_file.ts"];

async function git(...args: readonly string[]): Promise<string | undefined> {
  const { code, stdout } = await runCommand("git", args, { timeoutMs: gitMs });
  return code === 0 ? stdout.trim() : undefined;
}

const lines = (text: string | undefined) => (text ?? "").split("\n").filter((line) => line !== "");

/** The commit that changes count from; undefined where there is no such commit, or no git. */
async function baseOf(since: string | undefined): Promise<string | undefined> {
  if (since !== undefined) return await git("rev-parse", "--short", "--verify", `${since}^{commit}`);
  const shared = await git("merge-base", "HEAD", "origin/main");
  const isMain = await git("rev-parse", "--abbrev-ref", "HEAD") === "main";
  const base = shared ?? (isMain ? "HEAD~1" : await git("merge-base", "HEAD", "main") ?? "HEAD~1");
  return await git("rev-parse", "--short", "--verify", base);
}

/**
 * Finds the tests of changed files.
 *
 * @param expectedMs The expected time of a test file.
 * @returns Undefined where git knows no commit to compare with.
 */
export async function changedTests(
  since: string | undefined,
  expectedMs: (file: string) => number,
): Promise<ChangedTests | undefined> {
  const base = await baseOf(since);
  if (base === undefined) return undefined;
  const own = lines(await git("ls-files", "--others", "--exclude-standard"));
  const changed = [...new Set([...lines(await git("diff", "--name-only", base)), ...own])].toSorted();
  const tree = new Map([...lines(await git("ls-files")), ...own].map((path) => [path, sourceOf(path)]));
  return { since: base, changed, tests: testsFor(changed, tree, expectedMs) };
}

function sourceOf(path: string): string {
  if (!/\.(ts|mjs|js)$/.test(path)) return "";
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // Deleted, but known to git.
  }
}

/** The tests of a tree that need one of the changed files, in the order in which they are worth their time. */
export function testsFor(
  changed: readonly string[],
  tree: ReadonlyMap<string, string>,
  expectedMs: (file: string) => number,
): readonly string[] {
  const graph = importGraph(tree);
  const tests = [...tree.keys()].filter((path) => path.startsWith("tests/") && path.endsWith(".test.ts"))
    .filter((path) => tree.get(path) !== "");
  const all = changed.some((path) => everywhere.includes(path));
  const concerned = tests.filter((test) => {
    if (all) return true;
    const needs = closureOf(test, graph);
    return changed.some((path) => needs.has(path));
  });
  const rank = (test: string) => (changed.includes(test) ? 0 : 1);
  return concerned.toSorted((a, b) => rank(a) - rank(b) || expectedMs(a) - expectedMs(b));
}
