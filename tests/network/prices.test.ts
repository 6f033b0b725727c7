/**
 * The prices of a member's acts, held to what the process really spends, over real sockets: the member is a process of its own.
 *
 * Of five rounds the median counts: work that one round is charged for may be done in the next. Prices are those of the machine that they
 * were measured on. Another one, or one with other work, takes longer for everything: a yardstick between the rounds tells by how much.
 * The prices hold on both runtimes.
 */
import { Buffer } from "node:buffer";
import { generateKeyPairSync, sign, verify } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatAuditKey } from "../../actors/audit/checkpoint.ts";
import { LogProver } from "../../actors/audit/log_prover.ts";
import { present } from "../../actors/runtime/present.ts";
import { headMessage, openHead } from "../../actors/witness/held_head.ts";
import type { AuditRequest, AuditResponse } from "../../transport/protocols/audit_messages.ts";
import type { MemberCosts } from "../../transport/core/member_costs.ts";
import { defaultWorkLimits } from "../../transport/core/work_budget.ts";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { logStart, openTestLog, recordRefusals, writeCovered } from "../support/audit_logs.ts";
import { flooded, type Flooder, startFlooder } from "../support/flood.ts";
import { makeTestPki } from "../support/pki.ts";

const test = suite("prices");
const pki = await makeTestPki();
/** A proof reads two blocks of 1,024 records. */
const records = 2_800;
const folder = mkdtempSync(join(tmpdir(), "hypha-prices-"));
const log = await openTestLog(folder);
for (let left = records; left > 0; left -= 100) recordRefusals(log, Math.min(left, 100));
await writeCovered(log, new Date(logStart));
const prover = new LogProver(folder);

const newest = present(log.newest, "the checkpoint");
const binding = {
  key: formatAuditKey(log.key),
  signature: new Uint8Array(64),
  chain: [pki.intermediate.der, pki.root.der],
};
let proving: Promise<unknown> = Promise.resolve();

/** As a witness answers: proofs one after the other. */
async function answerAudit(request: AuditRequest): Promise<AuditResponse> {
  if ("Held" in request) return { Noted: request.Held.map(openHead).filter((head) => head !== undefined).length };
  const { old } = request.Prove;
  const made = proving.then(() => prover.prove({ old, size: newest.size }, newest));
  proving = made;
  return { Proof: { head: headMessage({ ...newest, binding }), path: await made } };
}

/** A member that is delayed would be measured for longer. */
const workLimits = { ...defaultWorkLimits, perSecondUs: 1_000_000 };
const gateway = await flooded({
  pki,
  name: "gateway",
  role: "gateway",
  relay: "server",
  answerAudit,
  workLimits,
});
gateway.transport.send({ type: "subscribe", topic: workerTopic });
const worker = await flooded({ pki, name: "worker", role: "worker", workLimits });
const scheduler = await flooded({ pki, name: "scheduler", role: "scheduler", workLimits });

const rounds = 5;
/** A price is wrong where so many measurements say so. */
const measurements = 3;
const isFair = (ratio: number) => ratio >= 0.5 && ratio <= 2;
const acts: readonly [kind: string, count: number][] = [
  ["request", 150],
  ["request of 8,000 keys", 20],
  ["crl piece", 20],
  ["audit proof", 6],
  ["audit heads", 10],
  ["kad", 200],
  ["gossip", 60],
  ["push", 15],
  ["push of 200 addresses", 40],
  ["identify", 60],
  ["ping", 80],
  ["relay", 60],
];

/** What other roles take: a gateway refuses it before it is decoded. */
const jobs: typeof acts = [["job for 250 peers", 20]];
const metrics: typeof acts = [["8,000 metrics", 10]];

/** What {@linkcode yardstick} takes on the machine of the prices when nothing disturbs it, in microseconds. */
const yardstickUs = { node: 15_000, deno: 8_200 }["Deno" in globalThis ? "deno" : "node"];
const { privateKey, publicKey } = generateKeyPairSync("ed25519");
const message = Buffer.alloc(1_024, 7);
const signature = sign(null, message, privateKey);

/** Work of the kinds that acts are made of: signatures, text, small objects. Returns its processor time in microseconds. */
function yardstick(): number {
  const before = process.cpuUsage();
  for (let turn = 0; turn < 100; turn++) {
    if (!verify(null, message, publicKey, signature)) throw new Error("the signature is right");
    const entries = Array.from({ length: 60 }, (_, index) => [`key ${index}`, { index, text: `${turn} ${index}` }]);
    const read = JSON.parse(JSON.stringify(Object.fromEntries(entries)));
    if (Object.keys(read).length !== entries.length) throw new Error("nothing is lost");
  }
  const { user, system } = process.cpuUsage(before);
  return user + system;
}

const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[(values.length - 1) >> 1] ?? 0;

test("what a member is charged for each act is within twice what it costs", async () => {
  const ratios: Record<string, number> = {};
  const yards: number[] = [];
  /** What the member was charged for what its acts cost; 1 where it was the same. */
  const measured = async (flooder: Flooder, { work }: MemberCosts, kind: string, count: number) => {
    const chargedBefore = work.chargedUs(flooder.peer);
    const [spent, beside]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      const before = process.cpuUsage();
      await flooder.flood(kind, count);
      await new Promise((resolve) => setTimeout(resolve, 20)); // what is still on its way
      const { user, system } = process.cpuUsage(before);
      spent.push(user + system);
      beside.push(yardstick());
    }
    const charged = (work.chargedUs(flooder.peer) - chargedBefore) / rounds;
    yards.push(median(beside));
    return Math.round(100 * charged / median(spent) * median(beside) / yardstickUs) / 100;
  };
  for (const [{ transport, costs }, given] of [[gateway, acts], [worker, jobs], [scheduler, metrics]] as const) {
    const address = transport.addresses.find((each) => each.includes("127.0.0.1")) ?? "";
    const flooder = await startFlooder(pki, "member", address);
    for (const [kind, count] of given) await flooder.flood(kind, Math.ceil(count / 10)); // the first ones compile
    for (const [kind, count] of given) {
      // Beside other tests a measurement is off now and then.
      for (let left = measurements; left > 0; left--) {
        ratios[kind] = await measured(flooder, costs, kind, count);
        if (isFair(ratios[kind])) break;
      }
    }
    flooder.stop();
  }
  if (process.env["SHOW_PRICES"] !== undefined) console.log(ratios, yards);
  const wrong = Object.entries(ratios).filter(([, ratio]) => !isFair(ratio));
  assert.equal(wrong, [], JSON.stringify(ratios));
});

test.after(async () => {
  await Promise.all([gateway, worker, scheduler].map(({ transport }) => transport.stop()));
  rmSync(folder, { recursive: true });
});
test.run();
