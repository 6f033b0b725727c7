/** What a connection hands on of its peer's frames and when, and how it writes and ends. The socket is played; `connections.test.ts` has real ones. */
import { Buffer } from "node:buffer";
import { setImmediate, setTimeout } from "node:timers/promises";
import type { Stream } from "@libp2p/interface";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { priceOf } from "../../../transport/core/prices.ts";
import { PeerLost } from "../../../transport/libp2p/first_ping.ts";
import { FrameBudget, frameCosts, type FrameLimits, frameSliceUs } from "../../../transport/libp2p/frame_guard.ts";
import { silentLogger } from "../../../transport/libp2p/node.ts";
import { SecuredStream } from "../../../transport/libp2p/secured_stream.ts";
import { PlayedSocket } from "../../support/played_socket.ts";

const test = suite("SecuredStream");
const boundless: FrameLimits = { perSecondUs: 1e12, burstUs: 1e12, frameBytesMax: 65_536 };

/** A ping of yamux, with a number. */
function ping(number: number): Buffer {
  const bytes = Buffer.from([0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  bytes.writeUInt32BE(number, 8);
  return bytes;
}
const pings = (from: number, count: number) => Buffer.concat(Array.from({ length: count }, (_, at) => ping(from + at)));
const data = (stream: number, length: number) => {
  const bytes = Buffer.alloc(12 + length);
  bytes.writeUInt32BE(stream, 4);
  bytes.writeUInt32BE(length, 8);
  return bytes;
};
/** Pings that fill one turn of the event loop. */
const perTurn = Math.ceil(frameSliceUs / frameCosts.ping);

interface Making {
  readonly limits?: FrameLimits;
  readonly guarded?: boolean;
  /** Whether frames that cannot be read are reported. */
  readonly reportsBroken?: boolean;
}

/** A connection, and what came of it. */
function made({ limits, guarded = true, reportsBroken = true }: Making = {}) {
  const played = new PlayedSocket();
  const clock = { ms: 0, reads: 0, chargedMs: 0 };
  let chargedUs = 0;
  const budget = new FrameBudget(limits ?? boundless, (us) => {
    chargedUs += us;
    return clock.chargedMs;
  });
  const [ends, broken, handedOn]: [string[], string[], Buffer[]] = [[], [], []];
  const meter = { received: 0, sent: 0 };
  const stream = new SecuredStream({
    socket: played.socket,
    direction: "inbound",
    log: silentLogger.forComponent("test"),
    meter,
    onEnd: (by, detail) => ends.push(`${by}: ${detail}`),
    ...(reportsBroken ? { onBroken: (detail: string) => broken.push(detail) } : {}),
    ...(guarded ? { budget } : {}),
    beginsWith: "frames",
    now: () => {
      clock.reads += 1;
      return clock.ms;
    },
  });
  stream.addEventListener("message", ({ data }) => handedOn.push(Buffer.from(data.subarray())));
  const feed = (bytes: Uint8Array) => void played.emit("data", bytes);
  const { calls } = played;
  return { played, calls, clock, stream, ends, broken, handedOn, meter, feed, charged: () => chargedUs };
}

const turns = async (count: number) => {
  for (let turn = 0; turn < count; turn++) await setImmediate();
};

test("what costs more than a turn waits for the next ones, in order, and the socket is paused meanwhile", async () => {
  const { feed, handedOn, calls, meter } = made();
  const first = pings(0, 2 * perTurn + 10), rest = pings(2 * perTurn + 10, 5);
  feed(first);
  feed(rest);
  assert.equal([handedOn.length, handedOn[0]?.length, calls.join()], [1, perTurn * 12, "pause"]);
  await turns(1);
  assert.equal([handedOn.length, handedOn[1]?.length], [2, perTurn * 12]);
  assert.not.ok(calls.includes("resume"));
  await turns(3);
  assert.ok(Buffer.concat(handedOn).equals(Buffer.concat([first, rest])));
  assert.is(calls.at(-1), "resume");
  assert.is(calls.filter((each) => each === "resume").length, 1);
  assert.is(meter.received, first.length + rest.length);
  feed(ping(9));
  assert.is(handedOn.at(-1)?.length, 12, "nothing is held any longer");
});

test("all connections of a peer share a turn: what finds it used up waits", async () => {
  const { feed, handedOn, calls } = made();
  feed(pings(0, perTurn));
  assert.equal([handedOn.length, calls], [1, []]);
  feed(ping(1));
  assert.equal([handedOn.length, calls], [1, ["pause"]]);
  await turns(2);
  assert.equal([handedOn.length, calls], [2, ["pause", "resume"]]);
});

test("a peer over its budget waits until it has some again", async () => {
  const limits = { ...boundless, perSecondUs: 100_000, burstUs: 1_000 };
  const { feed, handedOn, calls, clock } = made({ limits });
  const many = Math.ceil(2_000 / frameCosts.ping);
  feed(pings(0, many));
  feed(ping(1));
  assert.equal([handedOn.length, calls], [1, ["pause"]]);
  await turns(20);
  assert.is(handedOn.length, 1);
  // Its clock says that no time has passed: it waits as long again.
  await setTimeout(120);
  assert.is(handedOn.length, 1);
  clock.ms += 1_000;
  await setTimeout(120);
  assert.equal([handedOn.length, calls.at(-1)], [2, "resume"]);
});

test("a wait of a millisecond is one, and uses no processor", async () => {
  const { feed, handedOn, clock } = made();
  clock.chargedMs = 1;
  feed(ping(0));
  assert.is(handedOn.length, 0);
  await setTimeout(20);
  assert.is(handedOn.length, 0);
  assert.ok(clock.reads < 100, `${clock.reads} tries in 20 ms`);
  clock.chargedMs = 0;
  await setTimeout(20);
  assert.is(handedOn.length, 1);
});

test("the least of bulk data has its price", () => {
  const { feed, charged } = made();
  feed(data(99, 1_024));
  assert.is(charged(), priceOf("bytes", 1_024));
});

test("what costs nothing is handed on, and no turn is counted", async () => {
  const { feed, handedOn, charged } = made();
  feed(ping(0).subarray(0, 5));
  assert.equal([handedOn.length, charged()], [1, 0]);
  feed(ping(0).subarray(5));
  assert.equal([handedOn.length, charged()], [2, frameCosts.ping]);
  await turns(1);
});

test("the peer's end comes after what is held", async () => {
  const { feed, handedOn, stream, played, ends } = made();
  let isOver = false;
  stream.addEventListener("remoteCloseWrite", () => void (isOver = true));
  feed(pings(0, 2 * perTurn));
  played.emit("end");
  assert.equal([ends, isOver], [["them: the peer ended the connection"], false]);
  await turns(1);
  assert.equal([Buffer.concat(handedOn).length, isOver], [2 * perTurn * 12, true]);
  assert.not.ok(played.calls.includes("resume"));
  const other = made();
  other.played.emit("end");
  assert.is(other.stream.remoteWriteStatus, "closed", "at once where nothing is held");
});

test("frames that cannot be read end the connection, and are not handed on", () => {
  const { feed, handedOn, stream, broken, calls } = made();
  feed(data(1, 65_537).subarray(0, 12));
  assert.equal([handedOn.length, stream.status, broken, calls], [
    0,
    "aborted",
    ["a frame of 65537 bytes"],
    ["destroy"],
  ]);
  const silent = made({ reportsBroken: false });
  silent.feed(data(1, 65_537).subarray(0, 12));
  assert.is(silent.stream.status, "aborted");
});

test("nothing is held for a connection that ends with what it hands on, nor for one whose socket closes", async () => {
  const aborted = made();
  aborted.stream.addEventListener("message", () => aborted.stream.abort(new Error("enough")));
  aborted.feed(pings(0, 2 * perTurn));
  assert.equal(aborted.calls, ["destroy"]);
  const closed = made();
  closed.feed(pings(0, 2 * perTurn));
  const before = closed.charged();
  closed.played.emit("close");
  await turns(3);
  assert.equal([closed.handedOn.length, closed.calls, closed.stream.status], [1, ["pause"], "closed"]);
  assert.is(closed.charged(), before, "what was dropped is not looked at");
  const waits = made({ limits: { ...boundless, perSecondUs: 100_000, burstUs: 1 } });
  waits.feed(ping(0));
  waits.feed(ping(1));
  waits.stream.abort(new Error("enough"));
  waits.clock.ms += 1_000;
  await setTimeout(100);
  assert.equal([waits.handedOn.length, waits.calls, waits.charged()], [1, ["pause", "destroy"], frameCosts.ping]);
});

test("what is held is released with the end of its connection, though something still refers to that", async () => {
  const { gc } = globalThis as unknown as { readonly gc: () => void };
  const { feed, stream } = made();
  const rest = (() => {
    const bytes = ping(1);
    feed(pings(0, perTurn));
    feed(bytes);
    return new WeakRef(bytes);
  })();
  stream.abort(new Error("done"));
  for (let tries = 0; tries < 20 && rest.deref() !== undefined; tries++) {
    await turns(2);
    gc();
  }
  assert.is(rest.deref(), undefined);
  assert.is(stream.status, "aborted");
});

test("reading that its user paused goes on with the user, and not before what is held", async () => {
  const { feed, stream, calls, handedOn } = made();
  stream.pause();
  assert.equal(calls, ["pause"]);
  feed(pings(0, 2 * perTurn));
  await turns(2);
  assert.not.ok(calls.includes("resume"), "its user paused it");
  stream.resume();
  assert.equal([calls.at(-1), Buffer.concat(handedOn).length], ["resume", 2 * perTurn * 12]);
  const held = made();
  held.feed(pings(0, 2 * perTurn));
  held.stream.pause();
  held.stream.resume();
  assert.not.ok(held.calls.includes("resume"), "a piece is held");
  await turns(1);
  assert.is(held.calls.at(-1), "resume");
});

test("without a budget frames are not looked at", () => {
  const { feed, handedOn, stream } = made({ guarded: false });
  feed(data(1, 65_537).subarray(0, 12));
  feed(pings(0, 3 * perTurn));
  assert.equal([handedOn.map(({ length }) => length), stream.status], [[12, 3 * perTurn * 12], "open"]);
});

const streams: [readStatus: Stream["readStatus"], remote: Stream["remoteWriteStatus"], isFree: boolean][] = [
  ["readable", "writable", true],
  ["paused", "writable", true],
  ["closing", "writable", false],
  ["readable", "closed", false],
];
for (const [readStatus, remoteWriteStatus, isFree] of streams) {
  test(`bulk data on an own stream (${readStatus}, ${remoteWriteStatus}) ${isFree ? "is free" : "has its price"}`, () => {
    const { stream, feed, charged } = made();
    const listeners: (() => void)[] = [];
    const addEventListener = (_: string, listener: () => void) => void listeners.push(listener);
    const own = (status: string, id: number) =>
      ({ id: String(id), status, readStatus, remoteWriteStatus, addEventListener }) as unknown as Stream;
    stream.opened(own("open", 1));
    stream.opened(own("open", 3));
    stream.opened(own("closed", 5));
    const costUs = (id: number) => {
      const before = charged();
      feed(data(id, 2_048));
      return charged() - before;
    };
    const price = priceOf("bytes", 2_048);
    assert.equal([costUs(1), costUs(3), costUs(5)], [isFree ? 0 : price, isFree ? 0 : price, price]);
    listeners[0]!();
    assert.equal([costUs(1), costUs(3)], [price, isFree ? 0 : price]);
    listeners[1]!();
    assert.is(costUs(3), price);
  });
}

test("what is sent in one turn leaves in one write, bulk at once", async () => {
  const { stream, calls, meter } = made();
  stream.send(Buffer.alloc(10));
  stream.send(Buffer.alloc(20));
  assert.equal(calls, ["cork", "write 10", "write 20"]);
  await turns(1);
  assert.equal(calls.splice(0), ["cork", "write 10", "write 20", "uncork"]);
  stream.send(Buffer.alloc(4_096));
  assert.equal(calls.splice(0), ["cork", "write 4096", "uncork"]);
  stream.send(Buffer.alloc(4_095));
  stream.send(Buffer.alloc(5_000));
  assert.equal(calls.splice(0), ["cork", "write 4095", "write 5000", "uncork"]);
  await turns(1);
  assert.equal([calls, meter.sent], [[], 30 + 4_096 + 4_095 + 5_000]);
});

test("a full socket takes no more until it has drained", async () => {
  const { stream, played, calls } = made();
  played.hasRoom = false;
  assert.equal([stream.send(Buffer.alloc(10)), stream.send(Buffer.alloc(11))], [false, false]);
  assert.equal(calls, ["cork", "write 10"]);
  played.hasRoom = true;
  played.emit("drain");
  await turns(1);
  assert.ok(calls.includes("write 11"));
});

const ends: [name: string, end: (made_: ReturnType<typeof made>) => void, said: readonly string[]][] = [
  ["an end", ({ played }) => played.emit("end"), ["them: the peer ended the connection"]],
  ["an error", ({ played }) => played.emit("error", new Error("ECONNRESET")), ["lost: ECONNRESET"]],
  ["silence", ({ stream }) => stream.abort(new PeerLost("no answer to a ping for 20000 ms")), [
    "lost: no answer to a ping for 20000 ms",
  ]],
  ["this side", ({ stream }) => stream.abort(new Error("enough")), []],
  ["an end and then an error", ({ played }) => {
    played.emit("end");
    played.emit("error", new Error("ECONNRESET"));
  }, ["them: the peer ended the connection"]],
];
for (const [name, end, said] of ends) {
  test(`how it ended is reported once: ${name}`, () => {
    const connection = made();
    end(connection);
    assert.equal(connection.ends, said);
    assert.is(connection.stream.status === "aborted", name !== "an end");
  });
}

test("closing waits for the other side's end; late answers of the multiplexer go nowhere", async () => {
  const { stream, played, calls } = made();
  assert.is(stream.shutDown, false);
  let isClosed = false;
  const closing = stream.close().then(() => void (isClosed = true));
  await turns(2);
  assert.equal([calls, isClosed, stream.shutDown, stream.send(Buffer.alloc(3))], [["end"], false, true, true]);
  assert.equal(calls, ["end"]);
  played.emit("close");
  await closing;
  assert.equal([isClosed, stream.status, played.listenerCount("close")], [true, "closed", 0]);
  await stream.close();
  assert.equal(calls, ["end"], "once");
});

test("closing comes after what is queued", async () => {
  const { stream, played, calls } = made();
  played.hasRoom = false;
  stream.send(Buffer.alloc(10));
  stream.send(Buffer.alloc(11));
  const closing = stream.close();
  await turns(2);
  assert.not.ok(calls.includes("end"));
  played.hasRoom = true;
  played.emit("drain");
  await turns(2);
  assert.equal(calls.filter((each) => each !== "cork" && each !== "uncork"), ["write 10", "write 11", "end"]);
  played.emit("close");
  await closing;
});

test("a signal whose closing is over keeps nothing of the connection", async () => {
  const { stream, played } = made();
  const { signal } = new AbortController();
  let listeners = 0;
  const add = signal.addEventListener.bind(signal), remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => (listeners += 1, add(...args));
  signal.removeEventListener = (...args: Parameters<typeof remove>) => (listeners -= 1, remove(...args));
  const closing = stream.close({ signal });
  await turns(2);
  assert.is(listeners, 1);
  played.emit("close");
  await closing;
  assert.is(listeners, 0);
});

test("closing ends with its signal's reason, or at once where the socket is gone", async () => {
  const late = made();
  const controller = new AbortController();
  const closing = late.stream.close({ signal: controller.signal }).catch((error: unknown) => error);
  await turns(2);
  controller.abort(new Error("too long"));
  assert.is((await closing as Error).message, "too long");
  assert.is(late.played.listenerCount("close"), 1, "its own is gone");
  const aborted = made();
  const error = await aborted.stream.close({ signal: AbortSignal.abort(new Error("no")) }).catch((error: unknown) =>
    error
  );
  assert.is((error as Error).message, "no");
  const gone = made();
  gone.played.destroyed = true;
  await gone.stream.close();
  assert.is(gone.stream.status, "closed");
});

test.run();
