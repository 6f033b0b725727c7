/** Trouble that is aimed strikes at its moment, once, and without a moment when its patience is over. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { aimMs, byteMomentOf, moments, runScenario, type Scenario, scenarioOf } from "../../actors/simulation/mod.ts";
import { findRuntime, ownRuntime } from "../../scripts/check/runtimes.ts";

const test = suite("moments");
const half = ownRuntime === "deno" && findRuntime("node") !== undefined;

/** A network with these events and no others. */
function made(...events: Scenario["events"]): Scenario {
  return { ...scenarioOf(1, { faults: [], nodes: 9 }), events, knobs: {}, troubleMs: 30_000, quietMs: 1_000 };
}

const aimed = { kind: "reload", forMs: 1, amount: 0.5 } as const;
const struckAt = async (scenario: Scenario) => {
  const { lines } = await runScenario(scenario, { keepTrace: true, stopAtFirst: false });
  return { lines, faults: lines.filter(({ kind }) => kind === "fault") };
};

test("an aimed event strikes when its node reports the moment", async () => {
  const { lines, faults } = await struckAt(made({ ...aimed, at: 500, target: "worker-1", when: "lease.granted" }));
  const granted = lines.find(({ node, text }) => node === "worker-1" && text.includes("lease.granted"));
  assert.ok(granted !== undefined && granted.at > 500);
  assert.equal(faults.map(({ at, node }) => [at, node]), [[granted.at, "worker-1"]]);
  assert.match(faults[0]?.text ?? "", /^reload .* at lease\.granted$/);
});

test("an event strikes its target at the moment of another node", async () => {
  const event = { ...aimed, at: 500, target: "gateway-1", when: "lease.granted", seenAt: "worker-1" } as const;
  const { lines, faults } = await struckAt(made(event));
  const granted = lines.find(({ node, text }) => node === "worker-1" && text.includes("lease.granted"));
  assert.equal(faults.map(({ at, node }) => [at, node]), [[granted?.at, "gateway-1"]]);
});

test("an aimed event without a moment strikes when its patience is over", async () => {
  const { faults } = await struckAt(made({ ...aimed, at: 500, target: "gateway-1", when: "update.received" }));
  assert.equal(faults.map(({ at }) => at), [500 + aimMs]);
});

(half ? () => {} : test)("every moment comes in a run", async () => {
  const left = new Set<string>(moments);
  for (let seed = 0; seed < 5 && left.size > 0; seed++) {
    const { lines } = await struckAt(scenarioOf(seed));
    for (const { kind, text } of lines) {
      const [first = "", second = ""] = text.split(" ");
      left.delete(kind === "report" ? second : byteMomentOf(first) ?? "");
    }
  }
  assert.equal([...left], []);
});

test.run();
