/** One check of one log: what its node is asked, and how the check ends. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startsAt } from "../../actors/simulation/simulation.ts";
import { auditCheckMachine, type CheckEnded, type CheckInput } from "../../actors/witness/check.ts";
import type { OpenedHead } from "../../actors/witness/held_head.ts";
import type { AuditResponse } from "../../transport/protocols/messages.ts";
import type { TransportError } from "../../transport/port.ts";
import { failedWith, makeFakeWorld, startUnderParent } from "../support/fake_transport.ts";
import { growTo, logOwner, ownersTrust, proofOf, stateOf } from "../support/log_owners.ts";

const test = suite("auditCheckMachine");

/** A node's log of 20 records, and checks of it that a test answers. */
async function makeCase() {
  const owner = await logOwner("ca-01", "ca");
  const log = growTo(owner.log, 20);
  const snapshot = await ownersTrust();
  const state = (records: number) => stateOf(growTo(log.fork(records), records), owner);
  const branch = (records: number) => stateOf(growTo(log.fork(1), records, "another record"), owner);
  const proof = (old: number, of = log, to = of.size) => proofOf(of, { owner, old, to });
  return { owner, log, state, branch, proof, check: (given: Partial<CheckInput> = {}) => start(given) };

  function start(given: Partial<CheckInput>) {
    const world = makeFakeWorld();
    const { said } = startUnderParent(world, auditCheckMachine, {
      ports: world.ports,
      transport: world.transport,
      peer: owner.peer.peer,
      from: "ca-01 its peer",
      origin: owner.origin,
      held: undefined,
      told: [],
      trust: () => ({ snapshot, at: new Date(startsAt) }),
      ...given,
    });
    const asked = () => world.takeOne("request");
    return {
      asked,
      /** Answers the one request, and returns what it asked for. */
      answer(message: AuditResponse) {
        const { id, message: request, replyTo } = asked();
        replyTo.send({ type: "response", id, message });
        return (request as { readonly Prove: { readonly old: number; readonly new: number | null } }).Prove;
      },
      fail(code: TransportError["code"]) {
        const { id, replyTo } = asked();
        replyTo.send({ type: "request.failed", id, error: failedWith(code) });
      },
      ended(): CheckEnded | undefined {
        assert.equal(world.take("request").map(({ id }) => id), []);
        const [end, ...more] = said.filter(({ type }) => type === "check.ended");
        assert.equal(more, []);
        return end as CheckEnded | undefined;
      },
    };
  }
}

const toldOf = (...heads: readonly OpenedHead[]) => heads.map((head, index) => ({ head, from: `witness ${index}` }));

test("a node whose log is not held is asked for its newest state, without a dial and for ten seconds", async () => {
  const { owner, log, proof, check } = await makeCase();
  const { asked, ended } = check();
  const { replyTo, id, ...request } = asked();
  const { origin, peer: { peer } } = owner;
  assert.equal(request, {
    type: "request",
    peer,
    dial: "never",
    protocol: "/hypha-audit/1",
    message: { Prove: { origin, old: 0, new: null } },
    timeoutMs: 10_000,
  });
  assert.is(ended(), undefined);
  replyTo.send({ type: "response", id, message: await proof(0) });
  const { head, verdict, ...rest } = ended()!;
  assert.equal(rest, { type: "check.ended", origin, from: "ca-01 its peer", isProven: true, isUnsupported: false });
  assert.equal([head?.note, verdict.type], [log.newest()!.note, "continued"]);
});

test("a node is asked to continue the held state; a state that forks or proves nothing is not taken", async () => {
  const { log, state, branch, proof, check } = await makeCase();
  const held = state(10);
  const other = growTo(log.fork(5), 15, "another record");
  for (
    const [answer, verdict, size] of [
      [await proof(10), "continued", 20],
      [await proof(10, other), "forked", 10],
      [{ NoProof: "unavailable" } as const, "unproven", 10],
    ] as const
  ) {
    const { answer: answered, ended } = check({ held, told: verdict === "continued" ? [] : toldOf(branch(10)) });
    const { old, new: until } = answered(answer);
    assert.equal([old, until], [10, null]);
    const { head, verdict: found, isProven } = ended()!;
    assert.equal([head?.size, found.type, isProven], [size, verdict, verdict === "continued"]);
  }
  const { answer, ended } = check({ told: toldOf(branch(10)) });
  answer({ NoProof: "no-checkpoint" });
  assert.equal([ended()!.head, ended()!.verdict.type], [undefined, "unproven"]);
});

test("a node that answers nothing useful refuses; one that did not answer says nothing", async () => {
  const { state, check } = await makeCase();
  for (
    const [code, cause] of [
      ["unsupported", "refused"],
      ["no-answer", "refused"],
      ["malformed", "refused"],
      ["not-connected", "silent"],
      ["timed-out", "silent"],
      ["stream-reset", "silent"],
    ] as const
  ) {
    const { fail, ended } = check({ held: state(10), told: toldOf(state(9)) });
    fail(code);
    const { head, verdict, from, isUnsupported } = ended()!;
    assert.equal(verdict, { type: "unproven", detail: `the node did not answer (${code})`, cause });
    assert.equal([head?.size, from, isUnsupported], [10, "ca-01 its peer", code === "unsupported"]);
  }
});

test("each earlier state that others told is proven to lead to the state that the node has just shown", async () => {
  const { state, proof, check } = await makeCase();
  const { answer, ended } = check({ held: state(10), told: toldOf(state(5), state(20), state(7)) });
  answer(await proof(10));
  const asked = [answer(await proof(5)), answer(await proof(7))].map(({ old, new: until }) => [old, until]);
  assert.equal(asked, [[5, 20], [7, 20]]);
  const { head, verdict, from } = ended()!;
  assert.equal([head?.size, verdict.type, from], [20, "continued", "witness 2"]);
});

test("a told state that contradicts the node's one ends the check and names who told it", async () => {
  const { state, branch, proof, check } = await makeCase();
  for (const [size, problem] of [[20, "split"], [25, "shrunk"], [5, "rewritten"]] as const) {
    const { answer, ended } = check({ told: toldOf(state(20), branch(size), state(7)) });
    answer(await proof(0));
    if (size < 20) answer(await proof(size));
    const { head, verdict, from } = ended()!;
    assert.equal([head?.size, from], [20, "witness 1"]);
    assert.ok(verdict.type === "forked");
    assert.is(verdict.problem, problem);
  }
});

test("a told state whose proof the node does not give is unproven; the next ones are compared", async () => {
  const { state, branch, proof, check } = await makeCase();
  const first = check({ told: toldOf(state(5)) });
  first.answer(await proof(0));
  first.fail("timed-out");
  assert.equal([first.ended()!.verdict.type, first.ended()!.from], ["unproven", "witness 0"]);
  const second = check({ told: toldOf(state(5), state(6), branch(7)) });
  second.answer(await proof(0));
  second.fail("timed-out");
  second.answer({ NoProof: "unavailable" });
  second.answer(await proof(7));
  const { head, verdict, from, isUnsupported } = second.ended()!;
  assert.equal([head?.size, verdict.type, from, isUnsupported], [20, "forked", "witness 2", false]);
});

test("bug: a told state that the node did not prove was passed over where it proved the next one", async () => {
  const { state, proof, check } = await makeCase();
  for (const later of [state(6), state(20)]) {
    const { answer, ended } = check({ told: toldOf(state(5), later) });
    answer(await proof(0));
    answer({ NoProof: "unavailable" });
    if (later.size < 20) answer(await proof(6));
    const { head, verdict, from } = ended()!;
    assert.equal([head?.size, verdict.type, from], [20, "unproven", "witness 0"]);
  }
});

test.run();
