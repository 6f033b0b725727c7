/** A stream's handle over a pair in memory: back-pressure both ways, ends, stalls and interruption. */
import { Cause, Effect, Exit, Fiber } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { heldBytesHigh, heldBytesMax, ReadBudgets } from "../../../transport/core/held_bytes.ts";
import { joinedMaxBytes, OwnedStream, streamBufferMax, streamStallMs } from "../../../transport/core/stream_handle.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { NotedListener, type PairOptions, StreamPair } from "../../support/wire_pair.ts";

const test = suite("OwnedStream");

/** A handle at end `b`; the test is at `a`. */
function inbound(options: PairOptions = {}, held = new ReadBudgets()) {
  const clock = new ManualClock();
  const pair = new StreamPair(clock, "/hypha-tensor-stream/push", options);
  const closed: string[] = [];
  const owned = new OwnedStream({
    id: "1",
    peer: "peer",
    protocol: "/hypha-tensor-stream/push",
    clock,
    held,
    closed: (how) => closed.push(how),
  });
  const there = new NotedListener();
  pair.open(there, (stream) => {
    owned.attach(stream);
    return owned;
  });
  clock.pass(0);
  return { clock, pair, owned, handle: owned.handle, there, closed };
}
/** Lets fibers go on, and then what the clock has. */
async function settled(clock: ManualClock): Promise<void> {
  for (let turn = 0; turn < 3; turn++) {
    await new Promise((resolve) => setTimeout(resolve));
    clock.pass(0);
  }
}
const codeOf = (exit: Exit.Exit<unknown, { readonly code: string }>) =>
  Exit.isFailure(exit)
    ? Cause.findErrorOption(exit.cause).pipe((found) => found._tag === "Some" ? found.value.code : "")
    : "done";

test("a reader gets what was sent, then its end, and the end again", async () => {
  const { clock, pair, handle, closed } = inbound();
  pair.a.send(Uint8Array.of(1));
  pair.a.end(Uint8Array.of(2));
  clock.pass(0);
  assert.equal(await Effect.runPromise(handle.read), { type: "bytes", bytes: Uint8Array.of(1, 2) });
  assert.equal(await Effect.runPromise(handle.read), { type: "end", outcome: "whole" });
  assert.equal(await Effect.runPromise(handle.read), { type: "end", outcome: "whole" });
  await Effect.runPromise(handle.end);
  clock.pass(0);
  assert.equal([closed, pair.a.how, clock.waiting], [["done"], "done", 0]);
});

test("a reader that waits is served by what arrives", async () => {
  const { clock, pair, handle } = inbound();
  const reading = Effect.runPromise(handle.read);
  await settled(clock);
  assert.equal(clock.waits, [streamStallMs]);
  pair.a.send(Uint8Array.of(1));
  clock.pass(0);
  assert.equal(await reading, { type: "bytes", bytes: Uint8Array.of(1) });
  assert.is(clock.waiting, 0);
});

test("bug: a piece of one octet kept a whole socket buffer in memory, and counted as one octet", async () => {
  const { owned, handle } = inbound();
  const pieces = 3 * joinedMaxBytes / 2;
  for (let each = 0; each < pieces; each++) {
    owned.data(new Uint8Array(16_384).subarray(each % 16_384, each % 16_384 + 1));
  }
  const large = new Uint8Array(16_384).fill(7);
  owned.data(large.subarray(100)); // most of its buffer
  owned.data(large.subarray(0, 8_000)); // less than half of it
  owned.data(Uint8Array.of(8));
  owned.ended();
  const chunks: Uint8Array[] = [];
  for (let chunk = await Effect.runPromise(handle.read); chunk.type === "bytes";) {
    chunks.push(chunk.bytes);
    chunk = await Effect.runPromise(handle.read);
  }
  assert.equal(chunks.map(({ length }) => length), [joinedMaxBytes, joinedMaxBytes / 2, 16_284, 8_001]);
  assert.ok(chunks.every(({ buffer, length }) => buffer.byteLength <= 2 * length));
  assert.is(chunks[2]?.buffer, large.buffer, "bulk is not copied");
  assert.equal([...chunks.at(-1) ?? []].slice(-2), [7, 8]);
});

test("a reader that waits gets a piece as it arrived: nothing holds it", async () => {
  const { owned, handle } = inbound();
  const reading = Effect.runPromise(handle.read);
  await new Promise((resolve) => setTimeout(resolve));
  const piece = new Uint8Array(16_384).subarray(0, 1);
  owned.data(piece);
  const chunk = await reading;
  assert.is(chunk.type === "bytes" && chunk.bytes, piece);
});

test("a stream that broke is broken once everything that arrived was read; a whole one stays whole", async () => {
  for (const [isEnded, outcome] of [[false, "broken"], [true, "whole"]] as const) {
    const { clock, pair, handle, closed } = inbound();
    pair.a.send(Uint8Array.of(1));
    if (isEnded) pair.a.end();
    clock.pass(0);
    pair.close("connection");
    clock.settle();
    assert.equal(closed, ["connection"]);
    assert.equal(await Effect.runPromise(handle.read), { type: "bytes", bytes: Uint8Array.of(1) });
    assert.equal(await Effect.runPromise(handle.read), { type: "end", outcome });
    assert.is(codeOf(await Effect.runPromiseExit(handle.write(Uint8Array.of(1)))), "stream-reset");
    assert.is(codeOf(await Effect.runPromiseExit(handle.end)), "stream-reset");
  }
});

test("a reader that lags behind pauses the stream once, and resumes it when a quarter is left to read", async () => {
  const { clock, pair, handle } = inbound();
  const eighth = streamBufferMax / 8;
  for (let piece = 0; piece < 12; piece++) pair.a.send(new Uint8Array(eighth));
  clock.pass(0);
  assert.equal(pair.b.told, ["pause"]);
  for (let read = 1; read <= 6; read++) {
    await Effect.runPromise(handle.read);
    assert.equal(pair.b.told, read < 6 ? ["pause"] : ["pause", "resume"], `after ${read} pieces`);
  }
  clock.pass(0); // four more arrive, on the two that were left
  assert.equal(pair.b.told, ["pause", "resume"]);
  pair.a.send(new Uint8Array(streamBufferMax));
  pair.a.end();
  clock.pass(0);
  assert.equal(pair.b.told, ["pause", "resume", "pause"]);
  let bytes = 6 * eighth;
  for (let chunk = await Effect.runPromise(handle.read); chunk.type === "bytes";) {
    bytes += chunk.bytes.length;
    clock.pass(0);
    chunk = await Effect.runPromise(handle.read);
  }
  assert.is(bytes, 12 * eighth + streamBufferMax);
});

test("a writer waits until the stream has taken everything, and an end after it too", async () => {
  const { clock, pair, handle, there } = inbound({ windowBytes: 100 });
  pair.hold(pair.a);
  await Effect.runPromise(handle.write(new Uint8Array(100)));
  const writing = Effect.runFork(handle.write(new Uint8Array(50)));
  const ending = Effect.runFork(handle.end);
  await settled(clock);
  assert.equal(pair.b.told, ["send 100", "send 50"]);
  assert.is(codeOf(await Effect.runPromiseExit(handle.write(new Uint8Array(1)))), "stream-reset", "after the end");
  pair.release(pair.a);
  clock.pass(0);
  assert.equal([
    codeOf(await Effect.runPromise(Fiber.await(writing))),
    codeOf(await Effect.runPromise(Fiber.await(ending))),
  ], [
    "done",
    "done",
  ]);
  clock.pass(0);
  assert.equal([pair.b.told.at(-1), there.bytes.length, there.heard.at(-1)], ["end", 150, "ended"]);
  assert.is(clock.waiting, 0);
});

test("a read or write on which nothing moves for a minute breaks the stream", async () => {
  for (const direction of ["read", "write"] as const) {
    const { clock, pair, handle, closed } = inbound({ windowBytes: 10 });
    pair.hold(pair.a);
    const waiting = Effect.runFork(
      direction === "read" ? Effect.asVoid(handle.read) : handle.write(new Uint8Array(11)),
    );
    await settled(clock);
    clock.pass(streamStallMs - 1);
    assert.equal(closed, []);
    clock.pass(1);
    assert.equal([closed, pair.a.how], [["reset"], "reset"]);
    const exit = await Effect.runPromise(Fiber.await(waiting));
    assert.is(codeOf(exit), direction === "read" ? "done" : "stream-reset");
    assert.equal(await Effect.runPromise(handle.read), { type: "end", outcome: "broken" });
    assert.is(clock.waiting, 0);
  }
});

test("an interrupted read or write gives its wait up: the stream lives, no timer stays, the next reader gets the piece", async () => {
  const { clock, pair, handle, closed } = inbound({ windowBytes: 10 });
  pair.hold(pair.a);
  const reading = Effect.runFork(handle.read);
  const writing = Effect.runFork(handle.write(new Uint8Array(11)));
  await settled(clock);
  assert.is(clock.waiting, 2);
  await Effect.runPromise(Fiber.interrupt(reading));
  await Effect.runPromise(Fiber.interrupt(writing));
  assert.is(clock.waiting, 0);
  pair.a.send(Uint8Array.of(5));
  clock.pass(streamStallMs);
  assert.equal(await Effect.runPromise(handle.read), { type: "bytes", bytes: Uint8Array.of(5) });
  assert.equal(closed, []);
});

test("an end that was interrupted while it waited still comes, and its deadline stays", async () => {
  for (const isReleased of [true, false]) {
    const { clock, pair, handle, there, closed } = inbound({ windowBytes: 10 });
    pair.hold(pair.a);
    const writing = Effect.runFork(handle.write(new Uint8Array(11)));
    const ending = Effect.runFork(handle.end);
    await settled(clock);
    await Effect.runPromise(Fiber.interrupt(ending));
    await Effect.runPromise(Fiber.interrupt(writing));
    assert.is(clock.waiting, 1);
    if (isReleased) pair.release(pair.a);
    clock.pass(streamStallMs);
    assert.equal([there.heard.at(-1), closed], isReleased ? ["ended", []] : ["closed reset", ["reset"]]);
    assert.is(clock.waiting, 0);
  }
});

test("aborting ends waiting reads and writes at once, and says so once", async () => {
  const { clock, pair, handle, owned, closed } = inbound({ windowBytes: 10 });
  pair.hold(pair.a);
  const reading = Effect.runPromise(handle.read);
  const writing = Effect.runPromiseExit(handle.write(new Uint8Array(11)));
  await settled(clock);
  await Effect.runPromise(handle.abort("enough"));
  assert.equal([closed, clock.waiting], [["reset"], 0]);
  owned.abort("again");
  clock.pass(0);
  assert.equal([await reading, codeOf(await writing)], [{ type: "end", outcome: "broken" }, "stream-reset"]);
  assert.equal([pair.b.told, pair.a.how, closed], [["send 11", "abort"], "reset", ["reset"]]);
});

test("unread bytes count with the peer's others: it is paused early where they are many, and reset where it is the newest", () => {
  const held = new ReadBudgets();
  const others = held.of("peer", () => {});
  const it = inbound({}, held);
  it.pair.a.send(new Uint8Array(10));
  it.clock.pass(0);
  assert.equal([held.counts.bytes, it.pair.b.told], [10, []]);
  others.set(heldBytesHigh);
  it.pair.a.send(new Uint8Array(10));
  it.clock.pass(0);
  assert.equal(it.pair.b.told, ["pause"]);
  const newest = inbound({}, held);
  newest.pair.a.send(new Uint8Array(10));
  newest.clock.pass(0);
  assert.is(others.set(heldBytesMax - 20), true);
  newest.clock.pass(0);
  assert.equal([newest.pair.a.how, it.pair.a.how, newest.closed], ["reset", undefined, ["reset"]]);
  it.owned.abort("");
  assert.is(held.counts.bytes, heldBytesMax - 20, "what is over is not counted");
});

test.run();
