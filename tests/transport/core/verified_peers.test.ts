/** Which authors and publishers count, for how long, and how many dials that may cost. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Connects } from "../../../transport/core/parts.ts";
import {
  questionsPerPeerMax,
  recentlyVerifiedMax,
  recentlyVerifiedMs,
  verificationsMax,
  VerifiedPeers,
} from "../../../transport/core/verified_peers.ts";
import { TransportError } from "../../../transport/port.ts";
import type { PeerIdentity } from "../../../pki/path.ts";
import { HungUp } from "../../../pki/refusal.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { identityOf } from "../../support/played_session.ts";

const test = suite("VerifiedPeers");

function verifiedWith() {
  const clock = new ManualClock();
  const established = new Map<string, readonly PeerIdentity[]>();
  const dials: { readonly peer: string; readonly done: Parameters<Connects["connect"]>[2] }[] = [];
  const state = { givenUp: 0 };
  const verified = new VerifiedPeers({
    clock,
    established: { identitiesOf: (peer) => established.get(peer) ?? [] },
    dialler: {
      connect: (peer, _timeoutMs, done) => {
        dials.push({ peer, done });
        return () => void (state.givenUp += 1);
      },
    },
  });
  const answers: boolean[] = [];
  const ask = (peer: string) => verified.verify(peer, (identities) => answers.push(identities.length > 0));
  return { verified, clock, established, dials, answers, ask, state };
}
const gone = () => Result.fail(new TransportError({ code: "not-connected", detail: "gone" }));

test("an established peer counts, and one that left a short while ago", () => {
  const { verified, clock, established, answers, ask, dials } = verifiedWith();
  established.set("a", [identityOf("a")]);
  verified.seen(identityOf("a"));
  ask("a");
  established.delete("a");
  clock.pass(recentlyVerifiedMs - 1);
  ask("a");
  assert.equal([answers, dials.length], [[true, true], 0]);
  clock.pass(1);
  ask("a");
  assert.is(dials.length, 1);
});

test("bug: a member that left counted from its connection's beginning on, and not at all where trust had changed since", () => {
  const { verified, clock, answers, ask, dials } = verifiedWith();
  const [member, proven] = [identityOf("a"), identityOf("a")];
  verified.seen(member);
  clock.pass(2 * recentlyVerifiedMs);
  verified.trustChanged();
  verified.left(member, { type: "by-them" }, proven);
  clock.pass(recentlyVerifiedMs - 1);
  assert.equal(verified.known("a"), [proven], "what the newest trust proves");
  ask("a");
  assert.equal([answers, dials.length], [[true], 0]);
  clock.pass(1);
  assert.equal(verified.known("a"), []);
});

test("a member whose certificate was refused, or that was not evaluated with the newest trust, does not count once it left", () => {
  const { verified } = verifiedWith();
  const member = identityOf("a");
  const refusal = new HungUp({ detail: "" });
  verified.seen(member);
  verified.left(member, { type: "trust.changed", refusal }, member);
  assert.equal(verified.known("a"), []);
  verified.left(member, { type: "lost", detail: "" }, undefined);
  assert.equal(verified.known("a"), []);
});

test("a change of trust forgets every peer that is not connected", () => {
  const { verified, established, answers, ask, dials } = verifiedWith();
  verified.seen(identityOf("left"));
  verified.seen(identityOf("here"));
  established.set("here", [identityOf("here")]);
  verified.trustChanged();
  ask("left");
  ask("here");
  assert.equal([answers, dials.map(({ peer }) => peer)], [[true], ["left"]]);
});

test("a stranger is dialled once for all questions, and counts if the dial made it established", () => {
  const { established, answers, ask, dials } = verifiedWith();
  ask("a");
  ask("a");
  assert.is(dials.length, 1);
  established.set("a", [identityOf("a")]);
  dials[0]?.done(Result.succeed(new FakeConnection()));
  assert.equal(answers, [true, true]);
});

test("a peer that could not be verified is not dialled again for ten seconds", () => {
  const { clock, answers, ask, dials } = verifiedWith();
  ask("a");
  dials[0]?.done(gone());
  ask("a");
  assert.equal([answers, dials.length], [[false, false], 1]);
  clock.pass(10_000);
  ask("a");
  assert.is(dials.length, 2);
});

test("one PeerID may be several members: each is remembered and forgotten alone, until its certificate ends", () => {
  const { verified, established, clock } = verifiedWith();
  const roles = () => verified.known("a").map(({ role }) => role);
  const [worker, scheduler] = [
    identityOf("a", { role: "worker" }),
    identityOf("a", { role: "scheduler", notAfter: new Date(clock.now() + 1_000) }),
  ];
  for (const identity of [worker, scheduler]) verified.seen(identity);
  established.set("a", [worker]);
  assert.equal(roles(), ["worker", "scheduler"]);
  clock.pass(1_000);
  assert.equal(roles(), ["worker", "scheduler"]);
  clock.pass(1);
  assert.equal(roles(), ["worker"], "its certificate has ended");
  established.delete("a");
  verified.forget(worker);
  assert.equal(roles(), []);
});

test("dials, questions and what is remembered are bounded", () => {
  const { verified, answers, ask, dials, state } = verifiedWith();
  for (let each = 0; each < questionsPerPeerMax + 1; each++) ask("a");
  assert.equal(answers, [false]);
  for (let each = 0; each < verificationsMax; each++) ask(`peer-${each}`);
  assert.equal([answers.length, dials.length, verified.size], [2, verificationsMax, verificationsMax]);
  verified.stop();
  assert.equal([state.givenUp, verified.size], [verificationsMax, 0]);
  assert.is(answers.length, 1 + questionsPerPeerMax + verificationsMax);
  for (let each = 0; each < recentlyVerifiedMax + 2; each++) verified.seen(identityOf(`seen-${each}`));
  assert.equal([0, 1, 2].map((each) => verified.known(`seen-${each}`).length), [0, 0, 1]);
});

test("a member that is seen again is known once, also after it was forgotten", () => {
  const { verified } = verifiedWith();
  const member = identityOf("a");
  verified.seen(member);
  verified.seen(member);
  assert.is(verified.known("a").length, 1);
  verified.forget(member);
  verified.seen(member);
  assert.is(verified.known("a").length, 1);
  verified.forget(member);
  assert.is(verified.known("a").length, 0);
});

test("a peer that could not be verified is dialled again at once where it was established since, or trust changed", () => {
  const { verified, ask, dials } = verifiedWith();
  const member = identityOf("a");
  const fail = () => {
    ask("a");
    dials.at(-1)?.done(gone());
  };
  fail();
  verified.seen(member);
  verified.forget(member);
  fail();
  assert.is(dials.length, 2);
  verified.trustChanged();
  fail();
  assert.is(dials.length, 3);
});

test("a dial that succeeded is no failure: a peer whose connection ended since is dialled again", () => {
  const { established, answers, ask, dials } = verifiedWith();
  ask("a");
  established.set("a", [identityOf("a")]);
  dials[0]?.done(Result.succeed(new FakeConnection()));
  established.delete("a");
  ask("a");
  assert.equal([answers, dials.length], [[true], 2]);
});

test("a dial that failed answers its questions with nobody: who connected meanwhile counts from the next one on", () => {
  const { established, answers, ask, dials } = verifiedWith();
  ask("a");
  established.set("a", [identityOf("a")]);
  dials[0]?.done(gone());
  ask("a");
  assert.equal(answers, [false, true]);
});

test("so many failures are remembered: the oldest is forgotten, and a peer that failed again is the newest", () => {
  const { clock, ask, dials } = verifiedWith();
  const fail = (peer: string) => {
    ask(peer);
    dials.at(-1)?.done(gone());
  };
  const isDialled = (peer: string) => {
    const before = dials.length;
    ask(peer);
    return dials.length > before;
  };
  for (let each = 0; each <= recentlyVerifiedMax; each++) fail(`${each}`);
  assert.equal([isDialled("1"), isDialled("0")], [false, true]);
  clock.pass(10_000);
  fail("1");
  fail("one more");
  assert.is(isDialled("1"), false);
});

test.run();
