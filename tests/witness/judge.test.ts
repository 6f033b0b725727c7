/** What a witness concludes from a node's answers, and from what other witnesses hold. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keyOf } from "../../actors/simulation/authority.ts";
import { startsAt } from "../../actors/simulation/simulation.ts";
import { headMessage, type OpenedHead } from "../../actors/witness/held_head.ts";
import { judgeOwner, judgeTold, needsProof, type TrustAt, type Verdict } from "../../actors/witness/judge.ts";
import type { AuditResponse } from "../../transport/protocols/messages.ts";
import { growTo, logOwner, ownersTrust, proofOf, stateOf } from "../support/log_owners.ts";

const test = suite("judgeOwner() and judgeTold()");
const at = new Date(startsAt);
const dayMs = 86_400_000;

/** A node's log of 20 records: its state of 10, and logs that branch off it after some records. */
async function makeCase() {
  const owner = await logOwner("ca-01", "ca");
  const log = growTo(owner.log, 20);
  const part = (records: number) => growTo(log.fork(records), records);
  const branch = (common: number, records: number) => growTo(log.fork(common), records, "another record");
  const rekeyed = growTo(log.fork(0, keyOf("judge", "another key")), 20);
  const trust: TrustAt = { snapshot: await ownersTrust(), at };
  const judge = (answer: AuditResponse, held?: OpenedHead, trusted: TrustAt = trust) =>
    judgeOwner({ origin: owner.origin, held, answer, trust: trusted });
  const state = (of: typeof log) => stateOf(of, owner);
  return { owner, log, part, branch, rekeyed, trust, judge, state };
}

const shortOf = (verdict: Verdict) =>
  verdict.type === "continued"
    ? `continued ${verdict.head.size}`
    : verdict.type === "forked"
    ? `forked ${verdict.problem} ${verdict.held.size} ${verdict.other.size}`
    : `${verdict.cause}: ${verdict.detail}`;

test("a node's first state is taken, and later ones where the proof shows that they continue the held one", async () => {
  const { owner, log, part, branch, judge, state } = await makeCase();
  const held = state(part(10));
  const proof = await proofOf(log, { owner, old: 10 });
  assert.equal([shortOf(judge(proof)), shortOf(judge(proof, held))], ["continued 20", "continued 20"]);
  const same = judge(await proofOf(log, { owner, old: 20 }), state(log));
  assert.is(shortOf(same), "continued 20");
  const wrong = await proofOf(log, { owner, old: 9 });
  assert.is(shortOf(judge(wrong, held)), "forked rewritten 10 20");
  const rewritten = await proofOf(branch(5, 20), { owner, old: 10 });
  assert.is(shortOf(judge(rewritten, held)), "forked rewritten 10 20");
});

test("a node whose log has fewer records, two states of one size or another key has forked it; the evidence is both states", async () => {
  const { owner, log, part, branch, rekeyed, judge, state } = await makeCase();
  const held = state(log);
  for (
    const [shown, found] of [
      [part(10), "forked shrunk 20 10"],
      [branch(19, 20), "forked split 20 20"],
      [rekeyed, "forked other-key 20 20"],
    ] as const
  ) {
    const verdict = judge(await proofOf(shown, { owner, old: shown.size }), held);
    assert.is(shortOf(verdict), found);
    assert.ok(verdict.type === "forked");
    assert.equal([verdict.held.note, verdict.other.note], [held.note, shown.newest()!.note]);
  }
});

test("an answer without a state of the node's own log proves nothing", async () => {
  const { owner, log, judge, state } = await makeCase();
  const held = state(log);
  const refused = (detail: string) => `refused: ${detail}`;
  assert.is(shortOf(judge({ NoProof: "unavailable" }, held)), refused("the node has no proof (unavailable)"));
  assert.is(shortOf(judge({ Noted: 1 }, held)), refused("the node answered something else"));
  const noState = refused("the node sent no checkpoint of its log");
  const head = { ...headMessage(held), checkpoint: "none" };
  assert.is(shortOf(judge({ Proof: { head, path: [] } }, held)), noState);
  const neighbour = await logOwner("gateway-01", "gateway");
  const others = await proofOf(growTo(neighbour.log, 20), { owner: neighbour, old: 20 });
  assert.is(shortOf(judge(others, held)), noState);
  assert.is(owner.origin, "sim.hypha/audit/ca/ca-01");
});

test("a state counts only where a certificate that is trusted now binds its key to the node", async () => {
  const { owner, log, rekeyed, trust, judge, state } = await makeCase();
  const held = state(log);
  const neighbour = await logOwner("gateway-01", "gateway");
  const unbound = "untrusted: its key is not bound to the log's node";
  const byNeighbour = await proofOf(rekeyed, { owner: neighbour, old: 20 });
  assert.is(shortOf(judge(byNeighbour, held)), unbound);
  const proof = await proofOf(rekeyed, { owner, old: 20 });
  const forged = headMessage({
    ...state(rekeyed),
    binding: { ...state(rekeyed).binding, signature: Uint8Array.of(1) },
  });
  assert.is(shortOf(judge({ Proof: { head: forged, path: [] } }, held)), unbound);
  assert.is(
    shortOf(judge(proof, held, { snapshot: undefined, at })),
    "untrusted: no trust is loaded that its certificate could be verified with",
  );
  const later = { ...trust, at: new Date(startsAt + 366 * dayMs) };
  assert.match(shortOf(judge(proof, held, later)), /^untrusted: its key is bound by a refused certificate \(.*expired/);
  assert.is(shortOf(judge(proof, held)), "forked other-key 20 20");
});

test("a told state needs a proof where it is an earlier one under the same key", async () => {
  const { log, part, rekeyed, state } = await makeCase();
  const held = state(part(10));
  const needs = (told: OpenedHead) => needsProof(held, told);
  assert.equal([9, 10, 11].map((size) => needs(state(part(size)))), [true, false, false]);
  const early = growTo(rekeyed.fork(0, keyOf("judge", "another key")), 5);
  assert.equal([needs(state(early)), needs(state(log))], [false, false]);
});

test("what another witness holds agrees with the held state, is proven to lead to it, or is evidence of a fork", async () => {
  const { owner, log, part, branch, rekeyed, trust, state } = await makeCase();
  const held = state(log);
  const judge = (told: OpenedHead, answer?: AuditResponse) => shortOf(judgeTold({ held, told, answer, trust }));
  const proof = await proofOf(log, { owner, old: 10 });
  assert.is(judge(state(part(10)), proof), "continued 20");
  assert.is(judge(state(branch(5, 10)), proof), "forked rewritten 10 20");
  assert.is(judge(held), "continued 20");
  assert.is(judge(state(branch(5, 20))), "forked split 20 20");
  assert.is(judge(state(growTo(log.fork(), 21))), "forked shrunk 21 20");
  assert.is(judge(state(rekeyed)), "forked other-key 20 20");
  const silent = "refused: the log's node gave no proof";
  assert.is(judge(state(part(10))), silent);
  assert.is(judge(state(part(10)), { NoProof: "unavailable" }), silent);
});

test("what another witness holds is no evidence where it is of another log, or no certificate of the log's node binds its key", async () => {
  const { log, rekeyed, trust, state } = await makeCase();
  const held = state(log);
  const judge = (told: OpenedHead) => shortOf(judgeTold({ held, told, answer: undefined, trust }));
  const neighbour = await logOwner("gateway-01", "gateway");
  assert.is(judge(stateOf(growTo(neighbour.log, 20), neighbour)), "refused: it is about another log");
  assert.is(judge({ ...state(log), origin: "another" }), "refused: it is about another log");
  assert.is(judge(stateOf(rekeyed, neighbour)), "untrusted: its key is not bound to the log's node");
});

test.run();
