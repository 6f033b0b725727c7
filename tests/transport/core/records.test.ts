/** Records put and looked up over Kademlia streams in memory: who is asked, which answers count, what ends an ask. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { KadStreams } from "../../../transport/core/kad_streams.ts";
import { recordAsksMax, recordPeersMax, Records } from "../../../transport/core/records.ts";
import { recordsPerPublisherMax } from "../../../transport/core/record_store.ts";
import type { StreamListener, Wire } from "../../../transport/core/wire.ts";
import type { RecordAnswer } from "../../../transport/port.ts";
import type { KadMessage, KadRecord } from "../../../transport/protocols/kad_record.ts";
import { framed, kadMessage, kadPeer, recordOf, respelled, utf8 } from "../../support/kad_peers.ts";
import { encodeRecordResponse, recordProtocol } from "../../../transport/protocols/record_message.ts";
import type { Verifies } from "../../../transport/core/parts.ts";
import { answersTo, identityOf, type PlayedOptions, PlayedSession } from "../../support/played_session.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import type { StreamPair } from "../../support/wire_pair.ts";

const test = suite("Records");
const self = kadPeer(1);
const [peerA, peerB, peerC] = [kadPeer(10), kadPeer(11), kadPeer(12)];

interface Options extends Omit<PlayedOptions, "accept"> {
  readonly closest?: readonly string[];
  readonly gateways?: readonly string[];
  readonly closestPeers?: Wire["closestPeers"];
  /** What a peer answers; undefined: a GET_VALUE without a record. */
  readonly answer?: (peer: string, pair: StreamPair) => KadMessage | Uint8Array | "silent" | "reset" | undefined;
  /** What a peer says that it publishes itself; by default it does not speak that protocol, as in the existing network. */
  readonly publishes?: (peer: string, pair: StreamPair) => string | null | Uint8Array | "silent" | "unsupported";
  /** In place of `answer`: what is at the peer's end. */
  readonly serve?: PlayedOptions["accept"];
}

/** The records of a session whose search finds `closest`. */
function played(options: Options = {}) {
  const asked: string[] = [];
  const state = { searchesGivenUp: 0 };
  const session: PlayedSession = new PlayedSession({
    self,
    established: { gateways: () => options.gateways ?? [] },
    ...options,
    accept: options.serve ?? ((pair, peer) => {
      if (pair.a.protocol === recordProtocol) {
        return publisherOf(pair, options.publishes?.(peer, pair) ?? "unsupported");
      }
      return answeringPeer(pair, () => {
        asked.push(peer);
        return options.answer?.(peer, pair) ?? kadMessage({ type: "GET_VALUE" });
      });
    }),
    wire: {
      closestPeers: options.closestPeers ?? ((_key, done) => {
        const timer = session.clock.after(0, () => done(options.closest ?? []));
        return () => {
          state.searchesGivenUp += 1;
          session.clock.cancel(timer);
        };
      }),
    },
  });
  const records = new Records(session.parts);
  const { answers, replyTo } = answersTo<RecordAnswer>();
  const put = (key = "data", value = utf8("value"), timeoutMs = 5_000) =>
    records.put({ type: "record.put", id: key, key, value, timeoutMs, replyTo });
  const get = (key = "data", timeoutMs = 5_000) =>
    records.get({ type: "record.get", id: key, key, timeoutMs, replyTo });
  const said = () => answers.map((answer) => answer.type === "record.failed" ? answer.error.code : answer.type);
  return { session, clock: session.clock, records, answers, asked, put, get, said, state };
}
/** The end of a peer that says what it publishes. */
function publisherOf(pair: StreamPair, what: string | null | Uint8Array): StreamListener | "unsupported" {
  if (what === "unsupported") return "unsupported";
  return {
    data: () => {},
    ended: () => {
      if (what === "silent") return;
      const value = typeof what === "string" ? utf8(what) : what;
      pair.b.end(what instanceof Uint8Array ? what : encodeRecordResponse({ value }));
    },
    closed: () => {},
  };
}
/** The end of a peer that sends its answer once a message has come, and ends when the asker has ended. */
function answeringPeer(
  pair: StreamPair,
  answer: () => KadMessage | Uint8Array | "silent" | "reset",
): StreamListener {
  return {
    data: () => {
      const what = answer();
      if (what === "reset") pair.b.abort("");
      else if (what !== "silent") pair.b.send(what instanceof Uint8Array ? what : framed(what));
    },
    ended: () => pair.b.end(),
    closed: () => {},
  };
}
const found = (record: KadRecord) => kadMessage({ type: "GET_VALUE", record });

test("a record goes to the closest peers and the connected gateways, each once and never to this node", () => {
  const it = played({ gateways: [peerA], closest: [peerB, peerA, self, peerC] });
  it.put();
  assert.equal([it.answers, it.records.size], [[], 1], "inside the call that asked");
  it.clock.pass(0);
  assert.equal([it.asked, it.answers], [[peerA, peerB, peerC], [{ type: "record.stored", id: "data" }]]);
  assert.equal(it.session.pairs.map(({ a }) => a.how), ["done", "done", "done"]);
  assert.equal([it.records.size, it.clock.waiting], [0, 0]);
});

test("where certificates must name a role only gateways are asked, as far as it is known who they are", () => {
  for (const areRolesRequired of [false, true]) {
    const roles = new Map([[peerA, "gateway"], [peerB, "worker"]] as const);
    const it = played({
      closest: [peerA, peerB, peerC],
      established: {
        areRolesRequired,
        identitiesOf: (peer) => [peerA, peerB].includes(peer) ? [identityOf(peer, { role: roles.get(peer) })] : [],
      },
    });
    const targets: unknown[] = [];
    const { connect } = it.session.parts.dialler;
    it.session.parts.dialler.connect = (peer, timeoutMs, done, to) => {
      targets.push(to);
      return connect(peer, timeoutMs, done, to);
    };
    it.get();
    it.clock.pass(0);
    assert.equal(it.asked, areRolesRequired ? [peerA, peerC] : [peerA, peerB, peerC]);
    const to = areRolesRequired ? { roles: ["gateway"] } : undefined;
    assert.equal(targets, it.asked.map(() => to));
  }
});

test("so many peers are asked and no more", () => {
  const it = played({ closest: Array.from({ length: 30 }, (_, index) => kadPeer(100 + index)) });
  it.put();
  it.clock.pass(0);
  assert.is(it.asked.length, recordPeersMax);
});

test("what one node puts another finds at the peer that keeps it, over the core's own streams at all three", () => {
  const clock = new ManualClock();
  const keeper = new PlayedSession({
    clock,
    self: peerA,
    known: (peer) => [identityOf(peer)],
    wire: { kadAnswer: (_connection, message, done) => done(Result.succeed({ ...message, providers: [] })) },
  });
  const kept = new Records(keeper.parts);
  const streams = new KadStreams(keeper.parts, kept);
  const node = (peer: string) =>
    played({
      clock,
      self: peer,
      closest: [peerA],
      serve: (pair, to) => {
        if (to !== peerA) return owner.records.received(owner.session.connectionTo(peer), identityOf(peer), pair.b);
        return streams.received(keeper.connectionTo(peer), identityOf(peer), pair.b);
      },
    });
  const owner: ReturnType<typeof played> = node(self);
  const [seeker, thief] = [node(peerB), node(peerC)];
  owner.put("data", utf8("three"));
  clock.pass(0);
  thief.put("data", utf8("stolen"));
  clock.pass(1_000);
  seeker.get("data");
  clock.pass(0);
  assert.equal([owner.said(), thief.said()], [["record.stored"], ["not-connected"]]);
  assert.equal(seeker.answers, [{
    type: "record",
    id: "data",
    key: "data",
    value: utf8("three"),
    publisher: self,
    identity: identityOf(self),
  }]);
  assert.is(kept.find(utf8("data"))?.ttl, 172_799);
  assert.equal([streams.size, owner.records.size, seeker.records.size, clock.waiting], [0, 0, 0, 0]);
});

test("a record that no peer took is not stored; the search may find no peer at all", () => {
  const cases: Options[] = [
    {},
    { closest: [peerA], dials: () => "failed" },
    { closest: [peerA], answer: () => "reset" },
  ];
  for (const options of cases) {
    const it = played(options);
    it.put();
    it.clock.pass(10_000);
    assert.equal([it.said(), it.records.size, it.clock.waiting], [["not-connected"], 0, 0]);
  }
});

test("a record that the own store refuses is sent to no peer", () => {
  const it = played({ closest: [peerA] });
  it.put("data", new Uint8Array(16_385));
  for (let each = 0; each <= recordsPerPublisherMax; each++) it.put(`${each}`);
  it.clock.pass(0);
  const said = it.said();
  assert.equal([said.filter((code) => code === "failed").length, said.length], [2, recordsPerPublisherMax + 2]);
  assert.is(it.asked.length, recordsPerPublisherMax);
});

test("a record of another key, without a publisher or of one that is no PeerID does not count, nor is it verified", () => {
  const { publisher: _, ...nobodys } = recordOf(20, "data");
  let verified = 0;
  const publishers = [utf8("nobody"), respelled().publisher].map((publisher) => ({ ...nobodys, publisher }));
  for (const record of [recordOf(20, "datb"), nobodys, ...publishers]) {
    const it = played({
      closest: [peerA],
      answer: () => found(record),
      verify: (peer, then) => then(++verified > 0 ? [identityOf(peer)] : []),
    });
    it.get();
    it.clock.pass(0);
    assert.equal(it.answers, [{ type: "record.missing", id: "data" }]);
  }
  assert.is(verified, 0);
});

test("a record of this node's own counts without a peer", () => {
  const it = played({ dials: () => "failed", verify: (_peer, then) => then([]) });
  it.put();
  it.clock.pass(0);
  it.get();
  it.get("another");
  it.clock.pass(0);
  assert.equal(it.said(), ["not-connected", "record", "not-connected"]);
  const [, own] = it.answers;
  assert.equal(own?.type === "record" && [own.value, own.publisher], [utf8("value"), self]);
});

test("an answer that is none, or too large, or late, is left out; the others count", () => {
  const record = recordOf(20, "data");
  const bad: NonNullable<Options["answer"]>[] = [
    () => "reset",
    () => Uint8Array.of(2, 0xff, 0xff),
    () => Uint8Array.of(0x81, 0x80, 0x04), // announces kadMessageMaxBytes + 1
    () => "silent",
    (_peer, pair) => (pair.b.end(), "silent"),
    (_peer, pair) => (pair.b.end(framed(found(record)).subarray(0, 9)), "silent"),
    (_peer, pair) => (pair.close("connection"), "silent"),
  ];
  for (const answer of bad) {
    const it = played({
      closest: [peerA, peerB],
      answer: (peer, pair) => peer === peerA ? answer(peer, pair) : found(record),
    });
    it.get();
    it.clock.pass(3_000);
    assert.equal([it.said(), it.records.size, it.clock.waiting], [["record"], 0, 0]);
    assert.ok(it.session.pairs.every(({ a }) => a.how !== undefined));
  }
});

test("a peer that answers and does not close its stream has its time and no more; the ask is answered at once", () => {
  const it = played({
    closest: [peerA],
    answer: (_peer, pair) => {
      pair.hold(pair.b);
      return kadMessage({ type: "PUT_VALUE" });
    },
  });
  it.put();
  it.clock.pass(0);
  assert.equal([it.said(), it.records.size], [["record.stored"], 1]);
  it.clock.pass(3_000);
  assert.equal([it.records.size, it.clock.waiting, it.session.pairs[0]?.b.how], [0, 0, "reset"]);
});

test("stopping ends such a stream too", () => {
  const it = played({
    closest: [peerA],
    answer: (_peer, pair) => {
      pair.hold(pair.b);
      return kadMessage({ type: "PUT_VALUE" });
    },
  });
  it.put();
  it.clock.pass(0);
  it.records.stop();
  assert.is(it.records.size, 0);
  it.clock.pass(0);
  assert.equal([it.said(), it.clock.waiting, it.session.pairs[0]?.b.how], [["record.stored"], 0, "reset"]);
});

test("an ask whose time is over says so at once and gives up its search, its messages or its verification", () => {
  const stages: [Options, number][] = [
    [{ closestPeers: () => () => {} }, 0],
    [{ closest: [peerA], dials: () => "never" }, 0],
    [{ closest: [peerA], answer: () => "silent" }, 1],
    [{ closest: [peerA], answer: () => found(recordOf(20, "data")), verify: () => {} }, 1],
    [{ closest: [peerA], answer: () => found(recordOf(20, "data")), publishes: () => "silent" }, 2],
  ];
  for (const [options, pairs] of stages) {
    const it = played(options);
    it.get("data", 2_000);
    it.clock.pass(1_999);
    assert.equal(it.said(), []);
    it.clock.pass(1);
    assert.equal([it.said(), it.records.size, it.clock.waiting], [["timed-out"], 0, 0]);
    assert.is(it.session.pairs.filter(({ a }) => a.how !== undefined).length, pairs);
  }
});

test("a verification that ends after the ask's time answers nothing more", () => {
  const questions: Parameters<Verifies["verify"]>[1][] = [];
  const it = played({
    closest: [peerA],
    answer: () => found(recordOf(20, "data")),
    verify: (_peer, then) => void questions.push(then),
  });
  it.get("data", 100);
  it.clock.pass(100);
  questions[0]?.([identityOf(peerA)]);
  it.clock.pass(0);
  assert.equal(it.said(), ["timed-out"]);
});

test("so many asks run at once and no more", () => {
  const it = played({ closestPeers: () => () => {} });
  for (let each = 0; each <= recordAsksMax; each++) it.get(`${each}`);
  it.clock.settle();
  assert.equal([it.said(), it.records.size], [["failed"], recordAsksMax]);
});

test("stopping ends everything at once: searches, messages, lingering streams and verifications", () => {
  const stages: Options[] = [
    { closestPeers: () => () => {} },
    { closest: [peerA], dials: () => "never" },
    { closest: [peerA], answer: () => "silent" },
    { closest: [peerA], answer: () => found(recordOf(20, "data")), verify: () => {} },
    { closest: [peerA], answer: () => found(recordOf(20, "data")), publishes: () => "silent" },
  ];
  for (const options of stages) {
    const it = played(options);
    it.get();
    it.clock.pass(0);
    assert.ok(it.records.size > 0);
    it.records.stop();
    assert.is(it.records.size, 0);
    it.clock.pass(0);
    assert.equal([it.said(), it.clock.waiting], [["stopped"], 0]);
    it.put();
    it.clock.pass(0);
    assert.equal([it.said(), it.records.size], [["stopped", "stopped"], 0]);
  }
});

test.run();
