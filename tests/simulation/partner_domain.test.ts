/**
 * A partner organisation that misbehaves.
 *
 * Goal: it delays no revocation of the node's own lists, and speaks for nobody but itself. Method: a gateway that trusts it, and a
 * worker that is revoked while the partner's files change many times a second.
 *
 * @module
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HostileMember } from "../../actors/simulation/hostile_member.ts";
import { Simulation, startsAt } from "../../actors/simulation/mod.ts";
import { nodePaths } from "../../actors/simulation/node_config.ts";
import { makePartner } from "../../actors/simulation/partner_domain.ts";

const test = suite("a partner that misbehaves");
const dayMs = 86_400_000;
const period = { notBefore: new Date(startsAt - dayMs), notAfter: new Date(startsAt + 365 * dayMs) };

async function partnered(trustSettleMs?: number) {
  const sim = await Simulation.create({ seed: 1 });
  const credential = await sim.issue("worker", "worker");
  const partner = await makePartner(sim.authority, { period, ours: [credential] });
  const knobs = trustSettleMs === undefined ? {} : { trustSettleMs };
  const gateway = await sim.addNode({ name: "gateway", role: "gateway", partner, knobs });
  const worker = await sim.addNode({ name: "worker", role: "worker", credential, gateways: ["gateway"], partner });
  sim.run(5_000);
  assert.ok(sim.areConnected(gateway, worker));
  return { sim, partner, gateway, worker };
}

/** It was 1,040 ms: the files were read after twenty looks at which they had changed. */
for (const trustSettleMs of [undefined, 120]) {
  test(`changes without pause delay no revocation of ours for a second (settle: ${trustSettleMs ?? "as is"})`, async () => {
    const { sim, partner, gateway, worker } = await partnered(trustSettleMs);
    let changes = 0;
    const flood = () => {
      const { crls } = partner;
      // Every state of the file is another one.
      gateway.disk.put(nodePaths.partnerCrls, (crls[changes % crls.length] ?? "") + "\n".repeat(changes), 0o644);
      changes += 1;
      sim.after(20, flood);
    };
    flood();
    sim.run(2_137);
    assert.ok(sim.areConnected(gateway, worker), "the partner's lists, which name its serial, do not revoke it");
    sim.publish(await sim.revoke(worker.credential), [gateway]);
    sim.run(1_000);
    assert.not(sim.areConnected(gateway, worker));
  });
}

test("a partner's broken files leave our own revocations in force", async () => {
  for (const path of [nodePaths.partnerTrust, nodePaths.partnerCrls]) {
    const { sim, gateway, worker, partner } = await partnered();
    gateway.disk.put(path, (partner.crls[1] ?? "").slice(0, -60), 0o644);
    sim.run(10_000);
    assert.ok(sim.areConnected(gateway, worker));
    sim.publish(await sim.revoke(worker.credential), [gateway]);
    sim.run(1_000);
    assert.not(sim.areConnected(gateway, worker));
  }
});

test("a partner's certificates are accepted for its own name and roles only, and ours not for its name", async () => {
  const { sim, partner, gateway } = await partnered();
  const admitted: string[] = [];
  let number = 0;
  for (const [name, { credential, above }] of partner.credentials) {
    const holder = new HostileMember({ sim, credential, above, number: ++number });
    holder.dial(
      gateway.address,
      (connection) => holder.askHealth(connection, ({ bytes }) => void (bytes.length > 0 && admitted.push(name))),
    );
  }
  sim.run(5_000);
  assert.equal(admitted, ["partner/member"]);
});

test.run();
