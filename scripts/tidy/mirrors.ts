/**
 * Tests mirror the source: a test file has the name and the place of the source file that it tests.
 *
 * `tests/gate/gate.test.ts` tests `actors/gate/gate.ts`: for actors, the folder `actors` is left out. `tests/pki/checks/…`,
 * `tests/transport/…` and `tests/scripts/…` test the file of the same path. A source file may have several test files,
 * `NAME.test.ts` and `NAME_ASPECT.test.ts`. A test of no single file lies in one of the {@linkcode otherTests}.
 *
 * @module
 */
import { posix } from "node:path";
import type { SourceFile } from "../tidy.ts";

/** Folders of `tests/` whose files mirror no source file, each with the reason. */
export const otherTests: Readonly<Record<string, string>> = {
  attack: "attackers against whole nodes and cells",
  bench: "the benches' own arithmetic, and one short run",
  conformance: "our verdicts compared with others': captures, OpenSSL, public suites",
  demo: "the demo as a whole, in a terminal",
  examples: "the documents, run as they are written",
  fuzz: "random input for every parser",
  network: "networks of several real nodes",
  programs: "programs as their users start them",
  tree: "properties of all files: machines, dependencies, documentation",
};

/** Where the list of exceptions is. */
export const mirrorExceptions = "scripts/tidy/mirrors.json";

/** The source files that a test file may mirror, the most exact name first. */
function mirroredBy(test: string): readonly string[] {
  const path = test.replace(/^tests\//, "").replace(/\.test\.ts$/, "");
  const [folder, words] = [posix.dirname(path), posix.basename(path).split("_")];
  const names = words.map((_, index) => words.slice(0, words.length - index).join("_"));
  const room = /^(?:pki|transport|scripts)(?:\/|$)/.test(folder) ? folder : `actors/${folder}`;
  return names.map((name) => `${room}/${name}.ts`);
}

/**
 * Test files that mirror no source file.
 *
 * @param files All files of the tree.
 * @param allowed Test files that are known to mirror none, as in `scripts/tidy/mirrors.json`; the list may only shrink.
 */
export function mirrorFindings(files: readonly SourceFile[], allowed: readonly string[]): string[] {
  const paths = new Set(files.map(({ path }) => path));
  const tests = [...paths].filter((path) => path.startsWith("tests/") && path.endsWith(".test.ts"));
  const isOther = (test: string) => Object.hasOwn(otherTests, test.split("/")[1] ?? "");
  const lost = new Set(tests.filter((test) => !isOther(test) && !mirroredBy(test).some((path) => paths.has(path))));
  const found = [...lost].filter((test) => !allowed.includes(test)).map((test) =>
    `${test}:1: no source file has this name, name the test for the file that it tests, or move it to one of ` +
    Object.keys(otherTests).map((folder) => `tests/${folder}/`).join(", ")
  );
  const stale = allowed.filter((test) => !lost.has(test)).map((test) =>
    `${mirrorExceptions}:1: ${test} ${paths.has(test) ? "mirrors a source file now" : "does not exist"}, take it out`
  );
  const used = new Set(tests.map((test) => test.split("/")[1]));
  const empty = tests.length === 0
    ? []
    : Object.keys(otherTests).filter((folder) => !used.has(folder)).map((folder) =>
      `scripts/tidy/mirrors.ts:1: tests/${folder}/ holds no test, take it out of otherTests`
    );
  return [...found.sort(), ...stale, ...empty];
}
