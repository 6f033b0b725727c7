/** What a peer's frames cost, read beside the bytes that they are made of. */
import { Buffer } from "node:buffer";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { priceOf } from "../../../transport/core/prices.ts";
import {
  defaultFrameLimits,
  FrameBudget,
  FrameBudgets,
  type FrameCost,
  frameCosts,
  FrameReader,
  frameSliceUs,
  negotiationLinesMax,
  type Scanned,
  silentStreamsMax,
} from "../../../transport/libp2p/frame_guard.ts";

const limits = { ...defaultFrameLimits, frameBytesMax: 2_097_152 };
const line = (text: string) => Buffer.concat([Buffer.from([text.length + 1]), Buffer.from(`${text}\n`)]);
const negotiation = Buffer.concat([line("/multistream/1.0.0"), line("/yamux/1.0.0")]);

function frame(
  type: "data" | "window" | "ping",
  { syn = false, end = 0, length = 0, body = new Uint8Array(), stream = 1 } = {},
): Buffer {
  const header = Buffer.alloc(12);
  header.writeUInt8({ data: 0, window: 1, ping: 2 }[type], 1);
  header.writeUInt16BE((syn ? 1 : 0) | end, 2);
  header.writeUInt32BE(stream, 4);
  header.writeUInt32BE(length, 8);
  return Buffer.concat([header, body]);
}
const data = (bytes: number, syn = false) => frame("data", { syn, length: bytes, body: Buffer.alloc(bytes, 0xff) });

const cost = (us: number, bulkUs = 0): FrameCost => ({ us, bulkUs, turnUs: us + bulkUs });

/** Everything that the bytes cost, scanned to their end. */
function costOf(bytes: Uint8Array, reader = new FrameReader(limits)): number {
  let cost = 0;
  for (let at = 0; at < bytes.length;) {
    const scanned = reader.scan(bytes, at);
    if ("broken" in scanned) throw new Error(scanned.broken);
    assert.ok(scanned.end > at, "a scan goes on");
    at = scanned.end;
    cost += scanned.us;
  }
  return cost;
}

function endOf(scanned: Scanned): number {
  if ("broken" in scanned) throw new Error(scanned.broken);
  return scanned.end;
}

function brokenBy(bytes: Uint8Array): string | undefined {
  const scanned = new FrameReader(limits).scan(bytes, 0);
  return "broken" in scanned ? scanned.broken : undefined;
}

const test = suite("FrameReader and FrameBudget");
const { opening, ping, small } = frameCosts;

const rows: [name: string, frames: Uint8Array, cost: number][] = [
  ["the negotiation of the multiplexer costs nothing", Buffer.alloc(0), 0],
  ["a stream that opens with a window update", frame("window", { syn: true }), opening],
  ["a stream that opens with data", data(5_000, true), opening],
  ["a window update, whose length is no data's", frame("window", { length: 4_294_967_295 }), small],
  ["a ping", frame("ping", { syn: true, length: 7 }), ping],
  ["data of 1,023 bytes", data(1_023), small],
  ["data of 1,024 bytes costs what its window bounds", data(1_024), 0],
  [
    "frames behind each other",
    Buffer.concat([data(70_000), frame("ping"), data(3), frame("window")]),
    ping + 2 * small,
  ],
];
for (const [name, frames, cost] of rows) {
  test(name, () => {
    const bytes = Buffer.concat([negotiation, frames]);
    assert.is(costOf(bytes), cost, "in one piece");
    const reader = new FrameReader(limits);
    let sum = 0;
    for (const byte of bytes) sum += costOf(Uint8Array.of(byte), reader);
    assert.is(sum, cost, "byte by byte");
  });
}

test("the longest frame may be as long as the largest window, and no longer", () => {
  assert.is(brokenBy(Buffer.concat([negotiation, frame("data", { length: limits.frameBytesMax })])), undefined);
  const over = frame("data", { length: limits.frameBytesMax + 1 });
  assert.match(brokenBy(Buffer.concat([negotiation, over])) ?? "", /a frame of 2097153 bytes/);
});

test("makeMtlsSecurity() takes the longest frames that libp2p's yamux sends by itself: it once cut off honest senders over many streams", () => {
  const scanned = (length: number) =>
    new FrameReader(defaultFrameLimits).scan(Buffer.concat([negotiation, frame("data", { length })]), 0);
  assert.ok("end" in scanned(16 * 1_048_576));
  assert.ok("broken" in scanned(16 * 1_048_576 + 1));
});

test("the multiplexer is agreed on within so many lines, of which none is empty or long", () => {
  const lines = (count: number) => Buffer.concat(Array.from({ length: count }, () => line("/x")));
  assert.is(brokenBy(lines(negotiationLinesMax)), undefined);
  assert.match(brokenBy(lines(negotiationLinesMax + 1)) ?? "", /does not agree/);
  assert.is(brokenBy(line("x".repeat(126))), undefined);
  assert.match(brokenBy(Uint8Array.of(0)) ?? "", /cannot be read/);
  assert.match(brokenBy(Uint8Array.of(0x80, 1)) ?? "", /cannot be read/);
});

test("frames come first where TLS has agreed on the multiplexer: lines are no frames then", () => {
  const reader = () => new FrameReader(limits, { beginsWith: "frames" });
  assert.is(costOf(Buffer.concat([frame("ping", { syn: true }), frame("window")]), reader()), ping + small);
  const over = frame("data", { length: limits.frameBytesMax + 1 });
  assert.ok("broken" in reader().scan(over, 0));
  assert.ok("broken" in new FrameReader(limits).scan(frame("ping"), 0), "without an agreement, lines come first");
});

test("bug: bulk data on streams that were not open cost nothing: it costs nothing on open streams of this side alone", () => {
  const bulk = (stream: number, length = 65_536) => frame("data", { length, body: Buffer.alloc(length), stream });
  const open = new Set([2, 258]);
  const bulkUsOf = (bytes: Uint8Array) => {
    const scanned = new FrameReader(limits, { beginsWith: "frames", isOwn: (stream) => open.has(stream) }).scan(
      bytes,
      0,
    );
    if ("broken" in scanned) throw new Error(scanned.broken);
    return scanned.bulkUs;
  };
  const paid = priceOf("bytes", 65_536);
  assert.equal([1, 2, 4, 258, 0x0100_0002, 0x8000_0002].map((stream) => bulkUsOf(bulk(stream))), [
    paid,
    0,
    paid,
    0,
    paid,
    paid,
  ]);
  open.delete(2);
  assert.is(bulkUsOf(bulk(2)), paid, "it is over");
  assert.equal([1_023, 1_024].map((length) => bulkUsOf(bulk(2, length))), [0, priceOf("bytes", 1_024)]);
  const unknown = new FrameReader(limits, { beginsWith: "frames" }).scan(bulk(2), 0);
  assert.is("bulkUs" in unknown && unknown.bulkUs, paid, "without a multiplexer there is no stream");
});

test("a scan stops where a slice is used up, and goes on there", () => {
  const pings = Buffer.concat([negotiation, ...Array.from({ length: 1_000 }, () => frame("ping"))]);
  const scanned = new FrameReader(limits).scan(pings, 0);
  assert.ok("end" in scanned && scanned.us === frameSliceUs);
  assert.is("end" in scanned ? scanned.end : 0, negotiation.length + 12 * (frameSliceUs / ping));
  assert.is(costOf(pings), 1_000 * ping);
});

test("a budget is spent, waited for and filled again, never above its burst", () => {
  const budget = new FrameBudget(limits);
  assert.is(budget.waitMs(0), 0);
  budget.spend(cost(limits.burstUs), 0);
  const wait = budget.waitMs(0);
  assert.ok(wait > 0 && wait <= frameSliceUs / limits.perSecondUs * 1_000, String(wait));
  assert.is(budget.waitMs(wait), 0);
  assert.is(budget.waitMs(3_600_000), 0);
  budget.spend(cost(limits.burstUs), 3_600_000);
  assert.ok(budget.waitMs(3_600_000) > 0, "an hour fills one burst, not more");
});

test("a clock that goes back fills nothing", () => {
  const budget = new FrameBudget(limits);
  budget.spend(cost(limits.burstUs), 1_000_000);
  assert.ok(budget.waitMs(0) > 0);
});

test("bulk data counts once, in the scan that met it", () => {
  const reader = new FrameReader(limits, { beginsWith: "frames" });
  const bulkUsOf = (bytes: Uint8Array) => {
    const scanned = reader.scan(bytes, 0);
    return "bulkUs" in scanned ? scanned.bulkUs : undefined;
  };
  assert.equal([data(2_048), frame("ping"), data(1_024)].map(bulkUsOf), [2, 0, 1]);
});

test("a wait is as long as the deficit takes, in a spend of a later time too", () => {
  const [budget, deficitMs] = [new FrameBudget(limits), 10_000];
  budget.spend(cost(limits.burstUs + limits.perSecondUs * deficitMs / 1_000), 0);
  const sliceMs = frameSliceUs / limits.perSecondUs * 1_000;
  assert.equal([0, deficitMs, deficitMs + 1].map((now) => budget.waitMs(now)), [deficitMs + sliceMs, sliceMs, 0]);
  budget.spend(cost(limits.burstUs), 2 * deficitMs);
  assert.is(budget.waitMs(2 * deficitMs), sliceMs, "it was full again before it was spent");
});

test("a peer is charged for its frames and its bulk data together, and waits for the longer of both", () => {
  const charged: [peer: string, us: number][] = [];
  const budgets = new FrameBudgets(limits, (peer, us) => {
    charged.push([peer, us]);
    return us === 0 ? 7 : 1_000;
  });
  const budget = budgets.hold("a");
  budget.spend(cost(10, 5), 0);
  budget.spend(cost(1), 0);
  budget.spend(cost(0), 0);
  budget.spend(cost(0, 100_000_000), 0);
  assert.equal(charged, [["a", 15], ["a", 1], ["a", 100_000_000]], "what costs nothing is not charged");
  budget.spend(cost(limits.burstUs - 12), 0);
  assert.is(
    budget.waitMs(0),
    7,
    "of its frames' own budget, which bulk data does not count in, one microsecond is left",
  );
  assert.equal(charged.at(-1), ["a", 0]);
  budget.spend(cost(1), 0);
  assert.is(budget.waitMs(0), frameSliceUs / limits.perSecondUs * 1_000);
});

test("bug: the first data of each of 300 streams was handed on in one turn: a protocol is agreed on for each", () => {
  const reader = new FrameReader(limits, { beginsWith: "frames" });
  const opened = Buffer.concat(Array.from({ length: 300 }, (_, nth) => frame("window", { syn: true, stream: nth })));
  for (let at = 0; at < opened.length;) at = endOf(reader.scan(opened, at));
  const first = Buffer.concat(
    Array.from({ length: 300 }, (_, nth) => frame("data", { length: 1, body: Buffer.alloc(1), stream: nth })),
  );
  const scanned = reader.scan(first, 0);
  assert.ok("us" in scanned);
  const each = small + priceOf("stream");
  const frames = Math.ceil(frameSliceUs / each);
  assert.equal(scanned, { end: 13 * frames - 1, us: frames * small, bulkUs: 0, turnUs: frames * each });
});

const turnRows: [name: string, frames: Buffer, turnUs: number][] = [
  [
    "data behind a window update that opens",
    Buffer.concat([frame("window", { syn: true }), data(1)]),
    opening + small + priceOf("stream"),
  ],
  ["data that opens", data(1, true), opening + priceOf("stream")],
  ["bulk data that opens", data(1_024, true), opening + priceOf("stream") + priceOf("bytes", 1_024)],
  ["the second data of a stream", Buffer.concat([data(1, true), data(1)]), opening + priceOf("stream") + small],
  [
    "data on each of two streams",
    Buffer.concat(
      [1, 2].map((stream) => frame("window", { syn: true, stream })).concat(
        [1, 2].map((stream) => frame("data", { length: 1, body: Buffer.alloc(1), stream })),
      ),
    ),
    2 * (opening + small + priceOf("stream")),
  ],
  ["data on a stream that was not opened", data(1), small],
  ["data of no bytes", Buffer.concat([frame("window", { syn: true }), data(0)]), opening + small],
  ...[4, 8].map((end): [string, Buffer, number] => [
    `data behind an end (${end})`,
    Buffer.concat([frame("window", { syn: true }), frame("window", { end }), data(1)]),
    opening + 2 * small,
  ]),
];
for (const [name, frames, turnUs] of turnRows) {
  test(`${name} costs its turn ${turnUs}`, () => {
    const scanned = new FrameReader(limits, { beginsWith: "frames" }).scan(frames, 0);
    assert.is("turnUs" in scanned ? scanned.turnUs : undefined, turnUs);
  });
}

test("bug: streams that the multiplexer refused took the places of real ones, whose first data then cost a turn nothing", () => {
  const own = silentStreamsMax + 10;
  const reader = new FrameReader(limits, { beginsWith: "frames", isOwn: (stream) => stream === own });
  const opens = (stream: number) => reader.scan(frame("window", { syn: true, stream }), 0);
  for (let stream = 0; stream < silentStreamsMax; stream++) opens(stream);
  const turnUsOf = (stream: number) => {
    const scanned = reader.scan(frame("data", { length: 1, body: Buffer.alloc(1), stream }), 0);
    return "turnUs" in scanned ? scanned.turnUs : undefined;
  };
  const first = small + priceOf("stream");
  assert.equal([0, 0, own].map(turnUsOf), [first, small, small]);
  const forgotten = silentStreamsMax + 1;
  for (const stream of [silentStreamsMax, forgotten, own]) opens(stream);
  // One was forgotten: which one is not known, so all data on a stream that is not remembered counts as its first.
  assert.equal([forgotten, forgotten, 0].map(turnUsOf), [first, first, first]);
  // A number of this side that a peer opens is not remembered either, where there are so many: the set does not grow.
  assert.equal([1, 2, own].map(turnUsOf), [first, first, small]);
});

test("a scan ends where the turn does", () => {
  const reader = new FrameReader(limits, { beginsWith: "frames" });
  const pings = Buffer.concat(Array.from({ length: 10 }, () => frame("ping")));
  assert.is(endOf(reader.scan(pings, 0, 2 * ping)), 24);
  assert.is(endOf(reader.scan(pings, 24, 2 * ping + 1)), 60);
});

test("bug: each connection of a peer, and each piece that arrived, had a turn of its own: they share one", () => {
  const nextTurn: (() => void)[] = [];
  const budget = new FrameBudget(limits, undefined, (task) => void nextTurn.push(task));
  budget.spend({ us: 0, bulkUs: 0, turnUs: 0 }, 0);
  assert.equal([budget.turnLeftUs, nextTurn.length], [frameSliceUs, 0]);
  budget.spend({ us: 1, bulkUs: 2, turnUs: 1_000 }, 0);
  budget.spend({ us: 1, bulkUs: 0, turnUs: frameSliceUs }, 0);
  assert.equal([budget.turnLeftUs, nextTurn.length], [-1_000, 1]);
  nextTurn.pop()?.();
  assert.is(budget.turnLeftUs, frameSliceUs);
  budget.spend(cost(1), 0);
  assert.equal([budget.turnLeftUs, nextTurn.length], [frameSliceUs - 1, 1]);
});

test("connections of one peer share a budget, which goes with the last of them", () => {
  const budgets = new FrameBudgets(limits);
  const first = budgets.hold("a");
  assert.is(budgets.hold("a"), first);
  assert.is.not(budgets.hold("b"), first);
  budgets.release("a");
  assert.is(budgets.size, 2);
  budgets.release("a");
  budgets.release("b");
  budgets.release("b");
  assert.is(budgets.size, 0);
});

test.run();
