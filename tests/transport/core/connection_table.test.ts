/** Connections and their gates: who is established, what each refusal does, and which connections a change of trust reaches. */
import { randomUUID } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeGateFactory } from "../../../actors/gate/gate.ts";
import { ProtocolMismatch, TlsFailed } from "../../../pki/refusal.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import { ConnectionTable } from "../../../transport/core/connection_table.ts";
import type { ConnectionTableListener } from "../../../transport/core/connection_table_init.ts";
import { reverifySlice } from "../../../transport/core/reverification.ts";
import type { GateEvent, TransportLimits } from "../../../transport/port.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { makeTestPki, type TestNode } from "../../support/pki.ts";
import { identityOf, snapshotOf } from "../../support/transports.ts";

const test = suite("ConnectionTable");
const pki = await makeTestPki();
const own = identityOf(await pki.node("own"));
const peer = await pki.node("peer");
const chainOf = (node: TestNode) => identityOf(node).chain;
const peerOf = (node: TestNode) => identityOf(node).peer;

function tableWith(limits: Partial<TransportLimits> = {}, gateTime: (now: number) => number = (now) => now) {
  const clock = new ManualClock(Date.now());
  const log: string[] = [];
  const said: GateEvent[] = [];
  const listener: { -readonly [K in keyof ConnectionTableListener]: ConnectionTableListener[K] } = {
    turnedAway: (_address, refusal) => log.push(`turned away ${refusal.code}`),
    established: (_connection, identity, first) => log.push(`established ${identity.name}${first ? " first" : ""}`),
    left: (_connection, identity, reason, last) =>
      log.push(
        `left ${identity.name} ${"refusal" in reason ? reason.refusal.code : reason.type}${last ? " last" : ""}`,
      ),
    refused: (_connection, _gate, refusal) => log.push(`refused ${refusal.code}`),
    gate: (_connection, event) => said.push(event),
  };
  const table = new ConnectionTable({
    clock,
    makeGate: makeGateFactory({ ports: { now: () => gateTime(clock.now()), report: () => {} } }),
    snapshot: snapshotOf(pki),
    identity: () => own,
    limits: { ...defaultLimits, ...limits },
    handshakeTimeoutMs: 20_000,
    uuid: randomUUID,
    listener,
  });
  return { table, clock, log, said, listener };
}

test("a connection is established once the wire opened it, and not before", () => {
  const { table, log } = tableWith();
  const connection = new FakeConnection();
  assert.ok(table.opening(connection));
  assert.is(table.opened(connection), false, "opened before TLS stood");
  assert.is(table.securing(connection), own);
  assert.is(table.secured(connection, { version: "TLSv1.3", chain: chainOf(peer) })?.name, "peer");
  assert.is(table.identityOf(connection), undefined);
  assert.equal(table.list(), []);
  connection.isOpen = true;
  assert.ok(table.opened(connection));
  assert.is(table.identityOf(connection)?.peer, peerOf(peer));
  assert.is(table.best(peerOf(peer)), connection);
  assert.is(table.opened(connection), false, "opened twice");
  assert.equal(log, ["established peer first"]);
  connection.end(table);
  assert.equal(log, ["established peer first", "left peer by-them last"]);
  assert.is(table.size, 0);
});

test("a connection that the wire never announced has no verdict", () => {
  const { table, log } = tableWith();
  const stranger = new FakeConnection();
  assert.is(table.securing(stranger), undefined);
  assert.is(table.secured(stranger, { version: "TLSv1.3", chain: chainOf(peer) }), undefined);
  assert.is(table.opened(stranger), false);
  table.failed(stranger, new TlsFailed({ detail: "odd" }));
  table.ended(stranger, { by: "us", detail: "" });
  assert.equal(log, []);
});

test("a gate that refuses closes its connection at once, after the call; its refusal is not overwritten by the end", () => {
  const { table, clock, log } = tableWith();
  const connection = new FakeConnection();
  table.opening(connection);
  table.securing(connection);
  table.failed(connection, new TlsFailed({ detail: "odd" }));
  assert.equal(connection.closes, []);
  clock.settle();
  assert.equal(connection.closes, ["now"]);
  connection.end(table, { by: "us", detail: "closed", refusal: new ProtocolMismatch({ detail: "overwritten" }) });
  assert.equal(log, ["refused tls-failed"]);
  assert.is(table.size, 0);
});

const ends: [name: string, end: Parameters<ConnectionTable["ended"]>[1], code: string][] = [
  [
    "the wire names a refusal",
    { by: "us", detail: "x", refusal: new ProtocolMismatch({ detail: "x" }) },
    "protocol-mismatch",
  ],
  ["the wire names none", { by: "them", detail: "gone" }, "hung-up"],
];
for (const [name, end, code] of ends) {
  test(`before it was open, ${name}: ${code}`, () => {
    const { table, log } = tableWith();
    const connection = new FakeConnection();
    table.opening(connection);
    table.securing(connection);
    connection.end(table, end);
    assert.equal(log, [`refused ${code}`]);
  });
  test(`while the multiplexer is agreed on, ${name}: ${code}`, () => {
    const { table, log } = tableWith();
    const connection = new FakeConnection();
    table.opening(connection);
    table.securing(connection);
    table.secured(connection, { version: "TLSv1.3", chain: chainOf(peer) });
    connection.end(table, end);
    assert.equal(log, [`refused ${code}`]);
  });
}

test("over the limit of connections an attempt is refused before TLS, and its wire learns it at once", () => {
  const { table, log } = tableWith({ connectionsMax: 1 });
  assert.ok(new FakeConnection().stand(table, chainOf(peer)));
  assert.ok(table.turnsAway("/ip4/192.0.2.2/tcp/1"));
  assert.is(table.opening(new FakeConnection({ address: "/ip4/192.0.2.2/tcp/1" })), false);
  assert.equal(log, ["established peer first", "turned away too-many-connections", "refused too-many-connections"]);
});

test("one peer has at most so many connections; the next is refused, those there are stay", () => {
  const { table, log } = tableWith({ connectionsPerPeerMax: 2 });
  const stand = () => new FakeConnection().stand(table, chainOf(peer));
  assert.equal([stand(), stand(), stand()], [true, true, false]);
  assert.equal(log, ["established peer first", "established peer", "refused too-many-connections"]);
});

test("a gate that fails while its connection is established: the member left, and the connection is closed at once", () => {
  let readings = Number.POSITIVE_INFINITY;
  const { table, clock, log } = tableWith({}, (now) => {
    if (readings-- <= 0) throw new Error("the clock is gone");
    return now;
  });
  const connection = new FakeConnection();
  connection.stand(table, chainOf(peer));
  readings = 1; // the checks read it, then the timer of the established state
  table.trustChanged(snapshotOf(pki));
  assert.equal(log, ["established peer first", "left peer internal last"]);
  assert.equal([table.identityOf(connection), table.identitiesOf(peerOf(peer)), table.list()], [undefined, [], []]);
  clock.settle();
  assert.equal(connection.closes, ["now"]);
  connection.end(table);
  assert.equal([table.size, table.identitiesOf(peerOf(peer)).length, log.length], [0, 0, 2]);
});

test("a listener that throws leaves no connection open whose gate has closed", async () => {
  const revoked = await pki.node("revoked");
  for (const thrower of ["gate", "left"] as const) {
    const { table, clock, listener } = tableWith();
    const connection = new FakeConnection();
    connection.stand(table, chainOf(revoked));
    listener[thrower] = () => {
      throw new Error("a listener's mistake");
    };
    table.trustChanged(snapshotOf(pki, { crlsPem: await pki.crls({ revoked: [revoked] }), generation: 2 }));
    clock.settle();
    assert.equal(connection.closes, ["now"], thrower);
    assert.equal([table.identityOf(connection), table.identitiesOf(peerOf(revoked)).length], [undefined, 0], thrower);
  }
});

test("two certificates of one key: each connection has its own identity, and a revocation ends only its own", async () => {
  const { table, clock, log } = tableWith();
  const renewed = await pki.node("renewed", { keyPem: peer.keyPem });
  assert.is(peerOf(renewed), peerOf(peer));
  const [first, second] = [new FakeConnection(), new FakeConnection({ direction: "outbound" })];
  assert.ok(first.stand(table, chainOf(peer)));
  assert.ok(second.stand(table, chainOf(renewed)));
  assert.equal(log, ["established peer first", "established renewed first"]);
  assert.equal([table.identityOf(first)?.name, table.identityOf(second)?.name], ["peer", "renewed"]);
  const crlsPem = await pki.crls({ revoked: [peer] });
  table.trustChanged(snapshotOf(pki, { crlsPem, generation: 2 }));
  clock.pass(0);
  assert.equal(log.slice(2), ["left peer certificate-revoked last"]);
  assert.is(table.identityOf(first), undefined);
  assert.is(table.identityOf(second)?.name, "renewed");
  assert.equal(table.identitiesOf(peerOf(peer)).map(({ name }) => name), ["renewed"]);
  assert.equal(first.closes, ["now"]);
  assert.equal(second.closes, []);
});

test("a renewal with the same key and name is the same member: it is established once and leaves once", async () => {
  const { table, clock, log } = tableWith();
  const renewed = await pki.node("peer", { keyPem: peer.keyPem });
  assert.is.not(renewed.serial, peer.serial);
  const [before, after] = [new FakeConnection(), new FakeConnection()];
  before.stand(table, chainOf(peer));
  after.stand(table, chainOf(renewed));
  assert.is(table.list().length, 1);
  const crlsPem = await pki.crls({ revoked: [peer] });
  table.trustChanged(snapshotOf(pki, { crlsPem, generation: 2 }));
  clock.pass(0);
  after.end(table);
  assert.equal(log, [
    "established peer first",
    "established peer",
    "left peer certificate-revoked",
    "left peer by-them last",
  ]);
});

test("a change of trust reaches every connection, also beyond the first slice", async () => {
  const { table, clock, log } = tableWith({ connectionsPerPeerMax: 1_000 });
  const others = reverifySlice * 2 + 5;
  for (let each = 0; each < others; each++) assert.ok(new FakeConnection().stand(table, chainOf(peer)));
  const last = await pki.node("last");
  const connection = new FakeConnection();
  assert.ok(connection.stand(table, chainOf(last)));
  log.length = 0;
  const crlsPem = await pki.crls({ revoked: [last] });
  table.trustChanged(snapshotOf(pki, { crlsPem, generation: 2 }));
  assert.equal(log, [], "all in one turn");
  clock.pass(0);
  assert.equal(log, ["left last certificate-revoked last"]);
  assert.equal(connection.closes, ["now"]);
});

test("a newer trust starts no pass over: what a gate was not evaluated with yet is left out", async () => {
  const { table, clock, log } = tableWith({ connectionsPerPeerMax: 1_000 });
  for (let each = 0; each < reverifySlice * 2; each++) assert.ok(new FakeConnection().stand(table, chainOf(peer)));
  log.length = 0;
  const crlsPem = await pki.crls({ revoked: [peer] });
  table.trustChanged(snapshotOf(pki, { crlsPem, generation: 2 }));
  assert.is(log.length, 1, "a slice ends with a gate that closes");
  table.trustChanged(snapshotOf(pki, { generation: 3 }));
  clock.pass(0);
  assert.is(log.length, 1);
  assert.is(table.snapshot.generation, 3);
});

test("what we close ourselves closes gently; the peer's end comes once", () => {
  const { table, clock, log } = tableWith();
  const connection = new FakeConnection();
  connection.stand(table, chainOf(peer));
  table.close(peerOf(peer), "enough");
  clock.settle();
  assert.equal(connection.closes, ["gently"]);
  connection.end(table, { by: "us", detail: "closed" });
  assert.equal(log, ["established peer first", "left peer by-us last"]);
});

test("a direct connection goes before a relayed one, and a closing one is not used", () => {
  const { table } = tableWith();
  const relayed = new FakeConnection({ relay: "12D3KooWRelay" });
  const direct = new FakeConnection();
  relayed.stand(table, chainOf(peer));
  assert.is(table.best(peerOf(peer)), relayed);
  direct.stand(table, chainOf(peer));
  assert.is(table.best(peerOf(peer)), direct);
  direct.isOpen = false;
  assert.is(table.best(peerOf(peer)), relayed);
});

test("the newest of equal connections is used: the end of a former one may not have come here", () => {
  const { table } = tableWith();
  const [former, latest, relayed] = [
    new FakeConnection(),
    new FakeConnection(),
    new FakeConnection({ relay: "12D3KooWRelay" }),
  ];
  former.stand(table, chainOf(peer));
  latest.stand(table, chainOf(peer));
  relayed.stand(table, chainOf(peer));
  assert.is(table.best(peerOf(peer)), latest);
  latest.isOpen = false;
  assert.is(table.best(peerOf(peer)), former);
});

test("a refusal of an own dial is found by the address or the peer that was dialled, from the mark on", () => {
  const { table } = tableWith();
  const dialled = () =>
    new FakeConnection({ direction: "outbound", address: "/ip4/192.0.2.9/tcp/1", expectedPeer: peerOf(peer) });
  const before = dialled();
  table.opening(before);
  assert.ok(table.isSecuring({ peer: peerOf(peer) }));
  table.failed(before, new TlsFailed({ detail: "before" }));
  const mark = table.mark();
  assert.is(table.refusalSince(mark, { peer: peerOf(peer) }), undefined);
  const after = dialled();
  table.opening(after);
  table.failed(after, new ProtocolMismatch({ detail: "after" }));
  assert.is(table.refusalSince(mark, { peer: peerOf(peer) })?.code, "protocol-mismatch");
  assert.is(
    table.refusalSince(mark, { address: `/ip4/192.0.2.9/tcp/1/p2p/${peerOf(peer)}` })?.code,
    "protocol-mismatch",
  );
  assert.is(
    table.refusalSince(mark, { peer: peerOf({ ...peer }), address: "/ip4/192.0.2.8/tcp/1" })?.code,
    "protocol-mismatch",
  );
  assert.is(table.refusalSince(mark, { address: "/ip4/192.0.2.8/tcp/1" }), undefined);
});

test("bug: a dial of a peer was refused for the certificate of another one that answered at its address", async () => {
  const century = 100 * 366 * 86_400_000;
  const { table, log } = tableWith({}, (now) => now + century);
  const refusalOf = (answers: TestNode) => {
    const expectedPeer = peerOf(peer), mark = table.mark();
    const connection = new FakeConnection({ direction: "outbound", expectedPeer });
    table.opening(connection);
    table.securing(connection);
    table.secured(connection, { version: "TLSv1.3", chain: chainOf(answers) });
    return table.refusalSince(mark, { peer: expectedPeer });
  };
  assert.is(refusalOf(peer)?.code, "certificate-expired");
  const other = await pki.node("other");
  assert.match(refusalOf(other)?.message ?? "", `Cannot accept peer ${peerOf(other)}: dialled ${peerOf(peer)}`);
  assert.equal(log, ["refused certificate-expired", "refused certificate-expired"]);
});

test("connections of a previous certificate end, those of the newest stay; idle ones end, busy ones are counted", async () => {
  const { table, clock } = tableWith();
  const [busy, idle] = [new FakeConnection(), new FakeConnection()];
  busy.stand(table, chainOf(peer));
  idle.stand(table, chainOf(await pki.node("idle")));
  table.closeBefore(own.generation, "replaced");
  clock.settle();
  assert.equal([busy.closes, idle.closes], [[], []]);
  assert.is(table.closeIdle((connection) => connection === busy, "draining"), 1);
  clock.settle();
  assert.equal([busy.closes, idle.closes], [[], ["gently"]]);
  table.closeBefore(own.generation + 1, "replaced");
  clock.settle();
  assert.equal(busy.closes, ["gently"]);
});

test.run();
