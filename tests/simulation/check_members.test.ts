/** Hostile members in a network: what each kind does is seen by the node, and violates nothing; what a member may not do is found. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { MemberChecks } from "../../actors/simulation/check_members.ts";
import { Findings } from "../../actors/simulation/findings.ts";
import { runScenario, scenarioOf, Simulation, startsAt } from "../../actors/simulation/mod.ts";
import { Oracle } from "../../actors/simulation/oracle.ts";
import { plantedBugs } from "../../scripts/simulate/planted_bugs.ts";

const test = suite("checks of members");

async function watched() {
  const sim = await Simulation.create({ seed: 7 });
  const oracle = new Oracle();
  const findings = new Findings(sim);
  const checks = new MemberChecks({ sim, oracle, findings });
  const gateway = await sim.addNode({ name: "gateway", role: "gateway" });
  const worker = await sim.addNode({ name: "worker", role: "worker", gateways: ["gateway"] });
  for (const { credential } of [gateway, worker]) oracle.know(credential, { notAfter: startsAt + 86_400_000 });
  return { sim, oracle, findings, checks, gateway, worker };
}

test("a node that is told of nobody is found at the second look, and one that is told is not", async () => {
  for (const isTold of [true, false]) {
    const { sim, checks, findings, gateway } = await watched();
    if (isTold) sim.watches.push({ fact: (node, fact, session) => checks.fact(node, fact, session) });
    sim.run(5_000);
    checks.look(gateway);
    assert.equal(findings.violations, []);
    checks.look(gateway);
    assert.equal(findings.violations.map(({ invariant }) => invariant), isTold ? [] : ["members-told"]);
  }
});

test("a record of a stranger, and of a revoked publisher, is found; of a member it is not", async () => {
  const { sim, oracle, checks, findings, gateway, worker } = await watched();
  sim.run(5_000);
  const record = { type: "record", id: "1", key: "digits", value: new Uint8Array(), publisher: worker.peer } as const;
  checks.asked(gateway, record);
  checks.asked(gateway, { type: "record.missing", id: "2" });
  assert.equal(findings.violations, []);
  const standing = oracle.standingOf(worker.credential.der);
  assert.ok(standing !== undefined);
  standing.revokedBy = 2;
  oracle.listsCame(gateway, 2, sim.now - 5_000, false);
  checks.asked(gateway, record);
  assert.match(findings.violations[0]?.detail ?? "", /its certificate is revoked$/);
});

test("gossip of an author that no authority knows is found", async () => {
  const { sim, checks, findings, gateway } = await watched();
  sim.run(1_000);
  const fact = { type: "published", topic: "hypha/worker", from: "nobody", via: "nobody" } as const;
  checks.fact(gateway, { ...fact, message: {} } as unknown as Parameters<typeof checks.fact>[1], undefined);
  assert.equal(findings.violations.map(({ invariant }) => invariant), ["verified-only"]);
});

test("each kind of hostile member bites, and violates nothing", async () => {
  for (
    const kind of [
      "second-certificate",
      "crowd",
      "forger",
      "mute",
      "relayed",
      "wrong-role",
      "denied",
      "expensive",
    ] as const
  ) {
    const { violations, bit } = await runScenario(scenarioOf(3, { faults: [kind] }));
    assert.equal(violations, [], kind);
    assert.ok(bit.includes(kind), kind);
  }
});

test("fourteen planted bugs and more lie in the core, each of another name", () => {
  const inCore = plantedBugs.filter(({ file }) => file.startsWith("transport/core/"));
  assert.ok(inCore.length >= 14 && plantedBugs.length >= 38, `${inCore.length} of ${plantedBugs.length}`);
  assert.is(new Set(plantedBugs.map(({ name }) => name)).size, plantedBugs.length);
});

test.run();
