/** A scenario that was printed is read again; anything else is refused with its reason. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { scenarioOf } from "../../../actors/simulation/mod.ts";
import { NoScenario, readScenario } from "../../../scripts/simulate/read_scenario.ts";

const test = suite("readScenario()");
const folder = mkdtempSync(join(tmpdir(), "hypha-scenario-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(text: string): string {
  const file = join(folder, "scenario.json");
  writeFileSync(file, text);
  return file;
}

test("what was printed is the same scenario", () => {
  for (const seed of [1, 2, 3]) {
    const scenario = JSON.parse(JSON.stringify(scenarioOf(seed)));
    assert.equal(readScenario(fileOf(JSON.stringify(scenario))), scenario);
  }
});

const scenario = scenarioOf(1);
const [event] = scenario.events;
const wrong: readonly [name: string, text: string, reason: RegExp][] = [
  ["no JSON", "{", /Cannot read scenario/],
  ["a list", "[]", /it is no object/],
  ["no times", JSON.stringify({ ...scenario, quietMs: null }), /are numbers/],
  ["no job", JSON.stringify({ ...scenario, job: 3 }), /job names workers and rounds/],
  ["no nodes", JSON.stringify({ ...scenario, nodes: {} }), /nodes is a list/],
  ["no events", JSON.stringify({ ...scenario, events: ["reset"] }), /events is a list/],
  ["an unknown kind", JSON.stringify({ ...scenario, events: [{ ...event, kind: "rain" }] }), /no known kind/],
  ["an unknown target", JSON.stringify({ ...scenario, events: [{ ...event, target: "x" }] }), /no known kind/],
  ["an unknown moment", JSON.stringify({ ...scenario, events: [{ ...event, when: "noon" }] }), /no moment noon/],
  ["a moment of an unknown node", JSON.stringify({ ...scenario, events: [{ ...event, seenAt: "x" }] }), /no node x/],
  ["an unknown knob", JSON.stringify({ ...scenario, knobs: { volume: 11 } }), /no knob volume/],
];
for (const [name, text, reason] of wrong) {
  test(`refuses ${name}`, () => {
    assert.throws(
      () => readScenario(fileOf(text)),
      (error: unknown) => error instanceof NoScenario && reason.test(error.message),
    );
  });
}

test("refuses a file that is not there", () => {
  assert.throws(() => readScenario(join(folder, "none.json")), (error: unknown) => error instanceof NoScenario);
});

test.run();
