/** A hunt keeps what reaches something new, changes it, and reports what plain seeds did not reach. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { hunt, huntText } from "../../../scripts/simulate/hunt.ts";
import { ownRuntime } from "../../../scripts/check/runtimes.ts";

const test = suite("hunt()");

test("a hunt ends after its runs, with seeds, mutants and the transitions that mutants added", async () => {
  const lines: string[] = [];
  const report = await hunt({ seed: 4, minutes: 5, runs: 9, onProgress: (line) => void lines.push(line) });
  assert.is(report.runtime, ownRuntime);
  assert.is(report.seeds, 3);
  assert.is(report.mutants, 6);
  assert.ok(report.corpus >= 1 && report.corpus <= 9);
  assert.ok(report.transitions.plain > 100, `${report.transitions.plain} transitions`);
  assert.equal(report.failures, []);
  const told = lines.filter((line) => line.startsWith("a mutant"));
  assert.is(told.length > 0, report.transitions.added.length > 0);
  assert.match(huntText(report), /^3 plain seeds took \d+ transitions; 6 mutants of \d+ kept scenarios added \d+\n/);
});

test("a hunt without time ends at once", async () => {
  const { seeds, mutants } = await hunt({ seed: 1, minutes: 0, runs: Infinity, onProgress: () => {} });
  assert.equal([seeds, mutants], [0, 0]);
});

test.run();
