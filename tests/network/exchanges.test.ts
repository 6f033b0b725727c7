/** Exchanges and streams, good and bad: whatever arrives, the exchange ends typed and the connection lives. */
import { Buffer } from "node:buffer";
import { Effect } from "effect";
import { rawPeer } from "../support/raw_peer.ts";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { whileAwake } from "../support/awake.ts";
import { makeTestPki } from "../support/pki.ts";
import { of, readAll, startTransport, until } from "../support/transports.ts";
import { heldBytesMax } from "../../transport/core/held_bytes.ts";
import { exchangeMaxMs } from "../../transport/core/requests.ts";
import { streamBufferMax } from "../../transport/core/stream_handle.ts";
import type { StreamHandle, TransportAnswer } from "../../transport/port.ts";

const test = suite("exchanges");
const pki = await makeTestPki();
const a = await startTransport({ pki, name: "a" });
const b = await startTransport({ pki, name: "b" });
await b.ask({ type: "dial", id: "1", target: { address: a.addresses[0] as string } });
/** A libp2p node that sends whatever it likes over a verified connection. */
const raw = await rawPeer(pki, "raw", a.addresses[0] as string);

const health = "/hypha-health/0.0.1";
const api = "/hypha-api/0.0.1";
const push = "/hypha-tensor-stream/push";
a.send({ type: "serve", protocol: health });
a.send({ type: "serve", protocol: api });
/** Runs beside the tests: it takes the ten seconds that an exchange may take. */
const trickling = raw.trickle(api, 100);
const code = (answer: TransportAnswer) => "error" in answer ? answer.error.code : answer.type;
const ask = (id: string, timeoutMs = 30_000, peer = a.peer) =>
  b.ask({ type: "request", id, peer, protocol: health, message: {}, timeoutMs });
const received = (at: number) =>
  until("a request", () => a.facts.filter(of("request.received"))[at] as { exchange: string } | undefined);
const receivedBytes = async () => {
  const counted = await a.ask({ type: "counters" });
  return counted.type === "counters" ? counted.counters.bytesReceived : Number.NaN;
};
const seen = () => a.facts.filter(of("request.received")).length;

test("a declined request is answered by nothing: no-answer", async () => {
  const at = seen();
  const answer = ask("declined");
  a.send({ type: "decline", exchange: (await received(at)).exchange });
  assert.is(code(await answer), "no-answer");
});

test("a request that nobody answers in time: timed-out; a cancelled one: cancelled", async () => {
  const at = seen();
  const late = ask("late", 3_000);
  await received(at);
  assert.is(code(await late), "timed-out");
  const answer = ask("cancelled");
  await received(at + 1);
  b.send({ type: "request.cancel", id: "cancelled" });
  assert.is(code(await answer), "cancelled");
  // Answering what is over does no harm.
  a.send({ type: "respond", exchange: (await received(at)).exchange, message: { healthy: true } });
});

test("two requests with one id: the second fails, the first is answered", async () => {
  const at = seen();
  const [first, second] = [ask("same"), ask("same")];
  assert.is(code(await second), "failed");
  a.send({ type: "respond", exchange: (await received(at)).exchange, message: { healthy: false } });
  assert.is(code(await first), "response");
});

test("a protocol that is not served, or no longer: unsupported", async () => {
  const question = { type: "request", peer: a.peer, protocol: "/hypha-progress/0.0.1", timeoutMs: 30_000 } as const;
  const message = { job_id: "3f2504e0-4f89-41d3-9a0c-0305e82c3301", progress: "update" } as const;
  assert.is(code(await b.ask({ ...question, id: "u1", message })), "unsupported");
  assert.is(
    code(await b.ask({ type: "stream.open", id: "u2", peer: a.peer, protocol: push, timeoutMs: 30_000 })),
    "unsupported",
  );
  a.send({ type: "serve", protocol: push });
  a.send({ type: "unserve", protocol: push });
  assert.is(
    code(await b.ask({ type: "stream.open", id: "u3", peer: a.peer, protocol: push, timeoutMs: 30_000 })),
    "unsupported",
  );
});

test("a peer that cannot be found: not-connected", async () => {
  const nobody = "12D3KooWCdeFXToKJSgotLQahnWW5Ab6MtrzGkE3LskCRrhFjFT5";
  assert.ok(["not-connected", "timed-out"].includes(code(await ask("nobody", 1_500, nobody))));
});

const malformed: [name: string, bytes: Uint8Array][] = [
  ["no bytes", new Uint8Array()],
  ["half an item", Buffer.from("a1", "hex")],
  ["no CBOR", Buffer.from("ff", "hex")],
  ["an unknown variant", Buffer.from("a1674e6f7468696e67a0", "hex")],
  ["a text", Buffer.from("6568656c6c6f", "hex")],
  ["an array of depth 10,000", Buffer.alloc(10_000, 0x81)],
  ["a map that promises 2^32 entries", Buffer.from("baffffffff", "hex")],
  ["a text that promises 2^60 bytes", Buffer.from("7b1000000000000000", "hex")],
];
test("a member's request that does not decode is told once a minute, with who sent it and over which protocol", async () => {
  await raw.exchange(api, malformed[3]?.[1] as Uint8Array);
  await raw.exchange(api, new Uint8Array(1_048_577));
  await raw.exchange(health, new Uint8Array(1_048_577));
  const told = await until("both protocols", () => {
    const facts = a.facts.filter((fact) => fact.type === "request.malformed");
    return facts.length >= 2 && facts;
  });
  assert.equal(told.map(({ protocol, identity, untold }) => [protocol, identity.name, untold]), [
    [api, "raw", 0],
    [health, "raw", 0],
  ]);
  assert.ok(told.every(({ peer, detail }) => peer === raw.peer && detail.length > 10 && detail.length <= 300));
});

for (const [name, bytes] of malformed) {
  test(`${name} as a request ends without a byte, and nobody hears of it`, async () => {
    const at = seen();
    const answer = await raw.exchange(api, bytes);
    assert.equal(answer, { bytes: 0, outcome: "whole" });
    assert.is(seen(), at);
    assert.is(raw.connection.status, "open");
  });
}

test("100 MB where a request has 1 MiB at most: reset, memory bounded, connection alive", async () => {
  const at = seen();
  const before = await receivedBytes();
  const answer = await raw.exchange(api, new Uint8Array(100_000_000));
  assert.is(answer.outcome, "broken");
  // The message's bound, the stream's window and the socket's buffers: the rest of the 100 MB never comes here.
  const taken = await receivedBytes() - before;
  assert.ok(taken < 8_000_000, `${taken} bytes were taken`);
  assert.is(answer.bytes, 0);
  assert.is(seen(), at);
  assert.is(raw.connection.status, "open");
});

test("a request of exactly 1 MiB is read, one byte more is not", async () => {
  assert.equal(await raw.exchange(api, new Uint8Array(1_048_576)), { bytes: 0, outcome: "whole" });
  assert.is((await raw.exchange(api, new Uint8Array(1_048_577))).outcome, "broken");
});

test("unfinished requests of a peer hold so much memory together and no more; the connection lives", async () => {
  const streams = 48;
  const each = 1_000_000;
  const reset = await raw.hoard(api, streams, each);
  const held = (streams - reset) * each;
  assert.ok(held <= heldBytesMax && held > heldBytesMax / 2, `${reset} of ${streams} were reset`);
  assert.equal(await raw.exchange(api, new Uint8Array(1_048_576)), { bytes: 0, outcome: "whole" }, "given back");
  assert.is(raw.connection.status, "open");
});

test("a response that does not decode: malformed; one over 10 MiB: too-large", async () => {
  await raw.serve(health, Buffer.from("a1", "hex"));
  assert.is(
    code(await a.ask({ type: "request", id: "m1", peer: raw.peer, protocol: health, message: {}, timeoutMs: 30_000 })),
    "malformed",
  );
  await raw.serve(health, new Uint8Array(10 * 1_048_576 + 1));
  assert.is(
    code(await a.ask({ type: "request", id: "m2", peer: raw.peer, protocol: health, message: {}, timeoutMs: 30_000 })),
    "too-large",
  );
  await raw.serve(health, "never");
  assert.is(
    code(await a.ask({ type: "request", id: "m3", peer: raw.peer, protocol: health, message: {}, timeoutMs: 300 })),
    "timed-out",
  );
  assert.is(raw.connection.status, "open");
});

async function openPush(id: string): Promise<[sender: StreamHandle, receiver: StreamHandle]> {
  const at = a.facts.filter(of("stream.received")).length;
  const opened = await b.ask({ type: "stream.open", id, peer: a.peer, protocol: push, timeoutMs: 30_000 });
  const offered = await until("an offer", () => a.facts.filter(of("stream.received"))[at]);
  const taken = await a.ask({ type: "stream.accept", exchange: (offered as { exchange: string }).exchange });
  if (opened.type !== "stream.opened" || taken.type !== "stream.opened") throw new Error("no stream");
  return [opened.stream, taken.stream];
}

test("a stream that is half-closed is whole, also for one that reads late", async () => {
  a.send({ type: "serve", protocol: push });
  const [sender, receiver] = await openPush("whole");
  await Effect.runPromise(sender.write(Buffer.from("hello")));
  await Effect.runPromise(sender.end);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(await readAll(receiver, Effect.runPromise).then(({ bytes, outcome }) => ({ bytes, outcome })), {
    bytes: 5,
    outcome: "whole",
  });
  assert.equal(await Effect.runPromise(receiver.read), { type: "end", outcome: "whole" });
});

test("a stream that is reset is broken, and so are writes to it", async () => {
  const [sender, receiver] = await openPush("broken");
  await Effect.runPromise(sender.write(Buffer.from("hel")));
  const first = await Effect.runPromise(receiver.read);
  assert.is(first.type, "bytes");
  await Effect.runPromise(sender.abort("enough"));
  assert.equal(await Effect.runPromise(receiver.read), { type: "end", outcome: "broken" });
  assert.is((await Effect.runPromise(Effect.flip(receiver.write(Buffer.from("x"))))).code, "stream-reset");
});

test("a reader that stops holds the writer up, and memory with it", async () => {
  const [sender, receiver] = await openPush("slow");
  const piece = new Uint8Array(65_536);
  let written = 0;
  const total = 512; // 32 MiB
  const writing = (async () => {
    for (; written < total; written++) await Effect.runPromise(sender.write(piece));
    await Effect.runPromise(sender.end);
  })();
  // The writer comes to a stop long before the end.
  await until("the writer to fill the buffers", () => written * piece.length > streamBufferMax / 2);
  for (let last = -1; last < written;) {
    last = written;
    await whileAwake(200);
  }
  assert.ok(written < total / 2, `wrote ${written} pieces without a reader`);
  const { bytes, outcome } = await readAll(receiver, Effect.runPromise);
  await writing;
  assert.is(bytes, total * piece.length);
  assert.is(outcome, "whole");
});

test("an offered stream can be rejected, and taken once", async () => {
  const at = a.facts.filter(of("stream.received")).length;
  const opened = await b.ask({ type: "stream.open", id: "rejected", peer: a.peer, protocol: push, timeoutMs: 30_000 });
  const { exchange } = await until("an offer", () => a.facts.filter(of("stream.received"))[at]) as { exchange: string };
  a.send({ type: "stream.reject", exchange });
  if (opened.type !== "stream.opened") throw new Error("no stream");
  assert.equal(await Effect.runPromise(opened.stream.read), { type: "end", outcome: "broken" });
  assert.is(code(await a.ask({ type: "stream.accept", exchange })), "timed-out");
});

test("a connection that dies ends its streams broken and its requests typed", async () => {
  const [sender, receiver] = await openPush("dying");
  await Effect.runPromise(sender.write(Buffer.from("hel")));
  await Effect.runPromise(receiver.read);
  const pending = ask("dying");
  await until("the request", () => a.facts.filter(of("request.received")).length > 0);
  a.send({ type: "close", peer: b.peer, reason: "test" });
  assert.equal(await Effect.runPromise(receiver.read), { type: "end", outcome: "broken" });
  assert.ok(["stream-reset", "no-answer", "not-connected"].includes(code(await pending)), code(await pending));
});

test("a request that never ends: reset after the exchange's time, and the connection lives", async () => {
  const { sent, ms } = await trickling;
  assert.ok(ms >= exchangeMaxMs - 50 && ms < exchangeMaxMs + 3_000, `given up after ${ms} ms`);
  assert.ok(sent > 10, `${sent} bytes`);
  assert.is(raw.connection.status, "open");
});

test("responses that are sent as the connections end arrive: libp2p closed the socket under TLS before it had written", async () => {
  const hub = await startTransport({ pki, name: "hub" });
  hub.send({ type: "serve", protocol: health });
  const others = await Promise.all(
    Array.from({ length: 12 }, (_, at) => startTransport({ pki, name: `spoke-${at}`, listenAddresses: [] })),
  );
  const address = hub.addresses[0] as string;
  const answers = others.map(async (other) => {
    assert.is((await other.ask({ type: "dial", id: "d", target: { address } })).type, "dial.done");
    return other.ask({ type: "request", id: "r", peer: hub.peer, protocol: health, message: {}, timeoutMs: 30_000 });
  });
  const requests = await until("every request", () => {
    const found = hub.facts.filter(of("request.received")) as unknown as { exchange: string; peer: string }[];
    return found.length === others.length && found;
  });
  for (const { exchange, peer } of requests) {
    hub.send({ type: "respond", exchange, message: { healthy: true } });
    await Promise.resolve(); // the end of the stream leaves in a later job
    hub.send({ type: "close", peer, reason: "test" });
  }
  assert.equal([...new Set((await Promise.all(answers)).map(code))], ["response"]);
  await hub.stop();
  await Promise.all(others.map((other) => other.stop()));
});

test("after the drain everything is answered: stopped", async () => {
  await Promise.all([raw.stop(), b.stop()]);
  assert.equal(await a.ask({ type: "drain" }), { type: "drained" });
  assert.is(
    code(await a.ask({ type: "request", id: "x", peer: b.peer, protocol: health, message: {}, timeoutMs: 100 })),
    "stopped",
  );
  assert.equal(await a.ask({ type: "peers" }), { type: "peers", list: [] });
  assert.equal(await a.ask({ type: "drain" }), { type: "drained" });
});

test.run();
