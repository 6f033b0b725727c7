/**
 * Every kind of trouble bites.
 *
 * Goal: no kind is made in vain. Method: fixed seeds in which, together, the effect of each kind is observed. A network
 * without troubles shows that nothing is counted that did not happen.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type FaultKind, faultKinds, runScenario, scenarioOf } from "../../actors/simulation/mod.ts";
import { findRuntime, ownRuntime } from "../../scripts/check/runtimes.ts";

const test = suite("bites");
/** What a seed does is the same on both runtimes (`simulation.test.ts`). */
const half = ownRuntime === "deno" && findRuntime("node") !== undefined;

type Run = readonly [seed: number, kind?: FaultKind];
/** Found by running many seeds, and leaving out those whose kinds others show too. */
const runs: readonly Run[] = [
  ...[4, 36, 38, 316, 6, 62, 209, 11, 30, 256, 103, 119, 337].map((seed): Run => [seed]),
];

(half ? () => {} : test)("each kind of trouble bites in a seed", async () => {
  const bit = new Set<string>();
  for (const [seed, kind] of runs) {
    const result = await runScenario(scenarioOf(seed, kind === undefined ? {} : { faults: [kind] }));
    assert.equal(result.violations, [], `seed ${seed}`);
    assert.equal(result.bit.filter((each) => result.faults[each] === undefined), [], "only what was injected bites");
    for (const each of result.bit) bit.add(each);
  }
  assert.equal(["revocation", ...faultKinds].filter((kind) => !bit.has(kind)), []);
});

test("a trouble without an effect does not bite", async () => {
  const scenario = { ...scenarioOf(1, { faults: [] }), events: [], troubleMs: 6_000, quietMs: 1_000 };
  const target = "gateway-1";
  const vain = (["late-crl", "silent-disk", "dropping-gateway"] as const).map((kind) => ({
    kind,
    target,
    at: 1_000,
    forMs: 1,
    amount: 0.5,
  }));
  const { faults, bit } = await runScenario({ ...scenario, events: vain }, { stopAtFirst: false });
  assert.equal(faults, { "dropping-gateway": 1, "late-crl": 1, "silent-disk": 1 });
  assert.equal(bit, []);
});

test.run();
