/** What a look-up asks of publishers that answers name, how many at once and for how long, and what counts. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { memberOf } from "../../../pki/member.ts";
import type { FoundRecord } from "../../../transport/core/candidates.ts";
import { Lookup, publishersAtOnce, publisherTimeoutMs } from "../../../transport/core/lookup.ts";
import {
  encodeRecordResponse,
  recordAnswerMaxBytes,
  recordProtocol,
  recordValueMaxBytes,
} from "../../../transport/protocols/record_message.ts";
import { utf8 } from "../../support/kad_peers.ts";
import { identityOf, type PlayedOptions, PlayedSession } from "../../support/played_session.ts";
import type { PairVerdict, StreamPair } from "../../support/wire_pair.ts";

const test = suite("Lookup");

type Says = string | null | Uint8Array | "unsupported" | "silent" | "reset" | "nothing";

interface Options extends PlayedOptions {
  readonly says?: (peer: string) => Says;
  readonly own?: Uint8Array;
}

/** The end of a publisher. */
function publisher(pair: StreamPair, says: Says): PairVerdict {
  if (says === "unsupported") return "unsupported";
  const value = typeof says === "string" ? utf8(says) : says;
  return {
    data: () => {},
    ended: () => {
      if (says === "reset") pair.b.abort("");
      else if (says !== "silent") pair.b.end(says === "nothing" ? undefined : encodeRecordResponse({ value }));
    },
    closed: () => {},
  };
}

function lookup(options: Options = {}) {
  const asked: string[] = [];
  const session = new PlayedSession({
    accept: (pair, peer) => {
      assert.is(pair.a.protocol, recordProtocol);
      asked.push(peer);
      return publisher(pair, options.says?.(peer) ?? null);
    },
    ...options,
  });
  const found: (FoundRecord | "missing")[] = [];
  const state = { open: 0 };
  const it = new Lookup({
    parts: session.parts,
    key: "data",
    own: () => options.own,
    began: () => void (state.open += 1),
    over: () => void (state.open -= 1),
    done: (what) => void found.push(what),
  });
  const name = (...publishers: string[]) => {
    for (const each of publishers) it.hint({ publisher: each, value: utf8("forged"), isTrusted: false });
  };
  const said = () =>
    found.map((what) => what === "missing" ? what : `${what.publisher}=${new TextDecoder().decode(what.value)}`);
  return { it, session, clock: session.clock, asked, name, said, found, state };
}

test("a publisher gives its value itself, with the identity of the connection on which it was asked", () => {
  const { it, clock, name, found, asked, state } = lookup({ says: (peer) => peer === "data" ? "true" : null });
  name("liar", "liar", "data");
  it.hinted();
  clock.pass(0);
  assert.equal(found, [{ publisher: "data", value: utf8("true"), identity: identityOf("data") }]);
  assert.equal([asked.sort(), state.open, clock.waiting], [["data", "liar"], 0, 0]);
});

test("a publisher that may not publish is not asked, and nothing is reported of it: it did nothing", () => {
  const { it, session, clock, name, said, asked } = lookup({
    says: () => "true",
    verify: (peer, then) => then(peer === "stranger" ? [] : [identityOf(peer)]),
    refuses: (act, { peer }) => act === "record.put" && peer === "worker",
  });
  name("worker", "worker", "stranger", "data");
  it.hinted();
  clock.pass(0);
  assert.equal([said(), asked, session.facts], [["data=true"], ["data"], []]);
});

test("a PeerID with two certificates is asked as the member that may publish", () => {
  const [worker, data] = [identityOf("both", { role: "worker" }), identityOf("both", { role: "data" })];
  const { it, session, clock, name, said } = lookup({
    says: () => "true",
    refuses: (_act, identity) => identity.role !== "data",
    verify: (_peer, then) => then([worker, data]),
    known: () => [worker, data],
    established: { identityOf: () => data },
  });
  const targets: unknown[] = [];
  const { connect } = session.parts.dialler;
  session.parts.dialler.connect = (peer, timeoutMs, done, to) => {
    targets.push(to);
    return connect(peer, timeoutMs, done, to);
  };
  name("both");
  it.hinted();
  clock.pass(0);
  assert.equal([said(), targets], [["both=true"], [{ member: memberOf(data) }]]);
});

test("what is no answer does not count: none, malformed, too large, reset", () => {
  const large = encodeRecordResponse({ value: new Uint8Array(recordValueMaxBytes + 1) });
  const bad: PlayedOptions["accept"][] = [
    (pair) => publisher(pair, null),
    (pair) => publisher(pair, "nothing"),
    (pair) => publisher(pair, "reset"),
    (pair) => ({ data: () => {}, ended: () => pair.b.end(Uint8Array.of(0xff)), closed: () => {} }),
    (pair) => ({ data: () => {}, ended: () => pair.b.end(large), closed: () => {} }),
    (pair) => ({ data: () => {}, ended: () => pair.b.end(new Uint8Array(recordAnswerMaxBytes + 1)), closed: () => {} }),
    () => "too-many",
  ];
  for (const accept of bad) {
    const { it, clock, name, said, state } = lookup({ ...accept && { accept } });
    name("data");
    it.hinted();
    clock.pass(0);
    assert.equal([said(), state.open, clock.waiting], [["missing"], 0, 0]);
  }
});

test("a publisher that does not speak the protocol counts with what more than half of all answers say", () => {
  for (
    const [hints, expected] of [[["a"], "a=forged"], [["a", "b"], "missing"], [["b", "a", "a"], "a=forged"]] as const
  ) {
    const { it, clock, name, said } = lookup({ says: () => "unsupported" });
    name(...hints);
    clock.pass(0);
    assert.equal(said(), [], "not before all have answered");
    it.hinted();
    assert.equal(said(), [expected]);
  }
});

test("a mute publisher costs its own three seconds, also one whose verification does not end, and no other is held up", () => {
  const stages: Options[] = [
    { says: (peer) => peer === "data" ? "true" : "silent" },
    { says: () => "true", verify: (peer, then) => peer === "data" ? then([identityOf(peer)]) : undefined },
    { says: () => "true", dials: (peer) => peer === "data" ? "connected" : "never" },
  ];
  for (const options of stages) {
    const { it, clock, name, said, asked, state } = lookup(options);
    name("mute", "mute", "data");
    it.hinted();
    clock.pass(0);
    assert.ok(asked.includes("data"), "asked at once");
    clock.pass(publisherTimeoutMs - 1);
    assert.equal(said(), []);
    clock.pass(1);
    assert.equal([said(), state.open, clock.waiting], [["data=true"], 0, 0]);
  }
});

test("at the end of its time the publishers count that gave their value; without one it says nothing", () => {
  for (const mute of ["mute", "data"]) {
    const { it, clock, name, said } = lookup({ says: (peer) => peer === "data" ? "true" : "silent" });
    name("mute", "mute");
    if (mute === "mute") name("data");
    clock.pass(0);
    it.late();
    it.late();
    assert.equal(said(), mute === "mute" ? ["data=true"] : []);
    it.stop();
    clock.pass(0);
    assert.is(clock.waiting, 0);
  }
});

test("bug: a publisher counted that was revoked, or lost its right, while the look-up waited for others", () => {
  for (const lost of ["certificate", "right", "connection"] as const) {
    for (const isLate of [false, true]) {
      let [isLost, isKnown] = [false, true];
      const { it, clock, name, said, asked } = lookup({
        says: (peer) => peer === "liar" ? "silent" : "true",
        verify: (peer, then) => {
          isKnown = peer !== "data" || !isLost || lost !== "certificate"; // an unknown peer is verified by a dial
          then(isKnown ? [identityOf(peer)] : []);
        },
        known: (peer) => peer === "data" && !isKnown ? [] : [identityOf(peer)],
        refuses: (act, { peer }) => act === "record.put" && peer === "data" && isLost && lost === "right",
      });
      name("liar", "liar", "data");
      it.hinted();
      clock.pass(100);
      assert.equal([said(), asked.length], [[], 2]);
      [isLost, isKnown] = [true, lost === "right"];
      if (isLate) it.late();
      else clock.pass(publisherTimeoutMs);
      const isAskedAgain = !isLate && lost === "connection";
      const expected = isLate ? [] : [isAskedAgain ? "data=true" : "missing"];
      assert.equal([said(), asked.length], [expected, isAskedAgain ? 3 : 2], `${lost} ${isLate}`);
      it.stop();
    }
  }
});

test("a publisher that is not known any more when it has given its value again does not count, and is asked no third time", () => {
  let isKnown = true;
  const { it, clock, name, said, asked } = lookup({
    says: (peer) => peer === "liar" ? "silent" : "true",
    verify: (peer, then) => then([identityOf(peer)]),
    known: (peer) => isKnown ? [identityOf(peer)] : [],
  });
  name("liar", "liar", "data");
  it.hinted();
  clock.pass(100);
  isKnown = false;
  clock.pass(publisherTimeoutMs);
  assert.equal([said(), asked.length], [["missing"], 3]);
});

test("another member of the same PeerID does not stand for the publisher that gave its value", () => {
  const [data, worker] = [identityOf("data", { role: "data" }), identityOf("data", { role: "worker" })];
  let known = [data];
  const { it, clock, name, said } = lookup({
    says: (peer) => peer === "liar" ? "silent" : "true",
    verify: (peer, then) => then(peer === "liar" ? [identityOf(peer)] : known),
    known: () => known,
    refuses: (_act, { role }) => role === "worker",
    established: { identityOf: () => data },
  });
  name("liar", "liar", "data");
  it.hinted();
  clock.pass(100);
  known = [worker];
  clock.pass(publisherTimeoutMs);
  assert.equal(said(), ["missing"]);
});

test("so many publishers are asked at once, those that most answers name first, and each of them once", () => {
  const { it, clock, name, asked, said } = lookup({ says: () => "silent" });
  const publishers = Array.from({ length: publishersAtOnce + 2 }, (_, at) => `p${at}`);
  name(...publishers);
  name("p9");
  clock.pass(0);
  assert.is(asked.length, publishersAtOnce);
  name("p0");
  clock.pass(publisherTimeoutMs);
  assert.equal(asked.slice(publishersAtOnce), ["p9", "p8"]);
  it.hinted();
  clock.pass(publisherTimeoutMs);
  assert.equal([said(), asked.length, clock.waiting], [["missing"], publishers.length, 0]);
});

test("this node's own record counts without a question; named as a publisher of nothing, it does not", () => {
  for (const own of [utf8("own"), undefined]) {
    const { it, name, found, asked } = lookup({ self: "self", ...own && { own } });
    name("self");
    it.hinted();
    assert.equal(found, [own === undefined ? "missing" : { publisher: "self", value: own, identity: undefined }]);
    assert.equal(asked, []);
  }
});

test("once stopped it asks and says nothing more", () => {
  const { it, clock, name, said, asked } = lookup({ says: () => "true" });
  it.stop();
  name("data");
  it.hinted();
  it.late();
  clock.pass(0);
  assert.equal([said(), asked], [[], []]);
});

test.run();
