/** Kademlia streams that peers open: bounds, one message at a time, and the records that count. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { kadMessageTimeoutMs, KadStreams, kadStreamsMax } from "../../../transport/core/kad_streams.ts";
import { MessageReader } from "../../../transport/core/length_prefixed.ts";
import { Records } from "../../../transport/core/records.ts";
import { kadProtocol, type Wire } from "../../../transport/core/wire.ts";
import { TransportError } from "../../../transport/port.ts";
import {
  decodeKadMessage,
  type KadMessage,
  kadMessageMaxBytes,
  type KadRecord,
} from "../../../transport/protocols/kad_record.ts";
import { framed, kadMessage, kadPeer, multihash, recordOf, respelled, utf8 } from "../../support/kad_peers.ts";
import { identityOf, type PlayedOptions, PlayedSession } from "../../support/played_session.ts";
import { NotedListener, type PairOptions, StreamPair } from "../../support/wire_pair.ts";

const test = suite("KadStreams");
const [publisher, other] = [kadPeer(1), kadPeer(2)];
const closer = [{ id: multihash(9), addresses: [] }];
type KadAnswer = Wire["kadAnswer"];

/** The Kademlia streams of a session whose wire answers with a closer peer. */
function played(kadAnswer?: KadAnswer, options: PlayedOptions = {}) {
  const asked: KadMessage[] = [];
  const session: PlayedSession = new PlayedSession({
    wire: {
      kadAnswer: (connection, message, done) => {
        asked.push(message);
        if (kadAnswer !== undefined) return kadAnswer(connection, message, done);
        session.clock.after(0, () => done(Result.succeed({ ...message, closer, providers: [] })));
      },
    },
    ...options,
  });
  const { clock } = session;
  const records = new Records(session.parts);
  const streams = new KadStreams(session.parts, records);
  const opened = (peer = publisher, pairOptions: PairOptions = {}) => {
    const pair = new StreamPair(clock, kadProtocol, pairOptions);
    const there = new NotedListener();
    const connection = session.connectionTo(peer);
    pair.open(there, (stream) => streams.received(connection, identityOf(peer), stream));
    clock.pass(0);
    return { pair, there };
  };
  /** Sends messages on a stream of their own and ends it; what came back. */
  const exchange = (peer: string, ...messages: KadMessage[]) => {
    const { pair, there } = opened(peer);
    for (const message of messages) pair.a.send(framed(message));
    pair.a.end();
    clock.pass(0);
    return { how: pair.a.how, answers: answersOf(there) };
  };
  return { session, clock, streams, records, asked, opened, exchange };
}
function answersOf({ bytes }: NotedListener): KadMessage[] {
  const reader = new MessageReader(kadMessageMaxBytes);
  reader.append(bytes);
  const answers: KadMessage[] = [];
  for (let next = reader.next(); next instanceof Uint8Array; next = reader.next()) {
    const decoded = decodeKadMessage(next);
    if (Result.isSuccess(decoded)) answers.push(decoded.success);
  }
  return answers;
}
const put = (record: KadRecord, key = record.key) => kadMessage({ type: "PUT_VALUE", key, record });
const get = (key: string) => kadMessage({ type: "GET_VALUE", key: utf8(key) });
const ping = kadMessage({ type: "PING" });

test("a record that its publisher brings is kept, and found by others with what is left of its time and the closer peers", () => {
  const it = played();
  const record = recordOf(1, "data");
  assert.equal(it.exchange(publisher, put(record)), { how: "done", answers: [put(record)] });
  it.clock.pass(1_000);
  const found = it.exchange(other, kadMessage({ ...get("data"), clusterLevel: 3 }));
  assert.is(found.how, "done");
  assert.equal(found.answers, [
    kadMessage({
      type: "GET_VALUE",
      clusterLevel: 3,
      key: utf8("data"),
      record: { ...record, ttl: 172_799 },
      closer,
    }),
  ]);
  assert.equal(it.exchange(other, get("another")).answers, [kadMessage({ ...get("another"), closer })]);
  assert.equal(it.asked.map(({ type }) => type), ["GET_VALUE", "GET_VALUE"], "a PUT_VALUE is not the wire's");
  assert.equal([it.streams.size, it.clock.waiting], [0, 0]);
});

test("messages without a record are the wire's, and one that it does not answer is followed by the next", () => {
  const it = played((_connection, message, done) =>
    done(Result.succeed(message.type === "ADD_PROVIDER" ? undefined : kadMessage({ type: message.type, closer })))
  );
  const { how, answers } = it.exchange(
    other,
    kadMessage({ type: "ADD_PROVIDER", key: utf8("x") }),
    kadMessage({ type: "FIND_NODE", key: utf8("x") }),
    ping,
  );
  assert.equal([how, answers.map(({ type }) => type)], ["done", ["FIND_NODE", "PING"]]);
});

test("a record that is not its sender's, or not established, or malformed, is refused by a reset", () => {
  const cases: [string, string, KadMessage][] = [
    ["another publisher", other, put(recordOf(1, "data"))],
    ["no publisher", publisher, put({ key: utf8("data"), value: utf8("v") })],
    ["a publisher that is no PeerID", publisher, put({ ...recordOf(1, "data"), publisher: utf8("nobody") })],
    ["another key", publisher, put(recordOf(1, "data"), utf8("datb"))],
    ["no key", publisher, kadMessage({ type: "PUT_VALUE", record: recordOf(1, "data") })],
    ["no record", publisher, kadMessage({ type: "PUT_VALUE", key: utf8("data") })],
    ["a value that is too large", publisher, put(recordOf(1, "data", "x".repeat(16_385)))],
    ["a question without a key", publisher, kadMessage({ type: "GET_VALUE" })],
    ["a question with an empty key", publisher, get("")],
  ];
  for (const [name, peer, message] of cases) {
    const it = played();
    assert.equal(it.exchange(peer, message), { how: "reset", answers: [] }, name);
    assert.is(it.records.find(utf8("data")), undefined, name);
    assert.equal([it.streams.size, it.clock.waiting], [0, 0], name);
  }
});

test("a record counts with the identity of its connection when it is put, not when the stream was opened", () => {
  const it = played();
  const { pair } = it.opened(publisher);
  it.session.connections.delete(publisher);
  pair.a.send(framed(put(recordOf(1, "data"))));
  it.clock.pass(0);
  assert.equal([pair.a.how, it.records.find(utf8("data"))], ["reset", undefined]);
});

test("a publisher in another spelling of its PeerID is not its PeerID", () => {
  const { byte, publisher } = respelled();
  const it = played();
  const record = recordOf(byte, "data");
  assert.equal(it.exchange(kadPeer(byte), put({ ...record, publisher })), { how: "reset", answers: [] });
  assert.is(it.exchange(kadPeer(byte), put(record)).how, "done");
});

test("bug: a change of trust while a publisher was away for a moment freed its keys", () => {
  const it = played(undefined, { established: { leftLately: (peer) => peer === publisher } });
  it.exchange(publisher, put(recordOf(1, "data", "first")));
  assert.is(it.exchange(other, put(recordOf(2, "data", "stolen"))).how, "reset");
  assert.equal(it.records.find(utf8("data"))?.value, utf8("first"));
});

test("no peer takes over the key of a publisher that counts", () => {
  const it = played(undefined, { known: (peer) => [identityOf(peer)] });
  it.exchange(publisher, put(recordOf(1, "data", "first")));
  assert.is(it.exchange(other, put(recordOf(2, "data", "stolen"))).how, "reset");
  assert.equal(it.records.find(utf8("data"))?.value, utf8("first"));
});

test("half a message and then silence, or silence from the beginning: reset after the time for a message", () => {
  const it = played();
  const [half, silent] = [it.opened(), it.opened()];
  half.pair.a.send(framed(ping).subarray(0, 2));
  it.clock.pass(kadMessageTimeoutMs - 1);
  assert.equal([half.pair.a.how, silent.pair.a.how], [undefined, undefined]);
  it.clock.pass(1);
  assert.equal([half.pair.a.how, silent.pair.a.how], ["reset", "reset"]);
  assert.equal([it.streams.size, it.clock.waiting], [0, 0]);
});

test("each message has its own time, also for its answer and for the peer to take it", () => {
  const it = played();
  const { pair, there } = it.opened();
  for (let each = 0; each < 3; each++) {
    it.clock.pass(kadMessageTimeoutMs - 1);
    pair.a.send(framed(ping));
    it.clock.pass(0);
  }
  assert.equal([answersOf(there).length, pair.a.how], [3, undefined]);
  it.clock.pass(kadMessageTimeoutMs);
  assert.is(pair.a.how, "reset");

  const unanswered = played(() => {});
  const waiting = unanswered.opened();
  waiting.pair.a.send(framed(ping));
  unanswered.clock.pass(kadMessageTimeoutMs);
  assert.equal([waiting.pair.a.how, unanswered.streams.size, unanswered.clock.waiting], ["reset", 0, 0]);

  const mute = it.opened(publisher, { windowBytes: 0 });
  mute.pair.hold(mute.pair.a);
  mute.pair.a.send(framed(ping));
  it.clock.pass(kadMessageTimeoutMs);
  assert.equal([mute.pair.a.how, it.streams.size, it.clock.waiting], ["reset", 0, 0]);
});

test("a message that does not decode, that is cut off, or that the wire refuses, is a reset", () => {
  const it = played((_connection, _message, done) =>
    done(Result.fail(new TransportError({ code: "failed", detail: "" })))
  );
  const send = (bytes: Uint8Array) => {
    const { pair } = it.opened();
    pair.a.end(bytes);
    it.clock.pass(0);
    return pair.a.how;
  };
  assert.equal(
    [Uint8Array.of(2, 0xff, 0xff), framed(ping).subarray(0, 2), framed(ping), framed(get("x"))].map(send),
    ["reset", "reset", "reset", "reset"],
  );
  assert.equal([it.streams.size, it.clock.waiting], [0, 0]);
});

test("65 streams whose message is announced as too large are all reset: they stayed open for ever", () => {
  const it = played();
  const streams = Array.from({ length: 65 }, () => it.opened());
  assert.is(it.streams.size, 65);
  for (const { pair } of streams) pair.a.send(Uint8Array.of(0x81, 0x80, 0x04));
  it.clock.pass(0);
  assert.ok(streams.every(({ pair }) => pair.a.how === "reset"));
  assert.equal([it.streams.size, it.clock.waiting], [0, 0]);
});

test("a stream's messages are answered one at a time and in order: it is paused meanwhile, and goes on after", () => {
  const pending: (() => void)[] = [];
  const it = played((_connection, message, done) => void pending.push(() => done(Result.succeed(message))));
  const { pair, there } = it.opened(publisher, { pieceBytes: 4 });
  const keys = ["a", "b", "c", "d"];
  for (const key of keys) pair.a.send(framed(kadMessage({ type: "FIND_NODE", key: utf8(key) })));
  pair.a.end();
  for (let answered = 0; answered < keys.length; answered++) {
    it.clock.pass(0);
    assert.is(pending.length, 1, `one at a time, after ${answered}`);
    pending.shift()?.();
  }
  it.clock.pass(0);
  assert.equal(answersOf(there).map(({ key }) => new TextDecoder().decode(key)), keys);
  assert.is(pair.a.how, "done");
  assert.equal(
    pair.b.told.filter((told) => told === "pause").length,
    pair.b.told.filter((told) => told === "resume").length,
  );
});

test("a peer that takes no answer is not read from", () => {
  const it = played();
  const { pair, there } = it.opened(publisher, { windowBytes: 0 });
  pair.hold(pair.a);
  for (let each = 0; each < 5; each++) pair.a.send(framed(ping));
  it.clock.pass(0);
  assert.equal([it.asked.length, pair.b.told.includes("pause")], [1, true]);
  pair.release(pair.a);
  it.clock.pass(0);
  assert.equal([it.asked.length, answersOf(there).length], [5, 5]);
});

test("of all peers one message is answered in a turn, and each in its turn however much another asks", () => {
  const order: string[] = [];
  const it = played((_connection, message, done) => {
    order.push(new TextDecoder().decode(message.key));
    done(Result.succeed(undefined));
  });
  const turns: (() => void)[] = [];
  it.clock.yield = (task) => void turns.push(task);
  const [flooding, honest] = [it.opened(other), it.opened(publisher)];
  const find = (key: string) => framed(kadMessage({ type: "FIND_NODE", key: utf8(key) }));
  flooding.pair.a.send(Uint8Array.from(["f1", "f2", "f3"].flatMap((key) => [...find(key)])));
  honest.pair.a.send(find("honest"));
  it.clock.pass(0);
  assert.equal(order, ["f1"]);
  const seen = [order.length];
  while (turns.length > 0) {
    turns.shift()?.();
    it.clock.pass(0);
    seen.push(order.length);
  }
  assert.equal(order, ["f1", "f2", "honest", "f3"]);
  assert.equal(seen, [1, 2, 3, 4, 4]);
});

test("a stream that is reset while its message waits for its turn leaves nothing in the queue", () => {
  const it = played();
  const turns: (() => void)[] = [];
  it.clock.yield = (task) => void turns.push(task);
  it.opened().pair.a.send(framed(ping));
  for (let each = 0; each < 100; each++) {
    const { pair } = it.opened();
    pair.a.send(framed(ping));
    it.clock.pass(0);
    pair.a.abort("");
    it.clock.pass(0);
  }
  assert.equal([it.asked.length, turns.length], [1, 1]);
  turns.shift()?.();
  assert.equal([it.asked.length, turns.length, it.streams.size], [1, 0, 1]);
});

test("so many streams are open and no more", () => {
  const it = played();
  for (let each = 0; each < kadStreamsMax; each++) it.opened();
  assert.equal([it.opened().pair.a.how, it.streams.size], ["reset", kadStreamsMax]);
});

test("stopping ends every stream: idle, reading, queued, answered by the wire, and not taken", () => {
  const it = played(() => {});
  const streams = Array.from({ length: 5 }, () => it.opened(publisher, { windowBytes: 0 }));
  const [, reading, mute, answering, queued] = streams.map(({ pair }) => pair);
  mute?.hold(mute.a);
  mute?.a.send(framed(put(recordOf(1, "data"))));
  it.clock.pass(0);
  reading?.a.send(framed(ping).subarray(0, 2));
  answering?.a.send(framed(ping));
  queued?.a.send(framed(ping));
  it.clock.pass(0);
  it.streams.stop();
  assert.is(it.streams.size, 0);
  it.clock.pass(0);
  assert.ok(streams.every(({ pair }) => pair.a.how === "reset"));
  assert.equal([it.opened().pair.a.how, it.streams.size], ["reset", 0]);
  assert.is(it.clock.waiting, 0);
});

test.run();
