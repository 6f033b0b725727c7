/** What only a gateway may do: to be at a configured address, and to bring circuits where this node has a reservation. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Act } from "../../../transport/authorization/acts.ts";
import { authorize } from "../../../transport/authorization/authorize.ts";
import type { WireConnection } from "../../../transport/core/wire.ts";
import { Gateways } from "../../../transport/core/gateways.ts";
import { Result } from "effect";
import type { NotAuthorized } from "../../../pki/refusal.ts";
import type { Role } from "../../../pki/certificate.ts";
import type { PeerIdentity } from "../../../pki/path.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { identityOf } from "../../support/played_session.ts";

const test = suite("Gateways");
const address = "/ip4/192.0.2.9/tcp/4001";

/** A worker with a configured gateway. */
function gatewaysOf(
  identities: ReadonlyMap<WireConnection, PeerIdentity>,
  relays: readonly string[] = [],
  role: Role = "worker",
) {
  const reported: [act: Act, rule: string][] = [];
  const closed: WireConnection[] = [];
  const unreserved: string[] = [];
  const refusalOf = (act: Act, member: PeerIdentity): NotAuthorized | undefined => {
    const verdict = authorize(act, member, { own: "worker", rules: [] });
    return Result.isFailure(verdict) ? verdict.failure : undefined;
  };
  const gateways = new Gateways(
    {
      input: { role, identity: { peer: "self" }, gatewayAddresses: [`${address}/p2p/named`] },
      table: {
        identityOf: (connection) => identities.get(connection),
        of: (peer) =>
          [...identities].filter(([, member]) => member.peer === peer).map(([connection]) => connection).values(),
        open: () => [...identities.keys()].values(),
        closeOne: (connection) => void closed.push(connection),
      },
      acts: {
        refusalOf,
        allows: (act, member) => refusalOf(act, member) === undefined,
        report: (act, _member, { rule }) => void reported.push([act, rule]),
      },
      wire: { unreserve: (peer) => void unreserved.push(peer) },
      reachability: { isRelay: (peer) => relays.includes(peer) },
    },
  );
  return { gateways, reported, closed, unreserved };
}

test("a gateway of the existing network is known by its certificate, which names no role", () => {
  const at = (place: string) => new FakeConnection({ direction: "outbound", address: place });
  const [gateway, elsewhere] = [at(`${address}/p2p/g`), at("/ip4/192.0.2.9/tcp/4002")];
  const known = (role: Role | undefined) =>
    new Map([[gateway, identityOf("g", { role })], [elsewhere, identityOf("w", {})]]);
  assert.is(gatewaysOf(known(undefined)).gateways.areExisting, true);
  assert.is(gatewaysOf(known("gateway")).gateways.areExisting, false);
  assert.is(gatewaysOf(new Map()).gateways.areExisting, false);
  assert.is(
    gatewaysOf(known(undefined), [], "gateway").gateways.areExisting,
    false,
    "a gateway of ours hands on to all",
  );
});

test("at a configured address only a gateway is let in, whoever dialled; elsewhere, and through a relay, anybody", () => {
  const { gateways } = gatewaysOf(new Map());
  const dialled = new FakeConnection({ direction: "outbound", address: `${address}/p2p/other` });
  const elsewhere = new FakeConnection({ direction: "outbound", address: "/ip4/192.0.2.9/tcp/4002" });
  const relayed = new FakeConnection({ direction: "outbound", address, relay: "relay" });
  const inbound = new FakeConnection({ direction: "inbound", address });
  const worker = identityOf("w", { role: "worker" });
  assert.is(gateways.refusalOf(dialled, worker)?.code, "not-authorized");
  assert.is(gateways.refusalOf(inbound, worker)?.code, "not-authorized");
  for (const connection of [elsewhere, relayed]) assert.is(gateways.refusalOf(connection, worker), undefined);
  for (const role of ["gateway", undefined] as const) {
    assert.is(gateways.refusalOf(dialled, identityOf("g", { role })), undefined);
  }
});

test("bug: a gateway that an address names was none over a connection to another address of its own", () => {
  const announced = new FakeConnection({ direction: "outbound", address: "/ip4/10.0.0.9/tcp/4001/p2p/named" });
  const relayed = new FakeConnection({ direction: "outbound", address: "/ip4/10.0.0.9/tcp/4001", relay: "relay" });
  const named = identityOf("named", { role: "gateway" });
  const { gateways, closed } = gatewaysOf(new Map([[announced, named]]));
  assert.equal([gateways.isGateway("named"), gateways.peers()], [true, ["named"]]);
  gateways.denied([announced], new Set(["gateway"]));
  assert.equal(closed, [announced]);
  assert.is(
    gateways.refusalOf(announced, identityOf("named", { role: "worker" })),
    undefined,
    "another certificate of its key",
  );
  assert.is(gateways.refusalOf(announced, identityOf("other", { role: "worker" })), undefined);
  const worker = gatewaysOf(new Map([[announced, identityOf("named", { role: "worker" })]])).gateways;
  assert.equal([worker.isGateway("named"), worker.peers()], [false, []]);
  assert.equal(gatewaysOf(new Map([[relayed, named]])).gateways.peers(), [], "not through a relay");
  assert.is(gatewaysOf(new Map([[announced, identityOf("named")]])).gateways.areExisting, true);
});

test("a circuit comes from a gateway at which this node has a reservation", () => {
  const [relay, stranger] = [new FakeConnection(), new FakeConnection()];
  const [worker, unknown] = [new FakeConnection(), new FakeConnection()];
  const { gateways, reported } = gatewaysOf(
    new Map<WireConnection, PeerIdentity>([
      [relay, identityOf("relay", { role: "gateway" })],
      [stranger, identityOf("stranger", { role: "gateway" })],
      [worker, identityOf("relay", { role: "worker" })],
    ]),
    ["relay"],
  );
  const permitted = [relay, stranger, worker, unknown].map((connection) =>
    gateways.permits(connection, "relay.connect")
  );
  assert.equal(permitted, [true, false, false, false]);
  assert.equal(reported, [["relay.connect", "this node has no reservation there"]]);
  assert.ok(gateways.permits(stranger, "ping"));
  assert.not(gateways.permits(unknown, "ping"), "before the gate has opened nothing is");
});

test("denied by changed rules: a connection ends where the wire would go on with what began", () => {
  const identities = new Map<WireConnection, PeerIdentity>();
  const { gateways, closed, unreserved } = gatewaysOf(identities);
  const at = new FakeConnection({ direction: "outbound", address });
  const other = new FakeConnection({ direction: "outbound", address: "/ip4/192.0.2.9/tcp/4002" });
  const denied = (...acts: Act[]) => {
    gateways.denied([at, other], new Set(acts));
    return closed.splice(0).map((connection) => connection === at ? "at" : "other");
  };
  assert.equal(denied("job.dispatch", "ping", "kad.query"), []);
  assert.equal(denied("gateway"), ["at"]);
  assert.equal(denied("gossip"), ["at", "other"]);
  identities.set(other, identityOf("other"));
  assert.equal(denied("gateway", "relay.connect"), ["at", "other"]);
  assert.equal(unreserved, []);
  assert.equal(denied("relay.reserve"), ["at", "other"]);
  assert.equal(unreserved, ["other"], "its reservation goes with its connections");
});

test.run();
