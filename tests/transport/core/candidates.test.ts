import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Candidates, type CandidateState } from "../../../transport/core/candidates.ts";
import { utf8 } from "../../support/kad_peers.ts";
import { identityOf } from "../../support/played_session.ts";

const test = suite("Candidates");
const confirmed = (value = "true"): CandidateState => ({ type: "confirmed", value: utf8(value), identity: undefined });
const unsupported: CandidateState = { type: "unsupported", identity: identityOf("existing") };
const rejected: CandidateState = { type: "rejected" };

/** Candidates after these answers, each `publisher`, `publisher=value` or, from a gateway, with `!` in front. */
function after(hints: readonly string[], states: Readonly<Record<string, CandidateState>> = {}): Candidates {
  const candidates = new Candidates();
  for (const hint of hints) {
    const [publisher = "", value = "v"] = hint.replace("!", "").split("=");
    candidates.add({ publisher, value: utf8(value), isTrusted: hint.startsWith("!") });
  }
  for (const candidate of candidates.ranked()) candidate.state = states[candidate.publisher] ?? candidate.state;
  return candidates;
}
const order = (...hints: string[]) => after(hints).ranked().map(({ publisher }) => publisher);
const decided = (hints: readonly string[], states: Readonly<Record<string, CandidateState>>, isLate = false) => {
  const found = after(hints, states).decide(isLate);
  return typeof found === "string" ? found : `${found.publisher}=${new TextDecoder().decode(found.value)}`;
};

test("publishers that more gateways name come first, then those of more answers, then by PeerID; whoever answered first", () => {
  assert.equal(order("a", "a", "a", "!b"), ["b", "a"]);
  assert.equal(order("a", "b", "b"), ["b", "a"]);
  assert.equal(order("b", "a"), ["a", "b"]);
  assert.equal(order("a", "b"), ["a", "b"]);
  assert.equal(order("!a", "!b", "!b"), ["b", "a"]);
});

test("what a publisher says itself counts, whatever the answers say of it and however many name another", () => {
  const forged = ["a=forged", "a=forged", "liar", "liar", "liar"];
  assert.is(decided(forged, { a: confirmed(), liar: rejected }), "a=true");
  assert.is(decided(["a", "b"], { a: rejected, b: rejected }), "missing");
  assert.is(decided([], {}), "missing");
});

test("nobody is found before all who come first are through, except when time is over", () => {
  for (const state of [{ type: "waiting" }, { type: "asking" }] as const) {
    assert.is(decided(["a", "b"], { a: state, b: confirmed() }), "undecided");
    assert.is(decided(["a", "b"], { a: confirmed(), b: state }), "a=true");
    assert.is(decided(["a", "b"], { a: state, b: confirmed() }, true), "b=true");
  }
  assert.is(decided(["a"], { a: unsupported }, true), "missing", "a majority of some of the answers is none");
});

test("of a publisher that does not speak the protocol more than half of all answers count, and half of them do not", () => {
  assert.is(decided(["a"], { a: unsupported }), "a=v");
  assert.is(decided(["a", "a", "b"], { a: unsupported, b: unsupported }), "a=v");
  assert.is(decided(["a", "b"], { a: unsupported, b: unsupported }), "missing");
  assert.is(decided(["a", "a=w", "a=w"], { a: unsupported }), "a=w");
  assert.is(decided(["a", "a=w"], { a: unsupported }), "missing");
  assert.is(decided(["!a", "b", "b"], { a: unsupported, b: rejected }), "missing");
  assert.is(decided(["!a", "b", "b"], { a: unsupported, b: confirmed() }), "b=true");
  assert.is(decided(["a", "a", "b"], { a: unsupported, b: confirmed() }), "a=v", "no one member outvotes the others");
});

test("counts who is being asked", () => {
  assert.is(after(["a", "b", "c"], { a: { type: "asking" }, b: { type: "asking" } }).asking, 2);
});

test.run();
