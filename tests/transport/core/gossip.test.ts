import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Gossip, lateMaxMs, topicsMax } from "../../../transport/core/gossip.ts";
import { waitingAuthorsMax, waitingBytesMax } from "../../../transport/core/waiting_messages.ts";
import type { Verifies } from "../../../transport/core/parts.ts";
import type { GossipMessage, Wire } from "../../../transport/core/wire.ts";
import { defaultWorkLimits } from "../../../transport/core/work_budget.ts";
import { type PublishAnswer, TransportError } from "../../../transport/port.ts";
import type { WorkerRequest } from "../../../transport/protocols/messages.ts";
import { encodeWorkerRequest, gossipMaxBytes } from "../../../transport/protocols/mod.ts";
import type { PeerIdentity } from "../../../pki/path.ts";
import { answersTo, identityOf, type PlayedOptions, PlayedSession } from "../../support/played_session.ts";

const test = suite("Gossip");

const wanted: WorkerRequest = {
  id: "3c508384-6829-4d62-83d3-061ae58b76fa",
  spec: {
    resources: { gpu: 10, cpu: 1, storage: 0.1, memory: 1 },
    executor: [{ class: "train", name: "diloco-transformer" }],
  },
  timeout: { secs_since_epoch: 1_795_563_780, nanos_since_epoch: 0 },
  bid: 100.1,
};

/** The same with another id. */
const requestOf = (nth: number, wantedBy = wanted): WorkerRequest => ({
  ...wantedBy,
  id: wanted.id.slice(0, -6) + (Number.parseInt(wanted.id.slice(-6), 16) + nth).toString(16).padStart(6, "0"),
});

type Verify = Verifies["verify"];

/** A topic of which the test is the wire; `verify` says whether an author counts, `known` whether that is known at once. */
function topic(
  verify: Verify,
  wire: Partial<Wire> = {},
  known: Verifies["known"] = () => [],
  options: PlayedOptions = {},
) {
  const budgets = { limits: { ...defaultWorkLimits, perSecondUs: 1e9, burstUs: 1e9 } };
  const session = new PlayedSession({ verify, known, wire, budgets, ...options });
  const gossip = new Gossip(session.parts);
  gossip.subscribe("topic");
  const verdicts: string[] = [];
  let received = 0;
  /** A request with an id of its own; the first one is `wanted`. */
  const receive = (fields: Partial<GossipMessage> = {}) => {
    gossip.received({
      topic: "topic",
      author: "author",
      via: "carrier",
      bytes: encodeWorkerRequest(requestOf(received++)),
      settle: (verdict) => void verdicts.push(verdict),
      ...fields,
    });
    session.clock.pass(0);
  };
  return { session, gossip, verdicts, receive };
}
const counting: Verify = (peer, then) => then([identityOf(peer)]);

test("a message of a verified author is delivered and handed on", () => {
  const { session, verdicts, receive } = topic(counting);
  receive();
  assert.equal(verdicts, ["accept"]);
  const identity = identityOf("author");
  const fact = { type: "published", topic: "topic", from: "author", identity, via: "carrier", message: wanted };
  assert.equal(session.facts, [fact]);
});

test("a message of an author that does not count is neither, though the topic is subscribed to", () => {
  const { session, verdicts, receive } = topic((_peer, then) => then([]));
  receive();
  assert.equal([verdicts, session.facts], [["ignore"], []]);
});

test("a message of an author that may not publish it is ignored, whoever hands it on", () => {
  const [worker, scheduler] = [identityOf("author", { role: "worker" }), identityOf("author", { role: "scheduler" })];
  const refuses: PlayedOptions["refuses"] = (act, { role }) => act === "worker.request" && role !== "scheduler";
  const play = (identities: readonly PeerIdentity[]) =>
    topic((_peer, then) => then(identities), {}, () => identities, { refuses });
  const [refused, allowed] = [play([worker]), play([worker, scheduler])];
  refused.receive({ via: "scheduler" });
  allowed.receive();
  assert.equal([refused.verdicts, refused.session.facts], [["ignore"], []]);
  assert.equal([allowed.verdicts, allowed.session.factsOf("published")[0]?.identity.role], [["accept"], "scheduler"]);
});

test("more of an author's messages than may come are ignored, and another's are not", () => {
  const { session, verdicts, receive } = topic(counting);
  for (let time = 0; time < 6; time++) receive({ author: "author" });
  receive({ author: "another" });
  assert.equal(verdicts.splice(0), ["accept", "accept", "accept", "accept", "ignore", "ignore", "accept"]);
  session.clock.pass(1_000);
  for (let time = 0; time < 3; time++) receive();
  assert.equal(verdicts, ["accept", "accept", "ignore"]);
});

test("bug: old requests of an author that a member sent again took the author's place, and reached all workers", () => {
  let asked = 0;
  const { session, verdicts, receive } = topic((peer, then) => then(++asked > 0 ? [identityOf(peer)] : []));
  const seconds = Math.floor((session.clock.now() - lateMaxMs) / 1_000);
  const bytesOf = (nth: number, late: number) => {
    const timeout = { secs_since_epoch: seconds - late, nanos_since_epoch: 0 };
    return encodeWorkerRequest(requestOf(nth, { ...wanted, timeout }));
  };
  for (let nth = 0; nth < 6; nth++) receive({ via: "member", bytes: bytesOf(nth, 1) });
  assert.equal([verdicts.splice(0), session.facts, asked], [Array(6).fill("ignore"), [], 0]);
  for (let nth = 6; nth < 10; nth++) receive({ bytes: bytesOf(nth, -1) });
  assert.equal(verdicts, Array(4).fill("accept"), "a clock may be an hour behind");
});

test("bug: a request that was taken counted again when a member sent it once more, after gossip had forgotten it", () => {
  const { session, verdicts, receive } = topic(counting);
  const bytes = encodeWorkerRequest(wanted);
  receive({ bytes });
  session.clock.pass(600_000);
  for (let time = 0; time < 6; time++) receive({ via: "member", bytes });
  assert.equal(verdicts.splice(0), ["accept", ...Array(6).fill("ignore")]);
  receive({ author: "another", via: "member", bytes });
  for (let nth = 1; nth < 5; nth++) receive({ bytes: encodeWorkerRequest(requestOf(nth)) });
  assert.equal(verdicts, Array(5).fill("accept"), "nothing of the author's rate was taken");
});

test("a message on a topic that was left while its author was verified is neither", () => {
  const questions: Parameters<Verify>[1][] = [];
  const { session, gossip, verdicts, receive } = topic((_peer, then) => void questions.push(then));
  receive();
  assert.equal(verdicts, []);
  gossip.unsubscribe("topic");
  questions[0]?.([identityOf("author")]);
  session.clock.settle();
  assert.equal([verdicts, session.facts], [["ignore"], []]);
});

test("a message on a topic that is not subscribed to is neither, and its author is not dialled", () => {
  let asked = 0;
  const { session, verdicts, receive } = topic((peer, then) => then(++asked > 0 ? [identityOf(peer)] : []));
  receive({ topic: "another" });
  assert.equal([verdicts, session.facts, asked], [["ignore"], [], 0]);
});

test("a message that does not decode counts against the peer that brought it, and its author is not dialled", () => {
  let asked = 0;
  const { session, verdicts, receive } = topic((peer, then) => then(++asked > 0 ? [identityOf(peer)] : []));
  receive({ bytes: Uint8Array.of(0xff) });
  receive({ bytes: new Uint8Array(gossipMaxBytes + 1) });
  assert.equal([verdicts, session.facts, asked], [["reject", "reject"], [], 0]);
});

test("a carrier of made-up authors leaves verifications for others, and its messages hold so much memory and no more", () => {
  const asked: string[] = [];
  const questions: Parameters<Verify>[1][] = [];
  const verify: Verify = (peer, then) => {
    if (peer === "known") return then([identityOf(peer)]);
    asked.push(peer);
    questions.push(then);
  };
  const { verdicts, receive } = topic(verify, {}, (peer) => peer === "known" ? [identityOf(peer)] : []);
  for (let each = 0; each < waitingAuthorsMax; each++) receive({ author: `made up ${each}` });
  receive({ author: "one more" });
  assert.equal([asked.length, verdicts], [waitingAuthorsMax, ["ignore"]]);
  receive({ author: "known" });
  receive({ author: "elsewhere", via: "another carrier" });
  assert.equal([asked.at(-1), verdicts], ["elsewhere", ["ignore", "accept"]]);
  const { byteLength } = encodeWorkerRequest(wanted);
  const fitting = Math.floor(waitingBytesMax / byteLength) - waitingAuthorsMax;
  for (let each = 0; each < fitting + 3; each++) receive({ author: "made up 0" });
  assert.is(questions.length, waitingAuthorsMax + 1 + fitting);
  for (const answer of questions.splice(0)) answer([]);
  receive({ author: "one more" });
  assert.equal([asked.at(-1), questions.length], ["one more", 1], "places are given back");
});

test("so many topics and no more; one that is left makes room", () => {
  const subscribed: string[] = [];
  const { gossip } = topic(counting, {
    subscribe: (name) => subscribed.push(name),
    unsubscribe: (name) => void subscribed.splice(subscribed.indexOf(name), 1),
  });
  for (let index = 0; index < topicsMax; index++) gossip.subscribe(`topic ${index}`);
  assert.is(subscribed.length, topicsMax);
  assert.not.ok(subscribed.includes(`topic ${topicsMax - 1}`));
  gossip.subscribe("topic 0");
  gossip.unsubscribe("never there");
  gossip.unsubscribe("topic");
  gossip.subscribe("another");
  assert.is(subscribed.length, topicsMax);
  assert.ok(subscribed.includes("another"));
});

test("what is published is encoded for the wire, and answered as the wire says", () => {
  const published: Uint8Array[] = [];
  const outcomes = [
    Result.succeed(undefined),
    Result.fail(new TransportError({ code: "not-connected", detail: "no peer" })),
  ];
  const { session, gossip } = topic(counting, {
    publish: (_topic, bytes, done) => {
      published.push(bytes);
      session.clock.soon(() => done(outcomes.shift() ?? Result.succeed(undefined)));
    },
  });
  const { answers, replyTo } = answersTo<PublishAnswer>();
  for (const id of ["1", "2"]) gossip.publish({ type: "publish", id, topic: "topic", message: wanted, replyTo });
  assert.equal(answers, [], "inside the call that asked");
  session.clock.settle();
  assert.equal(answers.map((answer) => answer.type === "publish.failed" ? answer.error.code : answer.type), [
    "publish.done",
    "not-connected",
  ]);
  assert.equal(published[0], encodeWorkerRequest(wanted));
});

test("a message without an encoding fails, and the wire does not see it", () => {
  let published = 0;
  const { session, gossip } = topic(counting, { publish: () => void (published += 1) });
  const { answers, replyTo } = answersTo<PublishAnswer>();
  const message = { ...wanted, timeout: undefined } as unknown as WorkerRequest;
  gossip.publish({ type: "publish", id: "1", topic: "topic", message, replyTo });
  session.clock.settle();
  assert.equal(answers.map((answer) => answer.type === "publish.failed" && answer.error.code), ["failed"]);
  assert.is(published, 0);
});

test.run();
