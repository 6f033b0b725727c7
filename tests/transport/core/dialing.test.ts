/** One answer for each dial, equal dials made once, and what is dialled when the remembered addresses lead nowhere. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { HungUp, PeerIdMismatch, type Refusal, TlsFailed, Unreachable } from "../../../pki/refusal.ts";
import { namingPeer, withoutPeer } from "../../../transport/core/addresses.ts";
import type { ConnectionTable } from "../../../transport/core/connection_table.ts";
import { Dialler, dialsMax, type DialTarget, unfitForMs } from "../../../transport/core/dialing.ts";
import { silentMs } from "../../../transport/core/peer_dial.ts";
import type { AskTarget } from "../../../transport/port.ts";
import type { WireConnection, WireTarget } from "../../../transport/core/wire.ts";
import { FakeConnection, fakeWire } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("Dialler");
const peer = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const relay = "12D3KooWCdeFXToKJSgotLQahnWW5Ab6MtrzGkE3LskCRrhFjFT5";
const address = "/ip4/192.0.2.1/tcp/4001";

type Outcome = Result.Result<WireConnection, Refusal>;

/** A dialler whose wire and table are the test. */
function diallerWith(known: readonly string[] = []) {
  const clock = new ManualClock();
  const dialled: WireTarget[] = [];
  const pending: ((outcome: Outcome) => void)[] = [];
  const state = {
    established: new Set<WireConnection>(),
    best: undefined as WireConnection | undefined,
    /** Connections whose certificate is not one that an ask is meant for. */
    unfit: new Set<WireConnection>(),
    closed: [] as WireConnection[],
    refusal: undefined as Refusal | undefined,
    securing: false,
    givenUp: 0,
    searches: 0,
  };
  const wire = fakeWire({
    dial: (target, done) => {
      dialled.push(target);
      pending.push(done);
      return () => void (state.givenUp += 1);
    },
    findPeer: (_peer, found, done) => {
      state.searches += 1;
      clock.soon(() => {
        found(known);
        done();
      });
      return () => void (state.givenUp += 1);
    },
  });
  const table: Pick<
    ConnectionTable,
    "mark" | "refusalSince" | "isSecuring" | "best" | "fits" | "open" | "identityOf" | "closeOne"
  > = {
    mark: () => 0,
    refusalSince: () => state.refusal,
    isSecuring: () => state.securing,
    best: (_peer, to) => {
      const { best } = state;
      return to !== undefined && best !== undefined && state.unfit.has(best) ? undefined : best;
    },
    fits: (connection, to) => state.established.has(connection) && (to === undefined || !state.unfit.has(connection)),
    closeOne: (connection) => void state.closed.push(connection),
    open: () => state.established.values() as IterableIterator<WireConnection>,
    identityOf: (connection) => state.established.has(connection) ? ({ peer } as never) : undefined,
  };
  const dialler = new Dialler({ wire, clock, table, timeoutMs: 1_000 });
  const answers: string[] = [];
  const dial = (target: DialTarget) =>
    dialler.dial(target, (outcome) => answers.push(Result.isSuccess(outcome) ? "done" : outcome.failure.code));
  const connect = (timeoutMs: number, to?: AskTarget) =>
    dialler.connect(
      peer,
      timeoutMs,
      (outcome) => answers.push(Result.isSuccess(outcome) ? "done" : outcome.failure.code),
      to,
    );
  const stand = () => {
    const connection = new FakeConnection({ direction: "outbound" });
    state.established.add(connection);
    return connection;
  };
  return { dialler, clock, dialled, pending, state, answers, dial, connect, stand };
}

const refused = () => Result.fail(new Unreachable({ detail: "refused" }));

test("a connection that there is answers later, without a dial", () => {
  const { clock, dialled, state, answers, dial, connect, stand } = diallerWith();
  state.best = stand();
  dial({ peer });
  connect(100);
  assert.equal(answers, []);
  clock.settle();
  assert.equal([answers, dialled, clock.waiting], [["done", "done"], [], 0]);
});

test("equal dials are one dial, and all askers are answered", () => {
  const { dialler, clock, dialled, pending, answers, dial, connect, stand } = diallerWith();
  dial({ peer });
  dial({ peer });
  connect(100);
  dial({ address });
  assert.equal(dialled, [{ peer }, { address }]);
  assert.is(dialler.size, 2);
  pending[0]?.(Result.succeed(stand()));
  clock.settle();
  assert.equal(answers, ["done", "done", "done"]);
  assert.is(dialler.size, 1);
});

test("an asker that gives up or is late leaves the others their dial; with the last one it is given up", () => {
  const { dialler, clock, state, answers, dial, connect } = diallerWith();
  const giveUp = connect(5_000);
  connect(100);
  dial({ peer });
  giveUp();
  clock.pass(100);
  assert.equal([answers, state.givenUp], [["timed-out"], 0]);
  clock.pass(900);
  assert.equal([answers, state.givenUp, dialler.size, clock.waiting], [["timed-out", "unreachable"], 1, 0, 0]);
});

test("a silent address is unreachable, a handshake that does not end is a timeout", () => {
  const { clock, state, answers, dial } = diallerWith();
  dial({ address });
  state.securing = true;
  clock.pass(1_000);
  assert.equal(answers, ["handshake-timeout"]);
});

test("the refusal of our own gate goes before what the wire reports, and nothing is searched then", () => {
  const { clock, pending, state, answers, dial } = diallerWith([address]);
  dial({ peer });
  state.refusal = new TlsFailed({ detail: "odd" });
  pending[0]?.(refused());
  clock.settle();
  assert.equal([answers, state.searches], [["tls-failed"], 0]);
});

test("bug: another peer at one of its addresses hid a peer that others know the way to", () => {
  const { clock, dialled, pending, state, answers, dial, stand } = diallerWith(["/ip4/192.0.2.2/tcp/4001"]);
  dial({ peer });
  state.refusal = new PeerIdMismatch({ expected: peer, actual: relay });
  pending[0]?.(refused());
  clock.settle();
  assert.equal(dialled[1], { peer, addresses: [`/ip4/192.0.2.2/tcp/4001/p2p/${peer}`] });
  pending[1]?.(Result.succeed(stand()));
  clock.settle();
  assert.equal([answers, state.searches], [["done"], 1]);
});

test("where a peer is found at no other address, the dial fails with the mismatch", () => {
  const { clock, pending, state, answers, dial } = diallerWith();
  dial({ peer });
  state.refusal = new PeerIdMismatch({ expected: peer, actual: relay });
  pending[0]?.(refused());
  clock.settle();
  assert.equal([answers, state.searches], [["peer-id-mismatch"], 1]);
});

test("a connection that ended as soon as it was open is no success", () => {
  const { clock, pending, answers, dial } = diallerWith();
  dial({ address });
  pending[0]?.(Result.succeed(new FakeConnection()));
  clock.settle();
  assert.equal(answers, ["hung-up"]);
});

test("an address through a relay ends with the relay's PeerID: the peer's own is appended all the same", () => {
  const { clock, dialled, pending, answers, dial, stand } = diallerWith([
    `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit`,
    `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${peer}`,
    "/ip4/192.0.2.2/tcp/4001",
    `/ip4/192.0.2.3/tcp/4001/p2p/${peer}`,
  ]);
  dial({ peer });
  pending[0]?.(refused());
  clock.settle();
  assert.equal(dialled[1], {
    peer,
    addresses: [
      `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${peer}`,
      `/ip4/192.0.2.1/tcp/4001/p2p/${relay}/p2p-circuit/p2p/${peer}`,
      `/ip4/192.0.2.2/tcp/4001/p2p/${peer}`,
      `/ip4/192.0.2.3/tcp/4001/p2p/${peer}`,
    ],
  });
  pending[1]?.(Result.succeed(stand()));
  assert.equal(answers, ["done"]);
});

test("a peer that no other node knows stays unreachable", () => {
  const { clock, pending, state, answers, dial } = diallerWith([]);
  dial({ peer });
  pending[0]?.(refused());
  clock.settle();
  assert.equal([answers, state.searches], [["unreachable"], 1]);
});

test("bug: one silent address took the whole time of a dial: the peer was not searched for", () => {
  const { clock, dialled, pending, state, answers, connect, stand } = diallerWith(["/ip4/192.0.2.2/tcp/4001"]);
  connect(10_000);
  clock.pass(silentMs - 1);
  assert.is(state.searches, 0);
  clock.pass(1);
  assert.equal([state.searches, dialled.length], [1, 2], "the first dial goes on");
  assert.equal(dialled[1], { peer, addresses: [`/ip4/192.0.2.2/tcp/4001/p2p/${peer}`] });
  pending[1]?.(Result.succeed(stand()));
  clock.settle();
  assert.equal([answers, state.givenUp, clock.waiting], [["done"], 1, 0]);
});

test("a search that finds nothing, or nothing that answers, leaves a silent dial its time", () => {
  for (const known of [[], ["/ip4/192.0.2.2/tcp/4001"]]) {
    const { dialler, clock, pending, state, answers, connect, stand } = diallerWith(known);
    connect(10_000);
    clock.pass(silentMs);
    pending[1]?.(refused());
    clock.pass(silentMs);
    assert.equal([answers, state.searches, dialler.size], [[], 1, 1]);
    pending[0]?.(Result.succeed(stand()));
    clock.settle();
    assert.equal([answers, dialler.size, clock.waiting], [["done"], 0, 0]);
  }
});

test("a dial that fails while the peer is searched for waits for the search, and for the dial that follows it", () => {
  const { clock, pending, state, answers, connect } = diallerWith(["/ip4/192.0.2.2/tcp/4001"]);
  connect(10_000);
  clock.pass(silentMs);
  pending[0]?.(refused());
  assert.equal([answers, state.searches], [[], 1]);
  pending[1]?.(refused());
  assert.equal([answers, state.searches, clock.waiting], [["not-connected"], 1, 0]);
});

test("an address that answers is not silent: nothing is searched during its handshake", () => {
  const { clock, state, answers, connect } = diallerWith([]);
  state.securing = true;
  connect(10_000);
  clock.pass(3 * silentMs - 1);
  assert.is(state.searches, 0);
  state.securing = false;
  clock.pass(1);
  assert.equal([answers, state.searches], [[], 1]);
});

test("a direct address is dialled although a relayed connection stands", () => {
  const { clock, dialled, state, answers, dial } = diallerWith();
  state.best = new FakeConnection({ relay });
  dial({ address: `${address}/p2p/${peer}` });
  assert.equal(dialled, [{ address: `${address}/p2p/${peer}` }]);
  dial({ peer });
  clock.settle();
  assert.equal(answers, ["done"]);
});

test("bug: an address in another spelling did not find the connection that leads there", () => {
  const { clock, dialled, answers, dial, stand } = diallerWith();
  Object.assign(stand(), { address: "/ip6/2001:db8::1/tcp/4001" });
  dial({ address: "/ip6/2001:DB8:0:0::1/tcp/4001/" });
  clock.settle();
  assert.equal([answers, dialled], [["done"], []]);
});

test("what is no target is unreachable", () => {
  const { clock, answers, dial } = diallerWith();
  dial({ peer: "nobody" });
  dial({ address: "nowhere" });
  clock.settle();
  assert.equal(answers, ["unreachable", "unreachable"]);
});

test("dials are bounded; a stop answers those under way, and later ones", () => {
  const { dialler, clock, answers, dial } = diallerWith();
  for (let port = 1; port <= dialsMax + 1; port++) dial({ address: `/ip4/192.0.2.1/tcp/${port}` });
  clock.settle();
  assert.equal(answers, ["unreachable"]);
  dialler.stop();
  assert.is(answers.length, dialsMax + 1);
  assert.is(answers.at(-1), new HungUp({ detail: "" }).code);
  assert.equal([dialler.size, clock.waiting], [0, 0]);
  dial({ peer });
  clock.settle();
  assert.equal(answers.at(-1), "hung-up");
});

test("whom an address leads to is its last PeerID: two peers behind one relay stay two", () => {
  const direct = "/ip4/192.0.2.1/tcp/1";
  const circuit = `${direct}/p2p/${relay}/p2p-circuit`;
  for (const place of [direct, circuit]) {
    for (const written of [place, `${place}/p2p/${relay}`, `${place}/p2p/${peer}`]) {
      assert.is(namingPeer(written, peer), `${place}/p2p/${peer}`);
    }
  }
  assert.is(withoutPeer(`${direct}/p2p/${peer}`), direct);
  assert.is(withoutPeer(`${circuit}/p2p/${peer}`), `${circuit}/p2p/${peer}`);
});

test("an ask for a role uses a connection that fits, else dials one afresh, once for all that ask, and takes it if it fits", () => {
  const { clock, dialled, pending, state, answers, connect, stand } = diallerWith();
  const other = stand();
  state.best = other;
  state.unfit.add(other);
  connect(100, { roles: ["worker"] });
  connect(100, { roles: ["worker"] });
  connect(100);
  assert.equal(dialled, [{ peer, fresh: true }]);
  pending[0]?.(Result.succeed(stand()));
  clock.settle();
  assert.equal([answers, dialled.length, state.closed], [["done", "done", "done"], 1, []]);
});

test("a fresh connection that does not fit is closed, and the peer is not dialled again for it for ten seconds", () => {
  const { clock, dialled, pending, state, answers, connect, stand } = diallerWith();
  state.best = stand();
  state.unfit.add(state.best);
  const fresh = stand();
  state.unfit.add(fresh);
  connect(100, { roles: ["worker"] });
  pending[0]?.(Result.succeed(fresh));
  assert.equal([answers, state.closed], [["not-authorized"], [fresh]]);
  clock.pass(unfitForMs - 1);
  connect(100, { roles: ["worker"] });
  clock.settle();
  assert.equal([answers, dialled.length], [["not-authorized", "not-authorized"], 1]);
  connect(100, { roles: ["data"] });
  assert.is(dialled.length, 2, "another role is another question");
  pending[1]?.(refused());
  clock.settle();
  assert.is(answers.at(-1), "not-authorized", "nor did it answer");
  clock.pass(1);
  connect(100, { roles: ["worker"] });
  assert.is(dialled.length, 3);
});

test("a peer that is dialled for the first time and does not fit is not-authorized, and stays connected", () => {
  const { clock, dialled, pending, state, answers, connect, stand } = diallerWith();
  const only = stand();
  state.unfit.add(only);
  connect(100, { roles: ["worker"] });
  assert.equal(dialled, [{ peer }]);
  pending[0]?.(Result.succeed(only));
  assert.equal([answers, state.closed], [["not-authorized"], []]);
  connect(100, { roles: ["worker"] });
  pending[1]?.(refused());
  clock.settle();
  assert.is(answers.at(-1), "not-connected");
});

test.run();
