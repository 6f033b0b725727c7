/** The family of scenarios about witnesses of audit logs: a log that two witnesses see differently, a forger, and replay. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runWitnessScenario, type WitnessScenario, witnessScenarioOf } from "../../actors/simulation/mod.ts";

const test = suite("runWitnessScenario()");
const everyMs = 600_000;
const owner = { at: 800_000, kept: 0.5, habit: "honest" } as const;
const scenario: WitnessScenario = {
  seed: 3,
  everyMs,
  loss: 0,
  nodes: [
    { ...owner, name: "gateway-1", role: "gateway" },
    { ...owner, name: "gateway-2", role: "gateway", habit: "truncates" },
    { ...owner, name: "gateway-3", role: "gateway" },
    { ...owner, name: "ca-1", role: "ca", habit: "rewrites" },
  ],
  events: [{ kind: "forged", at: 700_000, node: "gateway-2", other: "gateway-1", forMs: 0 }],
  ms: 2.6 * everyMs,
};

test("logs that shrink or are rewritten are found, and no other log is reported; the same scenario gives the same trace", async () => {
  const first = await runWitnessScenario(scenario);
  assert.equal(first.violations, []);
  assert.equal(first.bit, ["rewrites", "truncates"]);
  assert.equal(first.faults, { forged: 1, rewrites: 1, truncates: 1 });
  const short = { ...scenario, ms: everyMs };
  assert.is((await runWitnessScenario(short)).traceHash, (await runWitnessScenario(short)).traceHash);
});

test("seeds draw every habit and every trouble", () => {
  const drawn = Array.from({ length: 60 }, (_, seed) => witnessScenarioOf(seed));
  const habits = new Set(drawn.flatMap(({ nodes }) => nodes.map(({ habit }) => habit)));
  assert.equal([...habits].toSorted(), ["changes-key", "forks", "honest", "rewrites", "truncates"]);
  assert.is(new Set(drawn.flatMap(({ events }) => events.map(({ kind }) => kind))).size, 3);
  assert.equal(witnessScenarioOf(7), drawn[7]);
});

test.run();
