/** A link that a renewal ended may be on its way back when a run ends; any other that is missing is told. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Findings } from "../../../actors/simulation/findings.ts";
import { LinkChecks, linkMs } from "../../../actors/simulation/membership/link_checks.ts";
import { Simulation, startsAt } from "../../../actors/simulation/mod.ts";
import type { SimulatedNode } from "../../../actors/simulation/node.ts";

const test = suite("LinkChecks");
const missing = "is not linked with gateway-1";

/** A gateway whose first certificate ends at a time, and a worker. */
async function network(notAfter = new Date(startsAt + 86_400_000)) {
  const sim = await Simulation.create({ seed: 3 });
  const period = { notBefore: new Date(startsAt - 3_600_000), notAfter };
  const credential = await sim.authority.node("gateway-1", { ...period, role: "gateway" });
  const gateway = await sim.addNode({ name: "gateway-1", role: "gateway", credential });
  const worker = await sim.addNode({ name: "worker-2", role: "worker", gateways: ["gateway-1"] });
  const checksOf = () => {
    const findings = new Findings(sim);
    const members = [gateway, worker].map((node) => ({ node, name: node.name, isJoining: false }));
    const checks = new LinkChecks({ sim, findings, members: new Map(members.map((each) => [each.name, each])) });
    return { checks, told: () => (checks.conclude(new Set()), findings.violations.map(({ detail }) => detail)) };
  };
  const { checks, told } = checksOf();
  sim.watches.push(checks);
  sim.run(5_000);
  const isLinked = () =>
    (worker.actor?.getSnapshot().context as { readonly linked: readonly string[] }).linked.length > 0;
  const unlinked = (withinMs: number) => {
    const until = sim.now + withinMs;
    while (isLinked() && sim.now < until) sim.run(5);
    assert.not(isLinked());
  };
  /** What checks say that saw no report. */
  const strict = () => checksOf().told();
  assert.ok(isLinked());
  return { sim, gateway, worker, told, strict, unlinked, isLinked };
}

async function renew(sim: Simulation, gateway: SimulatedNode, keyPem?: string) {
  const period = { notBefore: new Date(startsAt - 3_600_000), notAfter: new Date(startsAt + 86_400_000) };
  const key = keyPem === undefined ? {} : { keyPem };
  gateway.replaceCredential(
    await sim.authority.node("gateway-1", { ...period, role: "gateway", edition: 2, ...key }),
    0,
  );
}

test("a link whose gateway has just taken another key is on its way", async () => {
  const { sim, gateway, told, strict, unlinked, isLinked } = await network();
  await renew(sim, gateway);
  unlinked(30_000);
  assert.equal(strict(), [missing]);
  assert.equal(told(), []);
  sim.run(1_000);
  assert.ok(isLinked());
  assert.equal(told(), []);
});

test("so is one whose certificate has just ended", async () => {
  const { sim, gateway, told, strict, unlinked, isLinked } = await network(new Date(startsAt + 60_000));
  await renew(sim, gateway, gateway.credential.keyPem);
  unlinked(90_000);
  assert.equal(strict(), [missing]);
  assert.equal(told(), []);
  sim.run(1_000);
  assert.ok(isLinked());
});

test("one that does not come back is told", async () => {
  const { sim, gateway, worker, told, unlinked } = await network();
  await renew(sim, gateway);
  unlinked(30_000);
  sim.network.cut(worker.name, gateway.name);
  sim.network.cut(gateway.name, worker.name);
  assert.equal(told(), []);
  sim.run(linkMs);
  assert.equal(told(), [missing]);
});

test("one that ended for another reason is told at once", async () => {
  const { sim, gateway, worker, told, unlinked } = await network();
  sim.network.cut(worker.name, gateway.name);
  sim.network.cut(gateway.name, worker.name);
  unlinked(120_000);
  assert.equal(told(), [missing]);
});

test.run();
