/**
 * The prices of a member's acts, held to what the process really spends, over real sockets: the member is a process of its own.
 *
 * Of five rounds the median counts: other work on the machine makes each microsecond of work longer, and work that one round is charged
 * for may be done in the next. The prices hold on both runtimes.
 */
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { flooded, startFlooder } from "../support/flood.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("prices");
const pki = await makeTestPki();
const { transport, costs } = await flooded({ pki, name: "gateway", role: "gateway", relay: "server" });
transport.send({ type: "subscribe", topic: workerTopic });
const address = transport.addresses.find((each) => each.includes("127.0.0.1")) ?? "";

const rounds = 5;
const acts: readonly [kind: string, count: number][] = [
  ["request", 150],
  ["crl piece", 20],
  ["kad", 200],
  ["gossip", 60],
  ["push", 15],
  ["push of 200 addresses", 40],
  ["identify", 60],
  ["ping", 80],
  ["relay", 60],
];

test("what a member is charged for each act is within twice what it costs", async () => {
  const flooder = await startFlooder(pki, "member", address);
  const ratios: Record<string, number> = {};
  for (const [kind, count] of acts) await flooder.flood(kind, Math.ceil(count / 10)); // the first ones compile
  for (const [kind, count] of acts) {
    const chargedBefore = costs.work.chargedUs(flooder.peer);
    const spent: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const before = process.cpuUsage();
      await flooder.flood(kind, count);
      await new Promise((resolve) => setTimeout(resolve, 20)); // what is still on its way
      const { user, system } = process.cpuUsage(before);
      spent.push(user + system);
    }
    const charged = (costs.work.chargedUs(flooder.peer) - chargedBefore) / rounds;
    ratios[kind] = Math.round(100 * charged / spent.toSorted((a, b) => a - b)[(rounds - 1) / 2]!) / 100;
  }
  flooder.stop();
  if (process.env["SHOW_PRICES"] !== undefined) console.log(ratios);
  const wrong = Object.entries(ratios).filter(([, ratio]) => ratio < 0.5 || ratio > 2);
  assert.equal(wrong, [], JSON.stringify(ratios));
});

test.after(() => transport.stop());
test.run();
