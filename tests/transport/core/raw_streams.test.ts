import { Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { offeredStreamsMax, openStreamsMax, RawStreams, streamAcceptMs } from "../../../transport/core/raw_streams.ts";
import type { StreamAnswer } from "../../../transport/port.ts";
import { answersTo, identityOf, type PlayedOptions, PlayedSession } from "../../support/played_session.ts";
import { NotedListener, StreamPair } from "../../support/wire_pair.ts";

const test = suite("RawStreams");
const push = "/hypha-tensor-stream/push";

/** The raw streams of a session that the test plays. */
function played(options: PlayedOptions = {}) {
  const session = new PlayedSession(options);
  const streams = new RawStreams(session.parts);
  const { answers, replyTo } = answersTo<StreamAnswer>();
  /** A stream that a peer offers, with what is heard at its end. */
  const offer = () => {
    const pair = new StreamPair(session.clock, push);
    const there = new NotedListener();
    pair.open(there, (stream) => streams.received(session.connectionTo("peer"), identityOf("peer"), push, stream));
    session.clock.pass(0);
    return { pair, there };
  };
  const accept = (exchange: string) => {
    streams.accept({ type: "stream.accept", exchange, replyTo });
    session.clock.settle();
  };
  const open = (id: string, timeoutMs = 2_000) =>
    streams.open({ type: "stream.open", id, peer: "peer", protocol: push, timeoutMs, replyTo });
  const said = () => answers.map((answer) => answer.type === "stream.failed" ? answer.error.code : answer.type);
  return { session, clock: session.clock, streams, answers, offer, accept, open, said };
}
const exchangesOf = ({ session }: ReturnType<typeof played>) =>
  session.factsOf("stream.received").map(({ exchange }) => exchange);

test("an offered stream is told with the identity of its connection, and taken once", () => {
  const it = played();
  it.offer();
  assert.equal(it.session.facts, [
    { type: "stream.received", exchange: "id-1", peer: "peer", identity: identityOf("peer"), protocol: push },
  ]);
  it.accept("id-1");
  it.accept("id-1");
  it.accept("never there");
  assert.equal(it.said(), ["stream.opened", "timed-out", "timed-out"]);
  assert.equal([it.streams.size, it.clock.waiting], [1, 0]);
});

test("an offered stream that no role takes, or that is rejected, is reset", () => {
  const it = played();
  const late = it.offer();
  it.clock.pass(streamAcceptMs - 1);
  assert.is(late.pair.a.how, undefined);
  const rejected = it.offer();
  it.streams.reject("id-2");
  it.clock.pass(1);
  assert.equal([late.pair.a.how, rejected.pair.a.how], ["reset", "reset"]);
  it.accept("id-1");
  assert.equal([it.said(), it.streams.size, it.clock.waiting], [["timed-out"], 0, 0]);
});

test("an offered stream that broke before it was taken is not taken", () => {
  const it = played();
  const { pair } = it.offer();
  pair.close("connection");
  it.clock.pass(0);
  it.accept("id-1");
  assert.equal([it.said(), it.streams.size, it.clock.waiting], [["timed-out"], 0, 0]);
});

test("an offered stream is reset where its connection's certificate stopped to count before it was taken", () => {
  const it = played();
  const { pair } = it.offer();
  it.session.connections.delete("peer");
  it.accept("id-1");
  assert.equal([it.said(), pair.a.how, it.streams.size, it.clock.waiting], [["timed-out"], "reset", 0, 0]);
});

test("so many offered streams wait and no more; one that is taken makes room", () => {
  const it = played();
  for (let each = 0; each < offeredStreamsMax; each++) it.offer();
  assert.is(it.offer().pair.a.how, "reset");
  it.accept(exchangesOf(it)[0] ?? "");
  assert.is(it.offer().pair.a.how, undefined);
  assert.is(it.streams.size, offeredStreamsMax + 1);
});

test("so many streams are open and no more, in both directions", () => {
  const it = played({ dials: () => "never" });
  for (let each = 0; each < openStreamsMax; each++) it.open(`${each}`);
  it.open("one more");
  it.clock.settle();
  assert.equal([it.said(), it.streams.size], [["failed"], openStreamsMax]);
  assert.is(it.offer().pair.a.how, "reset");
});

test("a stream of ours is opened once the other side has agreed to its protocol; what it sends at once is kept", async () => {
  const there = new NotedListener();
  const it = played({
    accept: (pair) => {
      pair.b.send(Uint8Array.of(1));
      return there;
    },
  });
  it.open("a");
  it.clock.pass(0);
  assert.equal(it.said(), ["stream.opened"]);
  const [answer] = it.answers;
  if (answer?.type !== "stream.opened") throw new Error("no stream");
  assert.equal([answer.id, answer.stream.peer, answer.stream.protocol], ["a", "peer", push]);
  assert.equal(await Effect.runPromise(answer.stream.read), { type: "bytes", bytes: Uint8Array.of(1) });
  await Effect.runPromise(answer.stream.write(Uint8Array.of(2)));
  it.clock.pass(0);
  assert.equal([[...there.bytes], it.streams.size, it.clock.waiting], [[2], 1, 0]);
  await Effect.runPromise(answer.stream.abort("done"));
  it.clock.pass(0);
  assert.equal([there.heard.at(-1), it.streams.size, it.clock.waiting], ["closed reset", 0, 0]);
});

test("a stream that is not opened is answered with its reason, and nothing of it stays", () => {
  const cases: [PlayedOptions, string][] = [
    [{ accept: () => "unsupported" }, "unsupported"],
    [{ accept: () => "too-many" }, "failed"],
    [{ accept: () => "refused" }, "stream-reset"],
    [{ dials: () => "failed" }, "not-connected"],
    [{ dials: () => "never" }, "timed-out"],
    [{ pair: {}, accept: (pair) => (pair.close("connection"), new NotedListener()) }, "stream-reset"],
  ];
  for (const [options, code] of cases) {
    const it = played(options);
    it.open("a");
    it.clock.pass(2_000);
    assert.equal([it.said(), it.streams.size, it.clock.waiting], [[code], 0, 0], code);
  }
});

test("a stream that the other side does not agree to in time is aborted", () => {
  const it = played({ accept: () => new NotedListener(), pair: { agreesAfterMs: 2_001 } });
  it.open("a");
  it.clock.pass(2_000);
  assert.equal([it.said(), it.session.pairs[0]?.a.told, it.streams.size], [["timed-out"], ["abort"], 0]);
  it.clock.pass(1);
  assert.is(it.clock.waiting, 0);
});

test("a stream whose dial ends too late is not opened, and its opening says nothing more", () => {
  const there = new NotedListener();
  const it = played({ accept: () => there });
  it.open("a", 0);
  it.clock.pass(0);
  assert.equal([it.said(), it.session.givenUp, it.streams.size], [["timed-out"], 1, 0]);
  it.clock.pass(10_000);
  assert.equal([it.said(), there.heard, it.clock.waiting], [["timed-out"], [], 0]);
});

test("stopping ends everything at once: what is dialled, opened, offered and taken", () => {
  let dials: "connected" | "never" = "connected";
  let isAgreed = true;
  const it = played({ dials: () => dials, accept: (pair) => (isAgreed || pair.hold(pair.b), new NotedListener()) });
  it.open("open");
  it.clock.pass(0);
  isAgreed = false;
  dials = "never";
  it.open("dialled");
  const [taken, waiting] = [it.offer(), it.offer()];
  it.accept("id-1");
  assert.is(it.streams.size, 4);
  it.streams.stop();
  assert.is(it.streams.size, 0);
  it.clock.settle();
  assert.equal(it.said(), ["stream.opened", "stream.opened", "stopped"]);
  assert.equal([taken.pair.a.how, waiting.pair.a.how, it.session.pairs[0]?.b.how], ["reset", "reset", "reset"]);
  assert.equal([it.clock.waiting, it.session.givenUp], [0, 1]);
  it.open("later");
  assert.is(it.offer().pair.a.how, "reset");
  assert.equal([it.said().at(-1), it.streams.size, it.clock.waiting], ["stopped", 0, 0]);
});

test.run();
