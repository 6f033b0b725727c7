/** The auction of a real worker, over real sockets: schedulers that bid most and never accept, and schedulers that share. */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { pause } from "../../scripts/attack/members/attack.ts";
import { hoard, offersTo } from "../../scripts/attack/members/auction_attacks.ts";
import { HonestMember } from "../../scripts/attack/members/honest.ts";
import { cell, makeNodeNetwork } from "../support/node_network.ts";
import { identityOf } from "../support/transports.ts";

const test = suite("the auction of a real worker");
const network = await makeNodeNetwork();

/** A worker that offers all it has or what is asked for, and schedulers that are connected with it. */
async function workerWith(name: string, strategy: "whole" | "flexible", schedulers: number) {
  const worker = await network.start(name, "worker", {
    workDir: join(network.folder, name, "work"),
    resources: { cpu: 32, memory: 64, storage: 100, gpu: 0 },
    offer: { price: 10, floor: 1, strategy },
    executors: [
      { class: "aggregate", name: "parameter-server", runtime: "parameter-server", cmd: undefined, args: [] },
    ],
    cell: cell(),
  } as never);
  const { addresses: [address = ""] } = await worker.said("node.listening") as unknown as { addresses: string[] };
  const members = await Promise.all(Array.from({ length: schedulers }, async (_, nth) => {
    const node = await network.pki.node(`${name}-scheduler-${nth}`, { role: "scheduler" });
    const { trustPem } = network.pki;
    const member = await HonestMember.start({ role: "scheduler", identity: identityOf(node), trustPem });
    await member.dial(address);
    return member;
  }));
  await worker.said("worker.cell"); // it takes requests from then on
  await pause(500); // gossip learns of it
  return members;
}

/** Ten requests of an honest scheduler for the whole worker, beside others that ask for it all the time. */
async function auction(hoarders: number, strategy: "whole" | "flexible") {
  const [honest, ...others] = await workerWith(`worker-${hoarders}`, strategy, 1 + hoarders);
  const hoards = others.map(hoard);
  const waits = await offersTo(honest!, 10, 32);
  await Promise.all(hoards.map((one) => one.stop()));
  await Promise.all([honest!, ...others].map((member) => member.stop()));
  return { offers: waits.length, asked: hoards.map(({ asked }) => asked()) };
}

// Side by side: each waits for its clock most of the time.
const auctions = ([[1, "flexible"], [3, "whole"]] as const).map(([hoarders, strategy]) =>
  [`${hoarders} (${strategy})`, auction(hoarders, strategy)] as const
);
for (const [hoarders, ended] of auctions) {
  test(`bug: schedulers that bid a million and never accept left others 0 or 1 of 10 offers: ${hoarders}`, async () => {
    const { offers, asked } = await ended;
    assert.ok(offers >= 9, `${offers} of 10 offers`);
    assert.ok(asked.every((count) => count >= 10), "they asked all the time");
  });
}

test.after(() => network.stop());
test.run();
