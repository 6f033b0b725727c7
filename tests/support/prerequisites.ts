/**
 * Tests that use a program which a machine may lack: they are counted as skipped there, the runner names the program in its
 * closing lines, and in CI they fail.
 *
 * @module
 */
import type { Test } from "uvu";
import { fullCells, noteLacking, rootRights } from "../../scripts/check/coverage.ts";
import { isRoot, isThere } from "../../scripts/check/prerequisites.ts";

/**
 * A suite whose tests run only where all of `tools` are here. The suite itself may hold other tests too.
 *
 * @param tools Programs in PATH; `node` and `deno` are the pinned runtimes.
 *
 * @example
 * ```ts
 * const test = needing(suite("RSA-PSS, as openssl signs"), "openssl");
 * ```
 */
export function needing<T>(test: Test<T>, ...tools: readonly string[]): Test<T> {
  return lacking(test, tools.filter((tool) => !isThere(tool)));
}

/** A suite whose tests run only as root. */
export function asRoot<T>(test: Test<T>): Test<T> {
  return lacking(test, isRoot() ? [] : [rootRights]);
}

/** The suite where nothing of this list is missing, else one whose tests are skipped and noted. */
export function lacking<T>(test: Test<T>, missing: readonly string[]): Test<T> {
  if (missing.length === 0) return test;
  const skip = (name?: string) => {
    test.skip(name);
    missing.forEach(noteLacking);
  };
  const hook = Object.assign(() => {}, { each: () => {} });
  return Object.assign((name: string) => skip(name), {
    only: (name: string) => skip(name),
    skip,
    before: hook,
    after: hook,
    run: () => test.run(),
  }) as unknown as Test<T>;
}

/** Tells that what was tried in cells of a weaker level is not covered for level full; says whether it is full. */
export function isFullCell(level: string): boolean {
  if (level !== "full") noteLacking(isThere("bwrap") ? fullCells : "bwrap");
  return level === "full";
}

/** Runs one check of a test where `tool` is here; otherwise the check is told as not covered, and the test goes on. */
export async function where(tool: string, check: () => void | Promise<void>): Promise<void> {
  if (isThere(tool)) await check();
  else noteLacking(tool);
}
