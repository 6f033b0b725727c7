/** Requests both ways over streams in memory: deadlines, limits, ends. Over real connections: `tests/network/exchanges.test.ts`. */
import { randomUUID } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { heldBytesMax } from "../../../transport/core/held_bytes.ts";
import { exchangeMaxMs, Requests, requestsMax } from "../../../transport/core/requests.ts";
import type { RequestTraces } from "../../../transport/core/request_traces.ts";
import { priceOf } from "../../../transport/core/prices.ts";
import { defaultWorkLimits, type WorkBudgets } from "../../../transport/core/work_budget.ts";
import type { RequestAnswer } from "../../../transport/port.ts";
import type { Message, MessageProtocol } from "../../../transport/protocols/messages.ts";
import { decodeMessage, encodeMessage, requestMaxBytes, responseMaxBytes } from "../../../transport/protocols/mod.ts";
import { traceContextOf } from "../../../transport/protocols/traced_message.ts";
import { kadPeer } from "../../support/kad_peers.ts";
import { answersTo, identityOf, type PlayedOptions, PlayedSession } from "../../support/played_session.ts";
import { aggregateSpec } from "../../support/worker_world.ts";
import { NotedListener, StreamPair } from "../../support/wire_pair.ts";

const test = suite("Requests");
const health = "/hypha-health/0.0.1";
const question = encodeMessage(health, "request", {});
const healthy = encodeMessage(health, "response", { healthy: true });

/** The requests of a session that the test plays. */
function played(options: PlayedOptions = {}) {
  const session = new PlayedSession(options);
  const { clock } = session;
  const requests = new Requests(session.parts);
  const { answers, replyTo } = answersTo<RequestAnswer>();
  const ask = (
    id: string,
    fields: { timeoutMs?: number; message?: Message; protocol?: MessageProtocol; dial?: "never" } = {},
  ) =>
    requests.request({
      type: "request",
      id,
      peer: "peer",
      protocol: health,
      message: {},
      timeoutMs: 2_000,
      replyTo,
      ...fields,
    });
  /** A peer's stream. */
  const opened = (peer = "peer", protocol: MessageProtocol = health, windowBytes = Number.POSITIVE_INFINITY) => {
    const pair = new StreamPair(clock, protocol, { windowBytes });
    const there = new NotedListener();
    pair.open(there, (stream) => requests.received(session.connectionTo(peer), identityOf(peer), protocol, stream));
    clock.pass(0);
    return { pair, there };
  };
  const exchanges = () => session.factsOf("request.received").map(({ exchange }) => exchange);
  const said = () => answers.map((answer) => answer.type === "request.failed" ? answer.error.code : answer.type);
  return { session, clock, requests, answers, ask, opened, exchanges, said };
}
/** A peer that does what it is told once a request has come whole. */
const answering = (then: (pair: StreamPair) => void): PlayedOptions => ({
  accept: (pair) => ({ data: () => {}, ended: () => then(pair), closed: () => {} }),
});

// ── Ours ──

test("a request is sent whole on a stream of its own, and its answer is read until its end, in whatever pieces", () => {
  for (const pieceBytes of [1, 3, 1_000]) {
    const heard = new NotedListener();
    const it = played({
      pair: { pieceBytes, delayMs: 1 },
      accept: (pair) => ({
        data: (bytes) => heard.data(bytes),
        ended: () => pair.b.end(healthy),
        closed: (how) => heard.closed(how),
      }),
    });
    it.ask("a");
    assert.equal([it.requests.size, it.answers], [1, []], "inside the call that asked");
    it.clock.pass(1_000);
    assert.equal(it.answers, [{ type: "response", id: "a", message: { healthy: true } }]);
    assert.equal([heard.bytes, heard.heard], [question, ["closed done"]]);
    assert.equal([it.requests.size, it.clock.waiting], [0, 0]);
  }
});

test("every way in which a request fails has its code, and leaves nothing behind", () => {
  const cases: [string, PlayedOptions, string, string | undefined][] = [
    ["an end without a byte", answering((pair) => pair.b.end()), "no-answer", "reset"],
    ["an answer that does not decode", answering((pair) => pair.b.end(Uint8Array.of(0xa1))), "malformed", "reset"],
    [
      "an answer that is too large",
      answering((pair) => pair.b.send(new Uint8Array(responseMaxBytes + 1))),
      "too-large",
      "reset",
    ],
    ["a reset", answering((pair) => pair.b.abort("no")), "stream-reset", "reset"],
    [
      "a reset after half an answer",
      answering((pair) => (pair.b.send(healthy), pair.b.abort(""))),
      "stream-reset",
      "reset",
    ],
    ["a lost connection", answering((pair) => pair.close("connection")), "stream-reset", "connection"],
    ["silence", answering(() => {}), "timed-out", "reset"],
    ["half an answer, then silence", answering((pair) => pair.b.send(healthy)), "timed-out", "reset"],
    ["a protocol that is not served", { accept: () => "unsupported" }, "unsupported", "unsupported"],
    ["a refused stream", { accept: () => "refused" }, "stream-reset", "reset"],
    ["too many streams", { accept: () => "too-many" }, "failed", "too-many"],
    ["a peer that cannot be dialled", { dials: () => "failed" }, "not-connected", undefined],
    ["a dial that does not end", { dials: () => "never" }, "timed-out", undefined],
  ];
  for (const [name, options, code, how] of cases) {
    const it = played(options);
    it.ask("a");
    it.clock.pass(2_000);
    it.clock.pass(0);
    assert.equal([it.said(), it.session.pairs[0]?.b.how], [[code], how], name);
    assert.equal([it.requests.size, it.clock.waiting], [0, 0], name);
  }
});

test("a request that never dials uses the connection that there is, and fails without one", () => {
  const options = answering((pair) => pair.b.end(healthy));
  let dials = 0;
  const it = played({ ...options, dials: () => (dials += 1, "connected") });
  it.ask("a", { dial: "never" });
  assert.equal(it.said(), [], "inside the call that asked");
  it.clock.pass(0);
  assert.equal([it.said(), it.requests.size, it.clock.waiting], [["not-connected"], 0, 0]);
  it.session.connectionTo("peer");
  it.ask("b", { dial: "never" });
  it.clock.pass(0);
  assert.equal(it.said(), ["not-connected", "response"]);
  it.ask("c", { dial: "never" });
  it.requests.cancel("c");
  it.clock.pass(0);
  assert.equal(it.said().slice(2), ["cancelled"]);
  assert.is(dials, 0);
});

test("the deadline counts from the ask: dialing takes of it", () => {
  const it = played(answering(() => {}));
  it.ask("a", { timeoutMs: 100 });
  it.clock.pass(99);
  assert.equal(it.said(), []);
  it.clock.pass(1);
  assert.equal(it.said(), ["timed-out"]);
});

test("a cancelled request says so at once, whether it is dialled or asked", () => {
  const cases: PlayedOptions[] = [{ dials: () => "never" }, answering(() => {})];
  for (const options of cases) {
    const it = played(options);
    it.ask("a");
    it.clock.pass(10);
    it.requests.cancel("a");
    it.requests.cancel("a");
    it.requests.cancel("never there");
    it.clock.pass(0);
    assert.equal([it.said(), it.requests.size, it.clock.waiting], [["cancelled"], 0, 0]);
    it.clock.pass(10_000);
    assert.equal(it.said(), ["cancelled"]);
  }
});

test("a second request with an id under way fails; the id is free once the first is answered", () => {
  const it = played(answering((pair) => pair.b.end(healthy)));
  it.ask("same");
  it.ask("same");
  it.clock.pass(0);
  assert.equal(it.said(), ["failed", "response"]);
  it.ask("same");
  it.clock.pass(0);
  assert.equal(it.said(), ["failed", "response", "response"]);
});

test("so many requests are under way and no more", () => {
  const it = played({ dials: () => "never" });
  for (let each = 0; each <= requestsMax; each++) it.ask(`${each}`);
  it.clock.settle();
  assert.equal([it.said(), it.requests.size], [["failed"], requestsMax]);
});

test("a request that is too large, or has no encoding, fails without a dial", () => {
  const it = played();
  it.ask("large", {
    protocol: "/hypha-api/0.0.1",
    message: { Data: { dataset: "x".repeat(requestMaxBytes) } },
  });
  it.ask("shapeless", { protocol: "/hypha-api/0.0.1", message: {} });
  it.clock.settle();
  assert.equal([it.said(), it.requests.size, it.session.pairs.length], [["too-large", "failed"], 0, 0]);
});

test("a peer that answers before it has taken the request has until the deadline to take it; the answer is there at once", () => {
  const it = played({
    pair: { windowBytes: 0 },
    accept: (pair) => {
      pair.b.end(healthy);
      pair.b.pause();
      return { data: () => {}, ended: () => {}, closed: () => {} };
    },
  });
  it.ask("a");
  it.clock.pass(0);
  assert.equal([it.said(), it.requests.size], [["response"], 1]);
  it.clock.pass(2_000);
  assert.equal([it.said(), it.requests.size, it.clock.waiting], [["response"], 0, 0]);
  assert.is(it.session.pairs[0]?.b.how, "reset");
});

// ── Of peers ──

test("a request is told once it is whole, with the identity of its connection, and answered on its stream", () => {
  const it = played();
  const { pair, there } = it.opened("asker");
  pair.a.send(question.subarray(0, 0));
  it.clock.pass(5);
  assert.equal(it.session.facts, []);
  pair.a.end(question);
  it.clock.pass(0);
  assert.equal(it.session.facts, [{
    type: "request.received",
    exchange: "id-1",
    peer: "asker",
    identity: identityOf("asker"),
    protocol: health,
    message: {},
  }]);
  it.requests.respond({ type: "respond", exchange: "id-1", message: { healthy: true } });
  it.requests.respond({ type: "respond", exchange: "id-1", message: { healthy: false } });
  it.clock.pass(0);
  assert.equal([there.bytes, there.heard], [healthy, ["opened", "ended", "closed done"]]);
  assert.equal([it.requests.size, it.clock.waiting], [0, 0]);
});

test("a declined request ends without a byte; its answer afterwards does no harm", () => {
  const it = played();
  const { pair, there } = it.opened();
  pair.a.end(question);
  it.clock.pass(0);
  it.requests.decline("id-1");
  it.requests.respond({ type: "respond", exchange: "id-1", message: { healthy: true } });
  it.requests.decline("never there");
  it.clock.pass(0);
  assert.equal([there.bytes.length, there.heard.at(-1), it.requests.size], [0, "closed done", 0]);
});

test("half a request and then silence, or a request without an answer: reset after the exchange's time, from its opening", () => {
  const it = played();
  const { pair: half } = it.opened();
  half.a.send(question);
  it.clock.pass(4_000);
  const { pair: unanswered } = it.opened();
  unanswered.a.end(question);
  it.clock.pass(exchangeMaxMs - 4_001);
  assert.equal([half.a.how, it.exchanges()], [undefined, ["id-2"]]);
  it.clock.pass(1);
  assert.is(half.a.how, "reset");
  it.clock.pass(3_999);
  assert.is(unanswered.a.how, undefined);
  it.clock.pass(1);
  assert.is(unanswered.a.how, "reset");
  it.requests.respond({ type: "respond", exchange: "id-2", message: { healthy: true } });
  it.clock.pass(0);
  assert.equal([unanswered.b.told, it.requests.size, it.clock.waiting], [["abort"], 0, 0]);
});

test("an answer that is not taken is reset after as long again, and one that is answered late still leaves", () => {
  const it = played();
  const { pair: mute } = it.opened("peer", health, 0);
  const { pair, there } = it.opened();
  for (const each of [mute, pair]) each.a.end(question);
  it.clock.pass(0);
  mute.hold(mute.a);
  pair.hold(pair.a);
  it.clock.pass(exchangeMaxMs - 1);
  for (const exchange of it.exchanges()) it.requests.respond({ type: "respond", exchange, message: { healthy: true } });
  it.clock.pass(10);
  pair.release(pair.a);
  it.clock.pass(0);
  assert.equal([there.bytes, there.heard.at(-1), it.requests.size], [healthy, "closed done", 1]);
  it.clock.pass(exchangeMaxMs);
  assert.equal([mute.a.how, it.requests.size, it.clock.waiting], ["reset", 0, 0]);
});

test("a malformed request ends without a byte and is told once a minute; a too large one is reset", () => {
  const it = played();
  const malformed = it.opened();
  malformed.pair.a.end(Uint8Array.of(0xff));
  const large = it.opened("peer", "/hypha-api/0.0.1");
  large.pair.a.send(new Uint8Array(requestMaxBytes + 1));
  it.opened().pair.a.end(Uint8Array.of(0xff));
  it.clock.pass(0);
  assert.equal([malformed.there.heard.at(-1), malformed.there.bytes.length], ["closed done", 0]);
  assert.is(large.pair.a.how, "reset");
  const told = () =>
    it.session.factsOf("request.malformed").map(({ peer, protocol, untold }) => [peer, protocol, untold]);
  assert.equal(told(), [["peer", health, 0], ["peer", "/hypha-api/0.0.1", 0]]);
  assert.ok(it.session.factsOf("request.malformed").every(({ detail }) => detail.length > 10 && detail.length <= 300));
  it.clock.pass(60_000);
  it.opened().pair.a.end(new Uint8Array());
  it.clock.pass(0);
  assert.equal(told().at(-1), ["peer", health, 1]);
  assert.equal([it.exchanges(), it.requests.size, it.clock.waiting], [[], 0, 0]);
});

test("a request of exactly the size is read", () => {
  const it = played();
  const { pair } = it.opened();
  pair.a.send(question);
  pair.a.end(new Uint8Array(requestMaxBytes - question.length));
  it.clock.pass(0);
  assert.equal(it.exchanges(), ["id-1"]);
});

test("an answer without an encoding resets its exchange", () => {
  const it = played();
  const { pair } = it.opened("peer", "/hypha-api/0.0.1");
  pair.a.end(encodeMessage("/hypha-api/0.0.1", "request", { Data: { dataset: "x" } }));
  it.clock.pass(0);
  it.requests.respond({ type: "respond", exchange: "id-1", message: { healthy: true } });
  it.clock.pass(0);
  assert.equal([pair.a.how, it.requests.size, it.clock.waiting], ["reset", 0, 0]);
});

test("a request whose stream broke is forgotten", () => {
  const it = played();
  const { pair } = it.opened();
  pair.a.end(question);
  it.clock.pass(0);
  pair.close("connection");
  it.clock.pass(0);
  assert.equal([it.requests.size, it.clock.waiting], [0, 0]);
  it.requests.respond({ type: "respond", exchange: "id-1", message: { healthy: true } });
  assert.equal(pair.b.told, []);
});

test("so many requests wait for an answer and no more; one that is answered makes room", () => {
  const it = played({ budgets: { limits: { ...defaultWorkLimits, perSecondUs: 1e9, burstUs: 1e9 } } });
  const early = it.opened();
  const full = Array.from({ length: requestsMax }, () => it.opened());
  for (const { pair } of full) pair.a.end(question);
  it.clock.pass(0);
  assert.is(it.exchanges().length, requestsMax);
  assert.is(it.opened().pair.a.how, "reset");
  early.pair.a.end(question);
  it.clock.pass(0);
  assert.equal([early.pair.a.how, it.exchanges().length], ["reset", requestsMax], "also one that began before");
  it.requests.decline(it.exchanges()[0] ?? "");
  it.clock.pass(0);
  it.opened().pair.a.end(question);
  it.clock.pass(0);
  assert.is(it.exchanges().length, requestsMax + 1);
  assert.is(it.opened().pair.a.how, "reset");
  full[1]?.pair.close("connection");
  it.clock.pass(0);
  assert.is(it.opened().pair.a.how, undefined);
});

test("unfinished requests of a peer hold so much together and no more; those of another peer are not counted", () => {
  const it = played();
  const hoarded = Array.from({ length: heldBytesMax / requestMaxBytes }, () => it.opened());
  for (const { pair } of hoarded) pair.a.send(new Uint8Array(requestMaxBytes));
  it.clock.pass(0);
  assert.ok(hoarded.every(({ pair }) => pair.a.how === undefined));
  const [more, other] = [it.opened(), it.opened("another")];
  more.pair.a.send(new Uint8Array(1));
  other.pair.a.send(new Uint8Array(1));
  it.clock.pass(0);
  assert.equal([more.pair.a.how, other.pair.a.how], ["reset", undefined]);
  hoarded[0]?.pair.a.abort("");
  it.clock.pass(0);
  const again = it.opened();
  again.pair.a.end(question);
  it.clock.pass(0);
  assert.equal([again.pair.a.how, it.exchanges().length], [undefined, 1], "given back");
});

test("unfinished requests of a peer were counted apart where an idle one had ended in between", () => {
  const it = played();
  const hoard = () => {
    const streams = Array.from({ length: heldBytesMax / requestMaxBytes }, () => it.opened());
    it.opened().pair.a.end(Uint8Array.of(0xff)); // over while the others have sent nothing: their budget was dropped then
    it.clock.pass(0);
    return streams;
  };
  const all = [...hoard(), ...hoard()];
  for (const { pair } of all) pair.a.send(new Uint8Array(requestMaxBytes));
  it.clock.pass(0);
  assert.is(all.filter(({ pair }) => pair.a.how === undefined).length, heldBytesMax / requestMaxBytes);
});

test("stopping ends everything at once: dialled, asked, answered, read, waiting and answering", () => {
  let dials: "connected" | "never" = "connected";
  const it = played({ ...answering(() => {}), dials: () => dials });
  it.ask("asked");
  it.clock.pass(0);
  dials = "never";
  it.ask("dialled");
  const [reading, waiting, answered] = [it.opened(), it.opened(), it.opened()];
  reading.pair.a.send(question);
  for (const { pair } of [waiting, answered]) pair.a.end(question);
  it.clock.pass(0);
  answered.pair.hold(answered.pair.a);
  it.requests.respond({ type: "respond", exchange: it.exchanges()[1] ?? "", message: { healthy: true } });
  assert.is(it.requests.size, 5);
  it.requests.stop();
  assert.is(it.requests.size, 0);
  it.clock.pass(0);
  assert.equal(it.said(), ["stopped", "stopped"]);
  assert.equal([reading, waiting, answered].map(({ pair }) => pair.a.how), ["reset", "reset", "reset"]);
  assert.equal([it.session.pairs[0]?.b.how, it.clock.waiting, it.session.givenUp], ["reset", 0, 1]);
  it.ask("later");
  assert.is(it.opened().pair.a.how, "reset");
  assert.equal([it.said().at(-1), it.requests.size, it.clock.waiting], ["stopped", 0, 0]);
});

test("a request that is whole only after its connection's certificate stopped to count is not handed on", () => {
  const it = played();
  const { pair, there } = it.opened();
  pair.a.send(question);
  it.clock.pass(0);
  it.session.connections.delete("peer"); // its gate has closed, and what is on its way still leaves
  pair.a.end();
  it.clock.pass(0);
  assert.equal([it.exchanges(), there.heard.at(-1)], [[], "closed reset"]);
  assert.equal([it.requests.size, it.clock.waiting], [0, 0]);
});

test("bug: the content of a request was decoded before its act was judged: a refused job of 1 MB cost 200 ms", () => {
  const refuses: PlayedOptions["refuses"] = (act) => act === "job.dispatch" || act === "progress";
  const it = played({ refuses });
  const content = Uint8Array.of(0xff); // which does not decode
  const job = encodeMessage("/hypha-api/0.0.1", "request", { Data: { dataset: "" } }).slice(0, 1);
  const named = Uint8Array.of(...job, 0x6b, ...new TextEncoder().encode("DispatchJob"), ...content);
  const opened = [it.opened("peer", "/hypha-api/0.0.1"), it.opened("peer", "/hypha-progress/0.0.1")];
  opened[0]?.pair.a.end(named);
  opened[1]?.pair.a.end(content);
  it.clock.pass(0);
  assert.equal(opened.map(({ there }) => [there.bytes.length, there.heard.at(-1)]), Array(2).fill([0, "closed done"]));
  assert.equal(it.session.facts, [], "neither malformed nor received");
});

test("a request of no known variant, or of two, is malformed before its content is decoded", () => {
  const it = played();
  const unknown = Uint8Array.of(0xa1, 0x61, 0x78, 0xff);
  const two = Uint8Array.of(0xa2, 0x64, ...new TextEncoder().encode("Data"), 0xff);
  for (const bytes of [unknown, two, Uint8Array.of(0xa1), Uint8Array.of(0xbf, 0xff), new Uint8Array()]) {
    it.opened(`peer-${bytes.length}`, "/hypha-api/0.0.1").pair.a.end(bytes);
  }
  it.clock.pass(0);
  assert.equal(it.session.factsOf("request.malformed").length, 5);
});

test("bug: requests were charged by their bytes alone: their items and peers cost twenty times as much", () => {
  const peers = Array.from({ length: 250 }, (_, each) => kadPeer(each));
  const spec = aggregateSpec(peers, randomUUID(), kadPeer(250)); // names each of them twice
  const job = encodeMessage("/hypha-api/0.0.1", "request", { DispatchJob: { id: randomUUID(), spec } });
  const metrics = Object.fromEntries(Array.from({ length: 500 }, (_, each) => [`m${each}`, each]));
  const progress = { job_id: randomUUID(), progress: { metrics: { round: 1, metrics } } };
  const cases: [MessageProtocol, Uint8Array, number, number][] = [
    ["/hypha-api/0.0.1", job, 500, 500],
    ["/hypha-api/0.0.1", job.subarray(0, -1), 500, 0], // its end does not decode
    ["/hypha-progress/0.0.1", encodeMessage("/hypha-progress/0.0.1", "request", progress), 1_000, 0],
  ];
  for (const [protocol, bytes, items, named] of cases) {
    const it = played();
    it.opened("peer", protocol).pair.a.end(bytes);
    it.clock.pass(0);
    const charged = (it.session.parts.work as WorkBudgets).chargedUs("peer") - priceOf("request", bytes.length);
    const least = items * priceOf("request.item") + named * priceOf("request.peer");
    assert.ok(charged >= least && charged < least + 100, `${charged} of ${least}`);
  }
});

test("requests are followed to their end: answered, declined, unanswered, failed; a context goes with one of ours", () => {
  const ended: string[] = [], contexts: unknown[] = [];
  const context = { traceId: "0af7651916cd43dd8448eb211c80319c", spanId: "b7ad6b7169203331", sampled: true };
  const follow = (which: string) => ({ context, ended: (code = "ok") => void ended.push(`${which} ${code}`) });
  const traces: RequestTraces = {
    asked: ({ protocol }) => follow(`asked ${protocol}`),
    received: ({ context: given }) => {
      contexts.push(given);
      return follow("received");
    },
  };
  let sent: Uint8Array = new Uint8Array();
  const it = played({
    traces,
    accept: (pair) => ({
      data: (bytes) => void (sent = bytes),
      ended: () => pair.b.end(healthy),
      closed: () => {},
    }),
  });
  it.ask("one");
  it.ask("two", { message: { wrong: 1n } as never, protocol: "/hypha-api/0.0.1" });
  it.clock.pass(0);
  it.ask("three", { message: { Release: { lease: randomUUID() } }, protocol: "/hypha-training/1" });
  it.clock.pass(0);
  const training = decodeMessage("/hypha-training/1", "request", sent);
  assert.equal(training._tag === "Success" && traceContextOf("/hypha-training/1", training.success), context);
  const opened = [it.opened(), it.opened(), it.opened(), it.opened("peer", "/hypha-training/1")];
  opened.forEach(({ pair }, index) => pair.a.end(index === 3 ? sent : question));
  it.clock.pass(0);
  const [first = "", second = ""] = it.exchanges();
  it.requests.respond({ type: "respond", exchange: first, message: { healthy: true } });
  it.requests.decline(second);
  it.clock.pass(exchangeMaxMs);
  assert.equal(contexts, [undefined, undefined, undefined, context]);
  assert.equal(ended.slice(0, 3).sort(), [
    "asked /hypha-api/0.0.1 failed",
    "asked /hypha-health/0.0.1 ok",
    "asked /hypha-training/1 malformed",
  ]);
  assert.equal(ended.slice(3), ["received ok", "received declined", "received unanswered", "received unanswered"]);
});

test.run();
