/**
 * Networks whose nodes get and renew their certificates at a CA, in virtual time: replay, invariants on kept seeds.
 *
 * A run waits for the CA's signatures between two steps: the same seed gives the same trace all the same, on both runtimes.
 */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  memberFaultKinds,
  type MemberScenario,
  memberScenarioOf,
  runMemberScenario,
} from "../../../actors/simulation/mod.ts";
import { ownRuntime, scriptCommand } from "../../../scripts/check/runtimes.ts";
import type { SimulateReport } from "../../../scripts/simulate/batch.ts";
import { needing } from "../../support/prerequisites.ts";

const test = suite("simulation of membership");
const other = ownRuntime === "deno" ? "node" : "deno";

/** Found by a seed: `join` put the CA's list over a newer one that a member had brought, and the node never started again. */
test("a list of an earlier membership that is newer than the CA's is kept when the node joins again", async () => {
  const { violations, bit } = await runMemberScenario(memberScenarioOf(23));
  assert.equal(violations, []);
  assert.ok(bit.includes("fork"));
});

/** Found by seeds: `join` put another list with the delta's number in the place of the delta's base, and what both revoked was accepted again. */
test("a list that contradicts a delta in force does not replace its base when the node joins again", async () => {
  for (const seed of [70_304_717, 70_005_027]) {
    const { violations } = await runMemberScenario(memberScenarioOf(seed));
    assert.equal(violations, [], `seed ${seed}`);
  }
});

/** Found by a seed: the CA was away for most of a certificate's life, and stayed away after the troubles. */
test("a CA that is away when the troubles end comes back then", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(900_006));
  assert.equal(violations, []);
});

/**
 * Found by seeds of --hardware: a gateway's links fell silent just after it announced a list, and its neighbours ignored it for an hour.
 * The others found defects of the simulation: it expected a newer list of a host that was given another one, and of a gateway that withheld
 * its lists; and the end of one such trouble started another one again.
 */
test("a list reaches a node whose gateway fell silent while it was pulled", async () => {
  for (const seed of [32_500_429, 32_500_438, 33_501_223, 33_501_225]) {
    const { violations } = await runMemberScenario(memberScenarioOf(seed, { hardware: true }));
    assert.equal(violations, [], `seed ${seed}`);
  }
});

/** Found by a seed: its node stayed off the network before. */
test("a renewal that its node never saw is renewed in its turn after it has ended", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(33_500_518));
  assert.equal(violations, []);
});

/** Found by a seed: its gateway took another key a seventh of a second before the end, and its workers were about to dial it again. */
test("a link that a renewal has just ended may be on its way back at the end", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(33_502_480));
  assert.equal(violations, []);
});

/** Found by a seed: the ledger saw what a killed CA had committed only half a second after the next start, when its list had refused a node already. */
test("a revocation whose CA was killed before it answered counts from the next start on", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(60_305_167));
  assert.equal(violations, []);
});

/** Found by a seed: a CA that contradicts itself had one node take a complete list in place of a delta and its base. */
test("a complete list with the number of a delta in force clears nothing", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(60_306_965));
  assert.equal(violations, []);
});

/** Found by a seed: the thief has the pair of a node that is revoked late, and speaks no protocol of lists. */
test("a list that a thief got in place of the node whose pair he has is no list that does not travel", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(60_306_991));
  assert.equal(violations, []);
});

/** Found by a seed: its CA could not sign the revocation for half a minute. */
test("a list that a gateway asked of the thief, in place of the node whose pair he has, is none that does not travel", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(80_204_343, { hardware: true }));
  assert.equal(violations, []);
});

/** Found by a seed: a gateway never answered a request for a list that had come just before it took another key. */
test("a list reaches a node whose gateway takes another key while it is pulled", async () => {
  const { violations } = await runMemberScenario(memberScenarioOf(74_300_360));
  assert.equal(violations, []);
});

/** The first minutes of a seed. */
const shortOf = (seed: number): MemberScenario => ({ ...memberScenarioOf(seed), troubleMs: 120_000, quietMs: 1_000 });

test("the same seed gives the same trace", async () => {
  const first = await runMemberScenario(shortOf(2));
  const again = await runMemberScenario(shortOf(2));
  assert.is(again.traceHash, first.traceHash);
  assert.ok(first.events > 20);
});

needing(test, other)("and on the other runtime", async () => {
  const script = fileURLToPath(new URL("../../../scripts/simulate.ts", import.meta.url));
  const [command, ...before] = scriptCommand(other);
  const args = [...before, script, "--membership", "--seed", "7", "--runs", "1", "--json"];
  const { stdout, status } = spawnSync(command, args, { encoding: "utf8", timeout: 150_000 });
  assert.is(status, 0);
  const [there] = (JSON.parse(stdout) as SimulateReport).seeds;
  const { traceHash, violations } = await runMemberScenario(memberScenarioOf(7));
  assert.equal(violations, []);
  assert.is(traceHash, there?.traceHash);
});

test("every kind of trouble is drawn, and every run has a revocation", () => {
  const scenarios = Array.from({ length: 60 }, (_, seed) => memberScenarioOf(seed));
  const kinds = new Set(scenarios.flatMap(({ events }) => events.map(({ kind }) => kind)));
  assert.equal(memberFaultKinds.filter((kind) => !kinds.has(kind)), []);
  assert.ok(scenarios.every(({ events }) => events.some(({ kind }) => kind.startsWith("revoke-"))));
});

test("the machines of the CA, of enrolment and of the exchange run in it", async () => {
  const ids = new Set<string>();
  await runMemberScenario(shortOf(3), {
    inspect: ({ actorRef }) => {
      const { logic } = actorRef as { readonly logic?: { readonly id?: string } };
      if (logic?.id !== undefined) ids.add(logic.id);
    },
  });
  for (const id of ["enrolment", "crlExchange"]) assert.ok(ids.has(id), `no ${id} among ${[...ids]}`);
});

test.run();
