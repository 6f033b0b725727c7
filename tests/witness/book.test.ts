/** What a witness knows: whose turn it is, which states it holds, and what it takes of other witnesses and tells them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { otherLogsMax, sharedLogsMax, staleMs, toldMax, WitnessBook } from "../../actors/witness/book.ts";
import type { HeldLog, OpenedHead } from "../../actors/witness/held_head.ts";
import type { MemberRole } from "../../pki/certificate.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { identityOf } from "../support/fake_transport.ts";

const test = suite("WitnessBook");
const everyMs = 600_000;

/** An identity with a role, and names of its certificate. */
function memberOf(peer: string, role: MemberRole, { name, names = [] }: { name?: string; names?: string[] } = {}) {
  return { ...identityOf(peer, undefined, name), role, names } as unknown as PeerIdentity;
}

/** A member, and the origin of its log. */
function member(name: string, role: MemberRole, peer = `${name}-peer`) {
  const identity = memberOf(peer, role, { name, names: [`URI:spiffe://sim/${role}/${name}`] });
  return { identity, origin: `sim/audit/${role}/${name}` };
}

/** A member whose certificate names no SPIFFE ID. */
const nameless = memberOf("nameless-peer", "ca");

const gateway = member("gateway-01", "gateway");
const ca = member("ca-01", "ca");
const worker = member("worker-01", "worker");

/** The book looks at names, sizes and notes alone. */
const headAt = (origin: string, size: number, key = "key"): OpenedHead => ({
  origin,
  size,
  root: new Uint8Array(32),
  note: `${origin} ${size} ${key}`,
  binding: { key, signature: new Uint8Array(), chain: [] },
});

const logOf = (origin: string, more: Partial<HeldLog> = {}): HeldLog => ({
  head: headAt(origin, 30),
  isShared: true,
  at: 0,
  fork: undefined,
  ...more,
});

const forkOf = (origin: string): HeldLog["fork"] => {
  const [held, other] = [headAt(origin, 4), headAt(origin, 5)];
  return { problem: "split", held, other, at: 0, from: "gateway-02 peer" };
};

function bookWith(...members: readonly { readonly identity: PeerIdentity }[]): WitnessBook {
  const book = new WitnessBook(everyMs);
  for (const { identity } of members) book.established(identity, 1_000);
  return book;
}

/** The origins of all checks that may begin, which count as running. */
function begun(book: WitnessBook): readonly string[] {
  const origins: string[] = [];
  for (let next = book.next(); next !== undefined; next = book.next()) origins.push(next.origin);
  return origins;
}

/** The origins of the checks whose turn it is at a time, which end at once. */
function dueAt(book: WitnessBook, now: number): readonly string[] {
  book.takeDue(now);
  const origins = begun(book);
  for (const origin of origins) book.ended(origin);
  return origins;
}

// ── Checks ──

test("a node is asked when its turn comes, and again after three quarters of the period", () => {
  const book = bookWith(ca);
  assert.equal([dueAt(book, 999), dueAt(book, 1_000)], [[], [ca.origin]]);
  const again = 1_000 + 0.75 * everyMs;
  assert.equal([dueAt(book, again - 1), dueAt(book, again)], [[], [ca.origin]]);
});

test("a clock that goes back by more than a period delays no turn", () => {
  const book = bookWith(ca);
  assert.equal(dueAt(book, 1_000 - everyMs), []);
  assert.equal(dueAt(book, 1_000 - everyMs - 1), [ca.origin]);
});

test("a check names its node, what is held, and what other witnesses told since its last check", () => {
  const book = bookWith(ca, gateway);
  const from = "ca-01 ca-01-peer";
  const told = (size: number) => {
    const head = headAt(ca.origin, size);
    assert.is(book.takeTold(gateway.identity, head, 2_000), "asked");
    return [{ head, from: "gateway-01 gateway-01-peer" }];
  };
  book.takeDue(1_000);
  assert.equal(book.next(), { origin: ca.origin, peer: "ca-01-peer", from, held: undefined, told: [] });
  book.ended(ca.origin);
  assert.is(book.next()?.origin, gateway.origin);
  const { head: held } = logOf(ca.origin);
  book.hold(logOf(ca.origin));
  for (const size of [20, 21]) {
    const expected = { origin: ca.origin, peer: "ca-01-peer", from, held, told: told(size) };
    assert.equal(book.next(), expected);
    book.ended(ca.origin);
  }
});

test("no log is checked twice at once; its next check begins after the one that runs", () => {
  const book = bookWith(ca, gateway);
  book.takeDue(1_000);
  assert.equal([begun(book), book.running], [[ca.origin, gateway.origin], 2]);
  book.takeDue(1_000 + everyMs);
  assert.equal([begun(book), book.running], [[], 2]);
  book.ended(gateway.origin);
  assert.is(book.running, 1);
  assert.equal([begun(book), book.running], [[gateway.origin], 2]);
});

test("a log that is known to be forked is checked no more", () => {
  const book = bookWith(ca, gateway);
  book.hold(logOf(ca.origin, { fork: forkOf(ca.origin) }));
  book.hold(logOf(gateway.origin));
  assert.equal(dueAt(book, 1_000), [gateway.origin]);
});

test("a node that does not take part is asked again after the same member has connected again", () => {
  const book = bookWith(ca);
  book.deaf(ca.origin);
  book.deaf("sim/audit/ca/unknown");
  assert.equal(dueAt(book, 1_000), []);
  book.reconnected(member("ca-01", "ca", "another-peer").identity);
  book.reconnected(nameless);
  assert.equal(dueAt(book, 1_000), []);
  book.reconnected(ca.identity);
  assert.equal(dueAt(book, 1_000), [ca.origin]);
});

test("a member whose certificate names no SPIFFE ID is neither asked, nor sent anything, nor heard", () => {
  const book = bookWith({ identity: nameless });
  assert.equal(dueAt(book, 1_000), []);
  assert.equal([...book.tellable()], []);
  book.hold(logOf(ca.origin));
  assert.is(book.takeTold(nameless, headAt(ca.origin, 20), 1_000), "passed over");
});

test("a node that is gone is not asked; what waited for it is forgotten when it comes back", () => {
  for (const isWhole of [false, true]) {
    const book = bookWith(ca, gateway);
    book.hold(logOf(ca.origin));
    assert.is(book.takeTold(gateway.identity, headAt(ca.origin, 20), 500), "asked");
    book.closed(member("ca-01", "ca", "another-peer").identity);
    book.closed(nameless);
    if (isWhole) book.clear();
    else book.closed(ca.identity);
    assert.is(book.takeTold(gateway.identity, headAt(ca.origin, 21), 500), "passed over");
    assert.equal([...book.tellable()].map(({ peer }) => peer), isWhole ? [] : ["gateway-01-peer"]);
    book.established(ca.identity, 1_000);
    assert.equal(begun(book), [], "its turn has not come");
    book.takeDue(1_000);
    const begins = [book.next(), book.next()].find((each) => each?.origin === ca.origin);
    assert.equal(begins?.told, []);
  }
});

test("another certificate of the same name that disconnects leaves the node connected", () => {
  const book = bookWith(ca);
  book.closed(member("ca-01", "ca", "another-peer").identity);
  assert.equal(dueAt(book, 1_000), [ca.origin]);
});

// ── States ──

test("what an earlier run held is taken, but does not replace what was verified since", () => {
  const book = bookWith();
  const newer = logOf(ca.origin, { head: headAt(ca.origin, 40) });
  book.hold(newer);
  const stored = logOf(gateway.origin);
  book.restore([logOf(ca.origin), stored]);
  assert.equal([book.logs.get(ca.origin), book.logs.get(gateway.origin)], [newer, stored]);
});

test("logs of gateways and CAs are shared; a node that is gone counts as what its held state says", () => {
  const book = bookWith(ca, gateway, worker);
  assert.equal([ca, gateway, worker].map(({ origin }) => book.isShared(origin)), [true, true, false]);
  book.hold(logOf(ca.origin, { isShared: false }));
  book.hold(logOf(worker.origin, { isShared: true }));
  assert.equal([ca, worker].map(({ origin }) => book.isShared(origin)), [true, false]);
  book.clear();
  assert.equal([ca, gateway, worker].map(({ origin }) => book.isShared(origin)), [false, false, true]);
});

test("so many states are held of each kind; the oldest one that is stale makes place, and no evidence does", () => {
  assert.equal([sharedLogsMax, otherLogsMax, staleMs], [256, 1_024, 30 * 86_400_000]);
  for (const [isShared, max] of [[true, sharedLogsMax], [false, otherLogsMax]] as const) {
    const book = bookWith();
    book.hold(logOf("of the other kind", { isShared: !isShared, at: -1 }));
    book.hold(logOf("forked", { isShared, at: -1, fork: forkOf("forked") }));
    for (let index = 1; index < max; index++) {
      assert.is(book.hold(logOf(`log ${index}`, { isShared, at: max - index })), undefined);
    }
    const newest = (at: number) => book.hold(logOf("one more", { isShared, at }));
    const [oldestAt, oldest] = [1, `log ${max - 1}`];
    assert.is(newest(oldestAt + staleMs), "full");
    assert.not(book.logs.has("one more"));
    const again = logOf("log 1", { isShared, at: oldestAt + staleMs });
    assert.is(book.hold(again), undefined, "a held log takes no further place");
    assert.is(book.logs.get("log 1"), again);
    assert.is(newest(oldestAt + staleMs + 1), oldest);
    assert.equal(["one more", oldest, "forked"].map((origin) => book.logs.has(origin)), [true, false, true]);
    assert.is(book.logs.size, max + 1);
    assert.is(book.hold(logOf("and one", { isShared, at: max + staleMs })), `log ${max - 2}`, "the oldest of many");
  }
});

// ── Other witnesses ──

test("a told state is compared at once where no proof is needed, and with a proof where its node is connected", () => {
  const book = bookWith(ca, gateway);
  book.hold(logOf(ca.origin));
  const told = (head: OpenedHead) => book.takeTold(gateway.identity, head, 1_000);
  assert.is(told({ ...headAt(ca.origin, 30), note: "another state of one size" }), "judge");
  assert.is(told(headAt(ca.origin, 20, "another key")), "judge");
  assert.equal(begun(book), []);
  assert.is(told(headAt(ca.origin, 20)), "asked");
  assert.equal(begun(book), [ca.origin]);
});

test("a told state is passed over where it is held already, or is not of a shared log without a known fork", () => {
  const other = member("ca-02", "ca");
  const book = bookWith(ca, gateway, worker, other);
  const told = (head: OpenedHead, teller = gateway) => book.takeTold(teller.identity, head, 1_000);
  assert.is(told(headAt(ca.origin, 20)), "passed over");
  book.hold(logOf(ca.origin));
  book.hold(logOf(worker.origin, { isShared: false }));
  book.hold(logOf(other.origin, { fork: forkOf(other.origin) }));
  assert.is(told(headAt(ca.origin, 30)), "passed over");
  assert.is(told(headAt(worker.origin, 20)), "passed over");
  assert.is(told(headAt(other.origin, 20)), "passed over");
  assert.is(told(headAt(ca.origin, 20), member("gateway-02", "gateway")), "passed over", "of a witness that is gone");
  assert.equal(begun(book), []);
  assert.is(told(headAt(ca.origin, 20)), "asked");
});

test("a witness may tell three states of a log within a part of the period, and no state twice", () => {
  const book = bookWith(ca, gateway);
  book.hold(logOf(ca.origin));
  const told = (size: number, at: number) => book.takeTold(gateway.identity, headAt(ca.origin, size), at);
  const [begin, end] = [1_000, 1_000 + everyMs / 20];
  assert.equal([told(20, begin), told(20, begin), told(21, begin)], ["asked", "passed over", "asked"]);
  assert.equal([told(22, end - 1), told(23, end - 1)], ["asked", "passed over"]);
  assert.is(told(23, end), "asked");
  const back = bookWith(ca, gateway);
  back.hold(logOf(ca.origin));
  for (const at of [end, begin]) assert.is(back.takeTold(gateway.identity, headAt(ca.origin, 20), at), "asked");
});

test("four states of a log wait to be compared, of all witnesses together", () => {
  const tellers = [1, 2, 3].map((number) => member(`gateway-0${number}`, "gateway"));
  const book = bookWith(ca, ...tellers);
  book.hold(logOf(ca.origin));
  const told = [10, 11, 12, 13, 14, 15].map((size, index) =>
    book.takeTold(tellers[index % 3]!.identity, headAt(ca.origin, size), 1_000)
  );
  assert.equal([toldMax, told], [4, ["asked", "asked", "asked", "asked", "passed over", "passed over"]]);
  assert.equal(book.next()?.told.map(({ head: { size } }) => size), [10, 11, 12, 13]);
});

test("gateways and CAs that take part are told, one message at a time", () => {
  const book = bookWith(gateway, worker, ca);
  const tellable = () => [...book.tellable()].map(({ origin }) => origin);
  assert.equal([...book.tellable()], [
    { origin: gateway.origin, peer: "gateway-01-peer" },
    { origin: ca.origin, peer: "ca-01-peer" },
  ]);
  book.deaf(ca.origin);
  assert.equal(tellable(), [gateway.origin]);
  assert.equal(book.tell(gateway.origin, 16), []);
  assert.equal(tellable(), [gateway.origin], "nothing was sent");
  book.hold(logOf(ca.origin));
  assert.is(book.tell(gateway.origin, 16).length, 1);
  assert.equal(tellable(), []);
  assert.ok(book.toldEnded(gateway.origin, "taken"));
  assert.equal(tellable(), [gateway.origin]);
});

test("a witness is told each state of shared logs once, in parts, both states of a fork, and none of its own log", () => {
  const book = bookWith(gateway, ca);
  const forked = member("ca-02", "ca").origin;
  book.hold(logOf(gateway.origin));
  book.hold(logOf(ca.origin));
  book.hold(logOf(worker.origin, { isShared: false }));
  book.hold(logOf(forked, { fork: forkOf(forked) }));
  const tell = (max = 16) => book.tell(gateway.origin, max).map(({ origin, size }) => [origin, size]);
  assert.equal(tell(2), [[ca.origin, 30], [forked, 4]]);
  assert.ok(book.toldEnded(gateway.origin, "taken"));
  assert.equal([tell(), tell()], [[[forked, 5]], []]);
  book.hold(logOf(ca.origin, { head: headAt(ca.origin, 31) }));
  assert.equal(tell(), [[ca.origin, 31]]);
  assert.equal(book.tell("sim/audit/gateway/unknown", 16), []);
});

test("what a witness did not answer, or was told before it connected again, is told again", () => {
  const book = bookWith(gateway);
  book.hold(logOf(ca.origin));
  const tell = () => book.tell(gateway.origin, 16).length;
  assert.is(tell(), 1);
  assert.not(book.toldEnded(gateway.origin, "failed"));
  assert.is(tell(), 1);
  assert.is(tell(), 0);
  book.reconnected(gateway.identity);
  assert.is(tell(), 1);
  assert.ok(book.toldEnded(gateway.origin, "taken"));
  assert.is(tell(), 0);
  book.forgetTold();
  assert.is(tell(), 1);
  assert.not(book.toldEnded("sim/audit/gateway/unknown", "taken"));
});

test.run();
