/** When a node says how it is reached, and how it asks again where a relay has no place for it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { reservationTtlMs } from "../../../transport/core/admission.ts";
import { Reachability } from "../../../transport/core/reachability.ts";
import type { WireConnection } from "../../../transport/core/wire.ts";
import type { TransportFact, TransportInput } from "../../../transport/port.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";

const test = suite("Reachability");
const relay = "12D3KooWAGMZxYWzuymeiPyXkHSxuSwkGFVDCntAXRxHG7T2truz";
const gateway = "/ip4/127.0.0.1/tcp/4001";

/** A node whose wire is the test: reservations are answered by `places`. */
function nodeOf(input: Partial<TransportInput> = {}, places: (attempt: number) => boolean = () => true) {
  const clock = new ManualClock();
  const facts: TransportFact[] = [];
  const serves: boolean[] = [];
  const asked: number[] = [];
  const over: WireConnection[] = [];
  const state = { best: undefined as WireConnection | undefined, areRolesRequired: false };
  const reachability = new Reachability({
    input: {
      role: "worker",
      relay: "client",
      gatewayAddresses: [gateway],
      excludeCidr: ["10.0.0.0/8"],
      random: () => 0.5,
      ...input,
    },
    wire: {
      reserve: (connection, done) => {
        asked.push(clock.monotonic());
        over.push(connection);
        const attempt = asked.length;
        clock.soon(() => done(places(attempt)));
      },
      serveDht: (serving) => serves.push(serving),
    },
    clock,
    outbox: { tell: (fact) => facts.push(fact) },
    established: {
      best: () => state.best,
      get areRolesRequired() {
        return state.areRolesRequired;
      },
    },
  });
  const connection = new FakeConnection({ direction: "outbound", address: `${gateway}/p2p/${relay}` });
  connection.isOpen = true;
  state.best = connection;
  return { reachability, clock, facts, serves, asked, over, state, connection };
}

/** A gateway of this PeerID. */
const at = (peer: string) => ({ peer, role: "gateway" }) as const;

test("a gateway's DHT is ready at once, another node's when it has searched for itself; each tells it once", () => {
  const { reachability, facts } = nodeOf({ role: "gateway" });
  reachability.started();
  assert.equal(facts, [{ type: "dht.ready" }]);
  reachability.dhtReady();
  assert.is(facts.length, 1);
  const worker = nodeOf();
  worker.reachability.started();
  assert.equal(worker.facts, []);
  worker.reachability.dhtReady();
  assert.equal(worker.facts, [{ type: "dht.ready" }]);
});

test("addresses are told when they change, and make a node serve the DHT; after a stop nothing is told", () => {
  const { reachability, facts, serves } = nodeOf();
  reachability.started();
  reachability.addresses(["/ip4/192.0.2.1/tcp/1"]);
  reachability.addresses(["/ip4/192.0.2.1/tcp/1"]);
  assert.equal(facts, [{ type: "reachable", addresses: ["/ip4/192.0.2.1/tcp/1"] }]);
  reachability.addresses([]);
  assert.equal([facts.length, serves], [1, [true, false]]);
  reachability.stop();
  reachability.addresses(["/ip4/192.0.2.1/tcp/2"]);
  reachability.dhtReady();
  assert.is(facts.length, 1);
});

test("where certificates must name a role, gateways alone serve the DHT", () => {
  for (const role of ["worker", "gateway"] as const) {
    const { reachability, serves, state } = nodeOf({ role });
    state.areRolesRequired = true;
    reachability.addresses(["/ip4/192.0.2.1/tcp/1"]);
    assert.equal(serves, [role === "gateway"]);
  }
});

test("a node that waits for a relay is not reachable by an address that only its own configuration lets through", () => {
  const { reachability, facts, serves } = nodeOf();
  reachability.started();
  reachability.addresses(["/ip4/10.0.0.1/tcp/1"]);
  assert.equal([facts, serves], [[], [false]]);
  const relayed = `/ip4/10.0.0.2/tcp/1/p2p/${relay}/p2p-circuit`;
  reachability.addresses(["/ip4/10.0.0.1/tcp/1", relayed]);
  assert.equal(facts, [{ type: "reachable", addresses: ["/ip4/10.0.0.1/tcp/1", relayed] }]);
  assert.equal(serves, [false, true]);
});

test("a relay without a place is asked again after one second, then after twice as long each time, up to a minute", () => {
  const { reachability, clock, asked, connection } = nodeOf({}, () => false);
  reachability.established(connection, at(relay));
  clock.pass(1_000 + 2_000 + 4_000 + 8_000 + 16_000 + 32_000 + 60_000 + 60_000);
  const waits = asked.map((at, index) => at - (asked[index - 1] ?? 0));
  assert.equal(waits, [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
  reachability.stop();
  assert.is(clock.waiting, 0);
});

test("only a direct connection to a configured gateway is asked, once while it holds the reservation", () => {
  const { reachability, clock, asked, connection } = nodeOf();
  reachability.established(new FakeConnection({ address: "/ip4/127.0.0.1/tcp/4002" }), at(relay));
  reachability.established(new FakeConnection({ address: gateway, relay }), at(relay));
  assert.equal(asked, []);
  reachability.established(connection, at(relay));
  reachability.established(connection, at(relay));
  clock.settle();
  reachability.established(connection, at(relay));
  assert.is(asked.length, 1);
});

test("bug: a gateway that an address names was not asked over a connection to another address of its own", () => {
  const { reachability, asked } = nodeOf({ gatewayAddresses: [`${gateway}/p2p/${relay}`] });
  const elsewhere = new FakeConnection({ direction: "outbound", address: "/ip4/10.0.0.9/tcp/4001" });
  elsewhere.isOpen = true;
  reachability.established(elsewhere, at("another"));
  assert.equal(asked, []);
  reachability.established(elsewhere, at(relay));
  assert.equal(asked, [0]);
});

test("a reservation that is lost is told, and asked for again where the relay is still connected", () => {
  const { reachability, clock, asked, facts, connection, state } = nodeOf();
  reachability.established(connection, at(relay));
  clock.settle();
  state.best = undefined;
  reachability.reservationLost(relay);
  clock.pass(5_000);
  assert.equal([facts, asked.length], [[{ type: "reservation.lost", relay }], 1]);
  state.best = connection;
  reachability.reservationLost(relay);
  clock.pass(999);
  assert.is(asked.length, 1);
  clock.pass(1);
  assert.is(asked.length, 2);
});

test("bug: a wall clock that was set back ended a reservation for good: its renewal followed the wall clock", () => {
  const { reachability, clock, asked, connection, facts, state } = nodeOf({}, (attempt) => attempt !== 3);
  reachability.established(connection, at(relay));
  clock.settle();
  clock.wallAt -= 3_600_000;
  clock.pass(reservationTtlMs / 2 - 1);
  assert.is(asked.length, 1);
  clock.pass(1);
  assert.is(asked.length, 2);
  clock.pass(reservationTtlMs / 2);
  assert.is(asked.length, 3, "it is renewed again");
  clock.pass(1_000);
  assert.is(asked.length, 4, "a renewal that failed is tried again");
  reachability.reservationLost(relay);
  state.best = undefined;
  clock.pass(reservationTtlMs);
  assert.equal([asked.length, clock.waiting], [4, 0], "what was lost is not renewed");
  assert.equal(facts, [{ type: "reservation.lost", relay }]);
});

test("seed 24,702,554: a gateway whose connection ended while it was asked was not asked again over the next one", () => {
  const { reachability, clock, over, state, connection } = nodeOf({}, (attempt) => attempt > 1);
  reachability.established(connection, at(relay));
  const next = new FakeConnection({ direction: "inbound", address: `${gateway}/p2p/${relay}` });
  next.isOpen = true;
  reachability.established(next, at(relay));
  connection.isOpen = false;
  state.best = next;
  clock.settle();
  clock.pass(60_000);
  assert.equal(over, [connection, next]);
});

test.run();
