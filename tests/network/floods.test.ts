/** Members that flood a gateway, over real sockets: what they make it hold and do is bounded, and honest work goes on. */
import process from "node:process";
import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { defaultWorkLimits } from "../../transport/core/work_budget.ts";
import { flooded, startFlooder } from "../support/flood.ts";
import { makeTestPki } from "../support/pki.ts";
import { of, startTransport, type TestTransport } from "../support/transports.ts";

const test = suite("floods");
const pki = await makeTestPki();
const { transport: gateway, costs } = await flooded({ pki, name: "gateway", role: "gateway", relay: "server" });
const address = gateway.addresses.find((each) => each.includes("127.0.0.1")) ?? "";
const push = "/hypha-tensor-stream/push";

/** Asks for health one time after the other until `over`; how long each took, in milliseconds, sorted. */
async function honest(asker: TestTransport, over: Promise<unknown>): Promise<number[]> {
  const took: number[] = [];
  let isOver = false;
  over.then(() => isOver = true);
  for (let nth = 0; !isOver; nth++) {
    const at = performance.now();
    const question = { type: "request", id: `${nth}`, peer: gateway.peer, protocol: "/hypha-health/0.0.1" } as const;
    assert.is((await asker.ask({ ...question, message: {}, timeoutMs: 30_000 })).type, "response");
    took.push(performance.now() - at);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return took.sort((a, b) => a - b);
}

const medianOf = (sorted: readonly number[]) => sorted[Math.floor(sorted.length / 2)] ?? 0;

/** The most that this process holds more than now during a flood, in bytes. */
async function mostHeld(flood: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage();
  let most = 0;
  const looking = setInterval(() => {
    const { heapUsed, external } = process.memoryUsage();
    most = Math.max(most, heapUsed + external - before.heapUsed - before.external);
  }, 5);
  await flood();
  await new Promise((resolve) => setTimeout(resolve, 300));
  clearInterval(looking);
  return most;
}

test("64 streams of one member with 3.9 MB of a message that never ends, over two connections, hold little", async () => {
  const flooder = await startFlooder(pki, "hoarder", address);
  await flooder.flood("connections", 1);
  const most = await mostHeld(() => flooder.flood("hops", 64));
  flooder.stop();
  assert.ok(most < 64 * 1_048_576, `${Math.round(most / 1_048_576)} MiB`);
});

test("bug: a circuit whose end did not read filled the relay's memory", async () => {
  const flooder = await startFlooder(pki, "pourer", address);
  const most = await mostHeld(() => flooder.flood("unread circuit", 200));
  flooder.stop();
  assert.ok(most < 64 * 1_048_576, `${Math.round(most / 1_048_576)} MiB`);
});

test("a member that pipelines questions of Kademlia gets a tenth of a core after its burst, and honest peers are answered", async () => {
  const asker = await startTransport({ pki, name: "asker" });
  await asker.ask({ type: "dial", id: "1", target: { address } });
  const flooder = await startFlooder(pki, "curious", address);
  const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  const quiet = medianOf(await honest(asker, pause(500)));
  const began = performance.now();
  const flooding = flooder.flood("kad", 40_000);
  const forMs = 1_500 + defaultWorkLimits.burstUs / 1_000;
  const took = await honest(asker, pause(forMs));
  const seconds = (performance.now() - began) / 1_000;
  const charged = costs.work.chargedUs(flooder.peer);
  flooder.stop();
  flooding.catch(() => {}); // it is stopped before it is over
  const { burstUs, perSecondUs } = defaultWorkLimits;
  assert.ok(charged > 20_000, `it floods: ${charged} µs`);
  assert.ok(charged <= burstUs + seconds * perSecondUs + 50_000, `${charged} µs in ${seconds} s`);
  // All of it runs in two processes, beside other tests: what the flood adds is some turns of the loop.
  assert.ok(medianOf(took) < 10 * quiet + 200, `${medianOf(took)} ms, ${quiet} ms without the flood`);
  await asker.stop();
});

test("a member that opens new streams on end and never waits costs no more than its share, then is closed", async () => {
  // A share so small that any machine's flooder is over it; the defaults take 40 s.
  const workLimits = { perSecondUs: 20_000, burstUs: 100_000, delayMaxMs: 3_000 };
  const small = await flooded({ pki, name: "small", role: "gateway", workLimits });
  const place = small.transport.addresses.find((each) => each.includes("127.0.0.1")) ?? "";
  const flooder = await startFlooder(pki, "restless", place);
  await flooder.flood("connections", 2);
  const began = performance.now();
  flooder.flood("request", 1_000_000).catch(() => {}); // it is closed before that
  const { refusal } = await small.transport.fact(of("peer.refused", ({ peer }) => peer?.id === flooder.peer), 30_000);
  const seconds = (performance.now() - began) / 1_000;
  const charged = small.costs.work.chargedUs(flooder.peer);
  const { reason } = await small.transport.fact(of("peer.closed", ({ peer }) => peer === flooder.peer));
  flooder.stop();
  assert.is(refusal.code, "too-expensive");
  assert.is(reason.type, "by-us");
  assert.ok(seconds > workLimits.delayMaxMs / 1_000, `refused after ${seconds} s`);
  // What was charged before it had to wait may be overdrawn as far again.
  const most = 2 * workLimits.burstUs + (seconds + 1) * workLimits.perSecondUs;
  assert.ok(charged > workLimits.burstUs && charged < most, `${charged} µs in ${seconds} s, ${most} at most`);
  await small.transport.stop();
});

/** Opens a stream, takes it at the other end, and sends so many megabytes in large pieces. */
async function transfer(from: TestTransport, to: TestTransport, megabytes: number): Promise<void> {
  to.send({ type: "serve", protocol: push });
  const opening = from.ask({ type: "stream.open", id: "t", peer: to.peer, protocol: push, timeoutMs: 30_000 });
  const { exchange } = await to.fact(of("stream.received", ({ peer }) => peer === from.peer));
  const taken = await to.ask({ type: "stream.accept", exchange });
  const opened = await opening;
  if (opened.type !== "stream.opened" || taken.type !== "stream.opened") throw new Error("Cannot open the stream");
  const piece = new Uint8Array(1_048_576);
  const reading = (async () => {
    for (let bytes = 0;;) {
      const chunk = await Effect.runPromise(taken.stream.read);
      if (chunk.type === "end") return bytes;
      bytes += chunk.bytes.byteLength;
    }
  })();
  for (let sent = 0; sent < megabytes; sent++) await Effect.runPromise(opened.stream.write(piece));
  await Effect.runPromise(opened.stream.end);
  assert.is(await reading, megabytes * piece.length);
}

test("an honest transfer at full speed is not charged for, direct or relayed, at its receiver or at the relay", async () => {
  const receiver = await flooded({
    pki,
    name: "receiver",
    listenAddresses: [],
    relay: "client",
    gatewayAddresses: [address],
  });
  await receiver.transport.ask({ type: "dial", id: "1", target: { address } });
  const { addresses: [through = ""] } = await receiver.transport.fact(of("reachable"));
  const sender = await startTransport({ pki, name: "sender", relay: "client", gatewayAddresses: [address] });
  await sender.ask({ type: "dial", id: "1", target: { address } });
  const dialled = await sender.ask({ type: "dial", id: "2", target: { address: through } });
  assert.is(dialled.type, "dial.done", JSON.stringify(dialled));
  const [atRelay, atReceiver] = [costs.work.chargedUs(sender.peer), receiver.costs.work.chargedUs(sender.peer)];
  const ofRelay = receiver.costs.work.chargedUs(gateway.peer);
  const megabytes = 32;
  await transfer(sender, receiver.transport, megabytes);
  const cost = [
    costs.work.chargedUs(sender.peer) - atRelay,
    receiver.costs.work.chargedUs(sender.peer) - atReceiver,
    receiver.costs.work.chargedUs(gateway.peer) - ofRelay,
  ];
  // Unasked, this many bytes would cost 1,024 µs a megabyte.
  assert.ok(cost.every((us) => us < megabytes * 1_024 / 4), cost.join(" "));
  await sender.stop();
  await receiver.transport.stop();
});

test("bug: a member that opened circuits to a member behind a relay got the relay refused there", async () => {
  const workLimits = { perSecondUs: 50_000, burstUs: 100_000, delayMaxMs: 3_000 };
  const behind = { listenAddresses: [], relay: "client", gatewayAddresses: [address] } as const;
  const { transport, costs: own } = await flooded({ pki, name: "behind", workLimits, ...behind });
  await transport.ask({ type: "dial", id: "1", target: { address } });
  await transport.fact(of("reachable"));
  const flooder = await startFlooder(pki, "dialler", address);
  const before = own.work.chargedUs(gateway.peer);
  const flooding = flooder.flood("circuits", 1_000_000, transport.peer);
  flooding.catch(() => {}); // it is stopped before it is over
  await new Promise((resolve) => setTimeout(resolve, 8_000));
  const charged = own.work.chargedUs(gateway.peer) - before;
  flooder.stop();
  assert.ok(charged > workLimits.burstUs, `it floods: ${charged} µs`);
  assert.equal(transport.facts.filter(({ type }) => type === "peer.closed"), []);
  const question = { type: "request", id: "1", peer: gateway.peer, protocol: "/hypha-health/0.0.1" } as const;
  assert.is((await transport.ask({ ...question, message: {}, timeoutMs: 30_000 })).type, "response");
  await transport.stop();
});

/** What is in use once garbage is collected, in bytes. */
function inUse(): number {
  (globalThis as { gc?: () => void }).gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** The most that is in use meanwhile beyond what was before, in bytes. */
async function mostInUse(forMs: number, before: number): Promise<number> {
  let most = 0;
  for (const end = performance.now() + forMs; performance.now() < end;) {
    await new Promise((resolve) => setTimeout(resolve, 200));
    most = Math.max(most, inUse() - before);
  }
  return most;
}

const mebibytes = (bytes: number) => `${Math.round(bytes / 1_048_576)} MiB`;

test("bug: gossip that its member could not afford was held, also after the member had left", async () => {
  const flooder = await startFlooder(pki, "gossiping", address);
  const before = inUse();
  const chargedBefore = costs.work.chargedUs(flooder.peer);
  flooder.flood("gossip not affordable", 1).catch(() => {}); // it is stopped before it is over
  const most = await mostInUse(5_000, before);
  const charged = costs.work.chargedUs(flooder.peer) - chargedBefore;
  flooder.stop();
  await gateway.fact(of("peer.closed", ({ peer }) => peer === flooder.peer));
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  const left = inUse() - before;
  assert.ok(charged > 200_000, `it floods: ${charged} µs`);
  assert.ok(most < 64 * 1_048_576, mebibytes(most));
  assert.ok(left < 10 * 1_048_576, `${mebibytes(left)} after it left`);
});

test("bug: gossip that a member requested and did not read was held without limit", async () => {
  const flooder = await startFlooder(pki, "unreading", address);
  await new Promise((resolve) => setTimeout(resolve, 500)); // the gateway opens its stream to it
  const before = inUse();
  const chargedBefore = costs.work.chargedUs(flooder.peer);
  flooder.flood("gossip not read", 1).catch(() => {}); // it is stopped before it is over
  const most = await mostInUse(10_000, before);
  const charged = costs.work.chargedUs(flooder.peer) - chargedBefore;
  flooder.stop();
  assert.ok(charged > 50_000, `it floods: ${charged} µs`);
  assert.ok(most < 48 * 1_048_576, mebibytes(most));
});

test.after(() => gateway.stop());
test.run();
