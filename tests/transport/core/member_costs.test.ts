/** What becomes of a peer that costs too much: its connections end at once, and it is refused for a while. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PeerIdentity } from "../../../pki/path.ts";
import { MemberCosts } from "../../../transport/core/member_costs.ts";
import { refusedFirstMs } from "../../../transport/core/outcasts.ts";
import type { WireConnection } from "../../../transport/core/wire.ts";
import type { TransportFact } from "../../../transport/port.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { identityOf } from "../../support/played_session.ts";

const test = suite("MemberCosts");
const delayMaxMs = 3_000;

function played(connections: readonly [FakeConnection, PeerIdentity | undefined][], relays: readonly string[] = []) {
  const clock = new ManualClock();
  const facts: TransportFact[] = [];
  const closed: [WireConnection, reason: string][] = [];
  const identities = new Map<WireConnection, PeerIdentity | undefined>(connections);
  const costs = new MemberCosts({
    clock,
    limits: { perSecondUs: 100, burstUs: 100_000, delayMaxMs },
    table: {
      identityOf: (connection) => identities.get(connection),
      of: (peer) => connections.map(([connection]) => connection).filter(() => peer === "flood").values(),
      closeOne: (connection, reason) => closed.push([connection, reason]),
    },
    outbox: { tell: (fact) => facts.push(fact) },
    reachability: { isRelay: (peer) => relays.includes(peer) },
  });
  const flood = (peer: string) => {
    costs.work.charge(peer, 200_000);
    for (let ms = 0; ms < delayMaxMs + 1_000; ms += 1_000) {
      clock.pass(1_000);
      costs.work.charge(peer, 1);
    }
    clock.settle();
  };
  return { clock, costs, facts, closed, flood };
}

test("all connections of the peer end at once, one refusal is told, and the peer is refused for a while", () => {
  const [first, second] = [
    new FakeConnection({ direction: "outbound", address: "/ip4/192.0.2.7/tcp/1" }),
    new FakeConnection(),
  ];
  const { clock, costs, facts, closed, flood } = played([[first, identityOf("flood")], [second, identityOf("flood")]]);
  assert.is(costs.refusalOf("flood"), undefined);
  flood("flood");
  assert.is(facts.length, 1);
  const [fact] = facts;
  if (fact?.type !== "peer.refused") throw new Error(`told ${fact?.type}`);
  const { address, direction, peer, refusal } = fact;
  assert.equal({ address, direction, peer }, {
    address: "/ip4/192.0.2.7/tcp/1",
    direction: "outbound",
    peer: { name: "flood", id: "flood" },
  });
  assert.is(refusal.code, "too-expensive");
  assert.equal(closed, [[first, refusal.message], [second, refusal.message]]);
  assert.equal([first.closes, second.closes], [["now"], ["now"]]);
  assert.equal([costs.refusalOf("flood")?.code, costs.refusalOf("other")], ["too-expensive", undefined]);
  clock.pass(refusedFirstMs);
  assert.is(costs.refusalOf("flood"), undefined);
});

test("a peer whose connections have ended, or prove nothing any more, is refused without being told of", () => {
  const unproven = new FakeConnection();
  const { costs, facts, flood } = played([[unproven, undefined]]);
  flood("flood");
  flood("gone");
  assert.equal([costs.refusalOf("flood")?.code, costs.refusalOf("gone")?.code], ["too-expensive", "too-expensive"]);
  assert.equal([facts, unproven.closes], [[], ["now"]]);
});

test("bug: members that opened circuits got their receiver's relay refused: it is delayed, and stays", () => {
  const relay = new FakeConnection({ direction: "outbound" });
  const { clock, costs, facts, closed, flood } = played([[relay, identityOf("flood")]], ["flood"]);
  flood("flood");
  assert.equal([facts, closed, relay.closes, costs.refusalOf("flood")], [[], [], [], undefined]);
  assert.ok(costs.work.charge("flood", 200_000) > 0, "it is delayed");
  clock.settle();
});

test.run();
