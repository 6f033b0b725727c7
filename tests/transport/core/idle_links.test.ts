/** Links that nobody uses end after a minute; those of gateways, and held ones, stay. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { idleLinkMs, IdleLinks, keepUpMs } from "../../../transport/core/idle_links.ts";
import type { WireConnection } from "../../../transport/core/wire.ts";
import type { Role } from "../../../pki/certificate.ts";
import type { PeerIdentity } from "../../../pki/path.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { identityOf } from "../../support/played_session.ts";

const test = suite("IdleLinks");

/** A node with links, each of another peer. */
function linksOf(own: Role = "worker") {
  const clock = new ManualClock();
  const members = new Map<WireConnection, PeerIdentity>();
  const used = new Map<WireConnection, number>();
  const busy = new Set<WireConnection>();
  const state = { areExisting: false };
  const [closed, kept, gateways, relays] = [[] as WireConnection[], [] as string[], new Set(), new Set()];
  const links = new IdleLinks({
    input: { role: own },
    clock,
    table: {
      open: () => [...members.keys()].values(),
      best: (peer) => [...members].findLast(([, identity]) => identity.peer === peer)?.[0],
      identityOf: (connection) => members.get(connection),
      closeOne: (connection) => {
        members.delete(connection);
        closed.push(connection);
      },
    },
    places: {
      isUsed: (connection) => busy.has(connection),
      usedAt: (connection) => used.get(connection) ?? Number.NEGATIVE_INFINITY,
    },
    gateways: {
      isGateway: (peer) => gateways.has(peer),
      get areExisting() {
        return state.areExisting;
      },
    },
    reachability: { isRelay: (peer) => relays.has(peer) },
    requests: { keepUp: (peer) => void kept.push(peer) },
  });
  const connect = (name: string, role: Role | undefined) => {
    const connection = new FakeConnection();
    const identity = identityOf(name, { role });
    members.set(connection, identity);
    used.set(connection, clock.monotonic());
    return { connection, peer: identity.peer };
  };
  links.started();
  return { links, clock, connect, used, busy, closed, kept, gateways, relays, state };
}

test("a link that was not used for a minute ends; one that is used, or was a moment ago, stays", () => {
  const { clock, connect, used, busy, closed } = linksOf();
  const [idle, using, late] = [connect("a", "worker"), connect("b", "scheduler"), connect("c", "data")];
  busy.add(using.connection);
  clock.pass(idleLinkMs - 1);
  assert.equal(closed, []);
  used.set(late.connection, clock.monotonic());
  clock.pass(20_000);
  assert.equal(closed, [idle.connection]);
  clock.pass(idleLinkMs);
  assert.equal(closed, [idle.connection, late.connection]);
});

test("links to gateways, configured or by their role, and to relays stay; a gateway ends no link", () => {
  const { clock, connect, closed, gateways, relays } = linksOf();
  connect("by-role", "gateway");
  gateways.add(connect("configured", "worker").peer);
  relays.add(connect("relay", "worker").peer);
  clock.pass(10 * idleLinkMs);
  assert.equal(closed, []);
  const gateway = linksOf("gateway");
  gateway.connect("worker", "worker");
  gateway.clock.pass(10 * idleLinkMs);
  assert.equal(gateway.closed, []);
});

test("a held peer is asked for its health in time, over the connection that its asks use, until it is released as often", () => {
  const { links, clock, connect, used, closed, kept } = linksOf();
  const former = connect("a", "data");
  const { connection, peer } = connect("a", "data");
  links.hold([peer, "never-connected"]);
  links.hold([peer]);
  links.release([peer]);
  clock.pass(keepUpMs + 20_000);
  assert.ok(kept.length > 0 && kept.every((each) => each === peer), `${kept}`);
  used.set(connection, clock.monotonic());
  clock.pass(20_000);
  assert.equal(closed, [former.connection], "the connection that nobody asks on stays");
  links.release([peer, peer]);
  clock.pass(idleLinkMs);
  assert.equal(closed, [former.connection, connection]);
});

test("seed 20,000,972: a held peer whose connection was lost was not dialled, and its work was dropped after ten seconds", () => {
  const { links, clock, connect, used, kept } = linksOf();
  const [held, other] = [connect("held", "worker"), connect("other", "worker")];
  const lost = { type: "lost", detail: "gone" } as const;
  links.hold([held.peer]);
  for (const reason of [{ type: "by-them" }, { type: "by-us", detail: "unused" }] as const) {
    links.left(held.peer, reason);
  }
  links.left(other.peer, lost);
  assert.equal(kept, [], "only what is held");
  links.left(held.peer, lost);
  assert.equal(kept, [held.peer], "at once");
  clock.pass(20_000);
  assert.equal(kept.splice(0), [held.peer, held.peer, held.peer], "and every ten seconds");
  links.established(held.peer);
  used.set(held.connection, clock.monotonic());
  clock.pass(20_000);
  assert.equal(kept.splice(0), []);
  for (let times = 0; times < 100; times++) {
    links.left(held.peer, lost);
    links.established(held.peer);
  }
  assert.equal(kept.splice(0), [held.peer], "one that accepts and resets is not dialled in a loop");
  links.left(held.peer, lost);
  links.release([held.peer]);
  kept.length = 0;
  clock.pass(20_000);
  assert.equal(kept, [], "released");
});

test("links of the existing network stay, and all links where a gateway is of it", () => {
  const { clock, connect, closed, state } = linksOf();
  connect("existing", undefined);
  const { connection } = connect("ours", "worker");
  state.areExisting = true;
  clock.pass(10 * idleLinkMs);
  assert.equal(closed, []);
  state.areExisting = false;
  clock.pass(20_000);
  assert.equal(closed, [connection]);
});

test("once stopped it ends nothing", () => {
  const { links, clock, connect, closed } = linksOf();
  connect("a", "worker");
  links.stop();
  clock.pass(10 * idleLinkMs);
  assert.equal([closed.length, clock.waiting], [0, 0]);
});

test.run();
