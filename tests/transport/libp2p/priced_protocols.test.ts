/** What streams of libp2p's own protocols may bring, on libp2p's own streams. */
import { Buffer } from "node:buffer";
import type { Connection, Stream, StreamHandler } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { streamPair } from "@libp2p/utils";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { relayFactor } from "../../../transport/core/admission.ts";
import { priceOf, type Work } from "../../../transport/core/prices.ts";
import { prefixLength } from "../../../transport/core/length_prefixed.ts";
import { defaultWorkLimits, WorkBudgets } from "../../../transport/core/work_budget.ts";
import { realClock } from "../../../transport/libp2p/real_clock.ts";
import { type Payer, pingBytesWaitingMax, priced as pricedBoth } from "../../../transport/libp2p/priced_protocols.ts";

const test = suite("priced()");
const ping = "/ipfs/ping/1.0.0";
const peer = "12D3KooWHXGN9hZByhF27ZwiKUmgXW3bdGwc9PHh9uAkg7F5ZqWT";
const connection = { remotePeer: peerIdFromString(peer) } as Connection;
/** A handler that takes a stream at any time. */
const priced = (protocol: string, handler: StreamHandler, payer: Payer) =>
  pricedBoth(protocol, { atOnce: handler, later: handler }, payer);
/** Can afford everything at once. */
const payer = (charge: (us: number) => number): Payer => ({
  charge: (_, us) => charge(us),
  refund: () => {},
  inTurn: (_peer, _owner, us, task) => {
    charge(us);
    task();
  },
  giveUp: () => {},
});
/** Gives back what arrives, as the service does. */
const echoes: StreamHandler = (stream) => {
  stream.addEventListener("message", ({ data }) => void stream.send(data));
};

/** The muxer of a stream says that its connection is full, or that it has room again. */
interface Muxed extends Stream {
  onMuxerNeedsDrain(): void;
  onMuxerDrain(): void;
}

/** A stream of pings whose connection has no room for answers. */
async function fullConnection() {
  const [theirs, ours] = await streamPair({ protocol: ping });
  const charged: number[] = [];
  priced(ping, echoes, payer((us) => charged.push(us)))(ours, connection);
  const full = ours as Muxed;
  full.onMuxerNeedsDrain();
  let received = 0;
  theirs.addEventListener("message", ({ data }) => received += data.byteLength);
  const passes = () => new Promise((resolve) => setTimeout(resolve, 50));
  return { theirs, full, charged, passes, received: () => received };
}

test("a ping that arrives while the connection is full of a transfer is answered when there is room", async () => {
  const { theirs, full, charged, passes, received } = await fullConnection();
  theirs.send(new Uint8Array(32));
  await passes();
  assert.is(full.status, "open");
  full.onMuxerDrain();
  await passes();
  assert.is(received(), 32);
  assert.is(charged.length, 2, "the stream, and its protocol");
  theirs.abort(new Error("over"));
});

test("as many pings as may wait are kept; one more resets the stream", async () => {
  const { theirs, full, passes } = await fullConnection();
  theirs.send(new Uint8Array(pingBytesWaitingMax));
  await passes();
  assert.is(full.status, "open");
  theirs.send(new Uint8Array(32));
  await passes();
  assert.is.not(full.status, "open");
});

test("pings that were answered do not count", async () => {
  const { theirs, full, passes } = await fullConnection();
  for (let nth = 0; nth < 3; nth++) {
    theirs.send(new Uint8Array(pingBytesWaitingMax - 32));
    await passes();
    full.onMuxerDrain();
    theirs.send(new Uint8Array(32));
    await passes();
    full.onMuxerNeedsDrain();
  }
  assert.is(full.status, "open");
  theirs.abort(new Error("over"));
});

test("bug: circuits that members opened were charged to their relay in full: a few members made it too expensive", async () => {
  const chargedFor = async (protocol: string) => {
    const [, ours] = await streamPair({ protocol });
    let charged = 0;
    priced(protocol, () => {}, payer((us) => charged += us))(ours, connection);
    return charged;
  };
  const whole = priceOf("stream") + priceOf("relay");
  assert.is(await chargedFor("/libp2p/circuit/relay/0.2.0/hop"), whole);
  assert.is(await chargedFor("/libp2p/circuit/relay/0.2.0/stop"), whole / relayFactor);
});

const reservation = "/libp2p/circuit/relay/0.2.0/hop";
/** Real budgets, and one who pays from them. */
function realBudgets() {
  const budgets = new WorkBudgets({ clock: realClock(Date.now), tooExpensive: () => {} });
  const payer: Payer = {
    charge: (peer, us) => budgets.charge(peer, us),
    refund: (peer, us) => budgets.refund(peer, us),
    inTurn: (peer, owner, us, task) => budgets.run(peer, owner, us, task),
    giveUp: (peer, owner) => budgets.leave(peer, owner),
  };
  return { budgets, payer };
}

test("bug: streams that a member opened with one piece of bytes were all handled in one turn of the event loop", async () => {
  const { budgets, payer } = realBudgets();
  const opened = await Promise.all(Array.from({ length: 20 }, () => streamPair({ protocol: reservation })));
  let handled = 0;
  const taken = opened.map(([, ours]) => priced(reservation, () => void handled++, payer)(ours, connection));
  assert.is(handled, 1, `${handled} of ${opened.length} in the first turn`);
  await Promise.all(taken);
  assert.is(handled, opened.length);
  assert.is(budgets.chargedUs(peer), opened.length * (priceOf("stream") + priceOf("relay")));
  budgets.stop();
});

test("a stream that waited for its turn is taken by another handler than one that did not: what its peer may do can have changed", async () => {
  const { budgets, payer } = realBudgets();
  const taken: string[] = [];
  const handlers = { atOnce: () => void taken.push("at once"), later: () => void taken.push("later") };
  const opened = await Promise.all([1, 2].map(() => streamPair({ protocol: reservation })));
  await Promise.all(opened.map(([, ours]) => pricedBoth(reservation, handlers, payer)(ours, connection)));
  assert.equal(taken, ["at once", "later"]);
  budgets.stop();
});

test("a stream that ends before its turn is not handled, and costs what its opening costs", async () => {
  const { budgets, payer } = realBudgets();
  budgets.charge(peer, 2 * defaultWorkLimits.burstUs);
  const before = budgets.chargedUs(peer);
  const [, ours] = await streamPair({ protocol: reservation });
  let handled = 0;
  const taken = priced(reservation, () => void handled++, payer)(ours, connection);
  assert.is(budgets.counts.waiting, 1);
  ours.abort(new Error("over"));
  await taken;
  assert.equal([handled, budgets.counts.waiting], [0, 0]);
  assert.is(budgets.chargedUs(peer) - before, priceOf("stream"));
  budgets.stop();
});

test("what came on a stream before its turn is handed on, and what its handler throws reaches the caller", async () => {
  const [theirs, ours] = await streamPair({ protocol: reservation });
  const turn = Promise.withResolvers<void>();
  let read = 0;
  const taken = priced(reservation, async (stream) => {
    stream.addEventListener("message", ({ data }) => {
      read += data.byteLength;
      turn.resolve();
    });
    await turn.promise;
    throw new Error("its own");
  }, { ...payer(() => 0), inTurn: (_peer, _owner, _us, task) => void setTimeout(task, 50) })(ours, connection);
  theirs.send(new Uint8Array(40));
  const failed = await Promise.resolve(taken).then(() => undefined, (error: Error) => error.message);
  assert.equal([read, failed], [40, "its own"]);
  theirs.abort(new Error("over"));
});

// ── How much comes, and what circuits carry ──

const stopProtocol = "/libp2p/circuit/relay/0.2.0/stop";
const passed = () => new Promise((resolve) => setTimeout(resolve, 20));

/** A stream of a protocol whose handler reads all that comes, and what was charged and given back for it. */
async function takenStream(protocol: string, { behind = new Uint8Array() }: { readonly behind?: Uint8Array } = {}) {
  const [theirs, ours] = await streamPair({ protocol });
  if (behind.length > 0) {
    theirs.send(behind); // it comes with the negotiation
    await passed();
  }
  let [charged, refunded, read] = [0, 0, 0];
  const pays: Payer = { ...payer((us) => charged += us), refund: (_, us) => void (refunded += us) };
  const taken = priced(protocol, (stream) => {
    stream.addEventListener("message", ({ data }) => read += data.byteLength);
  }, pays)(ours, connection);
  const sends = async (bytes: Uint8Array) => {
    if (ours.status === "open") theirs.send(bytes);
    await passed();
  };
  const counts = () => ({ charged, refunded, read });
  return { ours, sends, counts, taken, over: () => theirs.abort(new Error("over")) };
}

const limitRows: [protocol: string, bytesMax: number, work: Work][] = [
  ["/ipfs/id/1.0.0", 4_096, "identify"],
  ["/ipfs/id/push/1.0.0", 8_192, "push"],
  ["/libp2p/dcutr", 65_536, "dcutr"],
  [reservation, 4_096, "relay"],
];
for (const [protocol, bytesMax, work] of limitRows) {
  test(`${protocol}: ${bytesMax} bytes are taken, in pieces too; one more resets the stream`, async () => {
    const stream = await takenStream(protocol, { behind: new Uint8Array(100) });
    await stream.sends(new Uint8Array(bytesMax - 200));
    await stream.sends(new Uint8Array(100));
    assert.is(stream.ours.status, "open");
    assert.equal(stream.counts(), { charged: priceOf("stream") + priceOf(work), refunded: 0, read: bytesMax });
    await stream.sends(new Uint8Array(1));
    assert.is.not(stream.ours.status, "open");
    assert.is(stream.counts().read, bytesMax);
    stream.over();
  });
}

test("gossip is not limited here, and costs a stream", async () => {
  const stream = await takenStream("/meshsub/1.1.0");
  await stream.sends(new Uint8Array(100_000));
  assert.is(stream.ours.status, "open");
  assert.equal(stream.counts(), { charged: priceOf("stream"), refunded: 0, read: 100_000 });
  stream.over();
});

const connects = Uint8Array.of(0x08, 0x01, 0x12, 0x00);
const stops = Uint8Array.of(0x08, 0x00, 0x12, 0x00);
const reserves = Uint8Array.of(0x08, 0x00);
const agrees = prefixLength(Uint8Array.of(0x08, 0x02, 0x22, 0x00, 0x28, 0x64));
const stopAgrees = prefixLength(Uint8Array.of(0x08, 0x01, 0x20, 0x64));
/** The same message with so many bytes. */
const longer = (message: Uint8Array, bytes: number) =>
  prefixLength(
    Buffer.concat([message, Buffer.from([0x1a, bytes - message.length - 2]), Buffer.alloc(bytes - message.length - 2)]),
  );

const circuitRows: [name: string, protocol: string, request: Uint8Array, answer: Uint8Array, isCircuit: boolean][] = [
  ["a request for a circuit that is agreed to", reservation, prefixLength(connects), agrees, true],
  ["one of 127 bytes", reservation, longer(connects, 127), agrees, true],
  ["one of 128 bytes, which are two of length", reservation, longer(connects, 128), agrees, true],
  ["a refused one", reservation, prefixLength(connects), prefixLength(Uint8Array.of(0x08, 0x02, 0x28, 0xc8)), false],
  ["one whose answer ends otherwise", reservation, prefixLength(connects), Uint8Array.of(...agrees, 0), false],
  [
    "one whose answer has another last field",
    reservation,
    prefixLength(connects),
    prefixLength(Uint8Array.of(0x08, 0x02, 0x30, 0x64)),
    false,
  ],
  ["a reservation", reservation, prefixLength(reserves), agrees, false],
  ["another type", reservation, prefixLength(Uint8Array.of(0x08, 0x02)), agrees, false],
  ["another field", reservation, prefixLength(Uint8Array.of(0x10, 0x01)), agrees, false],
  ["a circuit that a relay brings", stopProtocol, prefixLength(stops), stopAgrees, true],
  [
    "one that is refused",
    stopProtocol,
    prefixLength(stops),
    prefixLength(Uint8Array.of(0x08, 0x01, 0x20, 0xc8)),
    false,
  ],
  ["a status from a relay", stopProtocol, prefixLength(Uint8Array.of(0x08, 0x01)), stopAgrees, false],
  ["identify, which has no circuits", "/ipfs/id/push/1.0.0", prefixLength(connects), agrees, false],
];
for (const [name, protocol, request, answer, isCircuit] of circuitRows) {
  for (const pieces of [1, request.length]) {
    test(`${name}, in ${pieces === 1 ? "one piece" : "single bytes"}: octets behind it ${isCircuit ? "are given back, without a limit" : "count"}`, async () => {
      const [first, ...rest] = pieces === 1 ? [request] : Array.from(request, (_, at) => request.subarray(at, at + 1));
      const stream = await takenStream(protocol, { behind: first! });
      await Promise.all(rest.map((piece) => stream.sends(piece)));
      stream.ours.send(answer);
      const before = stream.counts().refunded;
      stream.ours.send(Uint8Array.of(1)); // what is sent behind the answer changes nothing
      await stream.sends(new Uint8Array(50_000));
      assert.is(before, 0);
      assert.is(stream.counts().refunded, isCircuit ? priceOf("bytes", 50_000) : 0);
      assert.is(stream.ours.status === "open", isCircuit);
      stream.over();
    });
  }
}

test("a handler that has its stream keeps it: the stream's end gives up nothing", async () => {
  const [theirs, ours] = await streamPair({ protocol: reservation });
  let givenUp = 0;
  const done = Promise.withResolvers<void>();
  const taken = priced(reservation, () => done.promise, { ...payer(() => 0), giveUp: () => void givenUp++ })(
    ours,
    connection,
  );
  ours.abort(new Error("over"));
  theirs.abort(new Error("over"));
  await passed();
  assert.is(givenUp, 0);
  done.resolve();
  await taken;
});

test.run();
