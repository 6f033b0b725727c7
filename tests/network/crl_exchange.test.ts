/**
 * A revocation in a network of real nodes: the list is put before one of them, and every node closes its connection with the revoked.
 *
 * Goal: closed everywhere within two seconds. Method: a gateway and many others, each with a state directory; all are linked with the
 * one that is revoked. Only the gateway's operator gets the new list.
 *
 * @module
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeNodeNetwork, type RunningNode } from "../support/node_network.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("revocation that travels");
/** Beside the gateway; `HYPHA_NODES=19 npm test -- tests/network/crl_exchange.test.ts` is the long form. */
const members = Number(process.env["HYPHA_NODES"] ?? 6);
const pki = await makeTestPki();
const network = await makeNodeNetwork({
  ...pki,
  // The intermediate in the bundle: lists of an issuer that only peers send do not travel.
  write: async (dir, node, crlsPem) => {
    const files = await pki.write(dir, node, crlsPem);
    writeFileSync(files.trustPath, pki.intermediate.certPem + pki.root.certPem);
    return files;
  },
});

test("a list that one gateway is given closes the connections of all nodes with the revoked", async () => {
  const stateOf = (name: string) => ({ stateDir: join(network.folder, name, "state") });
  const gateway = await network.start("gateway", "gateway", stateOf("gateway"));
  const { addresses } = await gateway.said("node.listening");
  const address = (addresses as readonly string[]).find((each) => each.includes("127.0.0.1")) ?? "";
  const nodes: RunningNode[] = [];
  for (let index = 0; index < members; index++) {
    const name = `data-${index}`;
    const datasetPath = join(network.folder, "digits");
    const more = { ...stateOf(name), gatewayAddresses: [address], datasetPath, requireGrant: false };
    nodes.push(await network.start(name, "data", more));
  }
  const [revoked, ...others] = nodes as [RunningNode, ...RunningNode[]];
  for (const node of nodes) await node.said("node.ready");
  const linked = () =>
    [gateway, ...others].filter(({ actor }) =>
      actor.getSnapshot().context.members.some(({ peer }) =>
        peer === revoked.actor.getSnapshot().context.identity?.peer
      )
    );
  assert.ok(linked().includes(gateway));
  const list = await network.pki.crls({ number: 2n, revoked: [revoked.certificate] });
  const since = Date.now();
  writeFileSync(gateway.files.crlsPath, list);
  const at: number[] = [];
  for (const node of [gateway, ...others]) {
    if (node !== gateway) at.push((await node.said("crl.taken", ({ number }) => number === "2", 10_000)).at - since);
  }
  const trusted: number[] = [];
  for (const node of others) {
    const until = Date.now() + 10_000;
    while (!node.lines.some(({ event, at: when }) => event === "trust.loaded" && when >= since)) {
      if (Date.now() > until) throw new Error(`${node.name} did not load the list`);
      await new Promise((wake) => setTimeout(wake, 10));
    }
    trusted.push(node.lines.find(({ event, at: when }) => event === "trust.loaded" && when >= since)!.at - since);
  }
  while (linked().length > 0) {
    assert.ok(Date.now() - since < 10_000, "still linked");
    await new Promise((wake) => setTimeout(wake, 10));
  }
  const closedMs = Date.now() - since;
  if (process.env["SHOW_TIMES"] !== undefined) {
    console.log(`taken after ${at.join()} ms, in force after ${trusted.join()} ms, closed after ${closedMs} ms`);
  }
  assert.ok(Math.max(...trusted, closedMs) <= 2_000, `${Math.max(...trusted)} ${closedMs} ms`);
});

test.after(() => network.stop());
test.run();
