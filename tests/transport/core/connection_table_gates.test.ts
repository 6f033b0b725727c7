/** What the table tells each gate, and what it answers of connections, with gates that do as a test says. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Role } from "../../../pki/certificate.ts";
import { memberOf } from "../../../pki/member.ts";
import type { PeerIdentity } from "../../../pki/path.ts";
import { CertificateExpired, type Refusal, TlsFailed } from "../../../pki/refusal.ts";
import { defaultPolicy, type TrustSnapshot } from "../../../pki/trust.ts";
import { defaultLimits } from "../../../transport/core/admission.ts";
import { ConnectionTable } from "../../../transport/core/connection_table.ts";
import type { ConnectionTableInit } from "../../../transport/core/connection_table_init.ts";
import { reverifySlice } from "../../../transport/core/reverification.ts";
import type { Gate, GateCommand, GateEvent, GatePhase } from "../../../transport/port.ts";
import { FakeConnection } from "../../support/fake_wire.ts";
import { ManualClock } from "../../support/manual_clock.ts";
import { identityOf } from "../../support/played_session.ts";

const test = suite("ConnectionTable and its gates");

const trust = (generation: number): TrustSnapshot => ({
  generation,
  anchors: [],
  anchorsId: "",
  revocation: undefined,
  policy: defaultPolicy,
});

const expired: Refusal = new CertificateExpired({
  certificate: { subject: "CN=a", serial: "01" },
  at: new Date(1),
  notAfter: new Date(0),
});

/** A gate without checks that notes what it is sent. */
class PlayedGate implements Gate {
  readonly id = "gate";
  readonly expiresAt = undefined;
  readonly sent: GateCommand[] = [];
  readonly #listeners = new Set<(event: GateEvent) => void>();
  phase: GatePhase = "admitting";
  refusal: Refusal | undefined;
  identity: PeerIdentity | undefined;
  /** Whom the next certificate proves, and what the next change of trust makes of it. */
  proves = identityOf("a");
  afterTrust: PeerIdentity | undefined;
  /** Whether it has the state that the wire's events lead to. */
  isSecuring = true;
  isEstablished = true;

  send(command: GateCommand): void {
    this.sent.push(command);
    switch (command.type) {
      case "connection.securing":
        if (this.isSecuring) this.phase = "securing";
        return;
      case "tls.secured":
        this.phase = "opening";
        this.identity = this.proves;
        return;
      case "connection.opened":
        if (this.isEstablished) this.phase = "established";
        return;
      case "trust.changed":
        this.identity = this.afterTrust ?? this.identity;
        return;
      case "close":
        this.phase = "closed";
        return this.say({ type: "gate.closed", reason: { type: "by-us", detail: command.reason } });
    }
  }
  say(event: GateEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }
  listen(listener: (event: GateEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  stop(): void {
    this.sent.push({ type: "close", reason: "stopped" });
  }
  get isListened(): boolean {
    return this.#listeners.size > 0;
  }
}

function tableWith(limits: Partial<ConnectionTableInit["limits"]> = {}) {
  const clock = new ManualClock();
  const log: string[] = [];
  const proofs: (PeerIdentity | undefined)[] = [];
  const gates: PlayedGate[] = [];
  const own = { name: "own", generation: 1 } as unknown as ReturnType<ConnectionTableInit["identity"]>;
  const state = { own, next: (_gate: PlayedGate) => {} };
  const table = new ConnectionTable({
    clock,
    makeGate: ({ admission }) => {
      const gate = new PlayedGate();
      if (Result.isFailure(admission)) [gate.phase, gate.refusal] = ["refused", admission.failure];
      state.next(gate);
      gates.push(gate);
      return gate;
    },
    snapshot: trust(1),
    identity: () => state.own,
    limits: { ...defaultLimits, ...limits },
    handshakeTimeoutMs: 20_000,
    uuid: () => "gate",
    listener: {
      left: (_connection, { name }, reason, last, proven) => {
        log.push(`left ${name} ${reason.type}${last ? " last" : ""}`);
        proofs.push(proven);
      },
      refused: (_connection, _gate, refusal) => log.push(`refused ${refusal.code}`),
      gate: (_connection, { type }) => log.push(type),
    },
  });
  const stand = (peer: string, about: ConstructorParameters<typeof FakeConnection>[0] = {}, role?: Role) => {
    state.next = (gate) => void (gate.proves = identityOf(peer, { role }));
    const connection = new FakeConnection(about);
    assert.ok(connection.stand(table, []));
    return connection;
  };
  /** A connection in the midst of its handshake. */
  const begin = (about: ConstructorParameters<typeof FakeConnection>[0] = {}) => {
    const connection = new FakeConnection(about);
    assert.ok(table.opening(connection));
    return connection;
  };
  return { table, clock, log, proofs, gates, state, stand, begin };
}

// ── The way in ──

test("TLS begins only with a gate that is securing, and with the pair of that time", () => {
  const { table, clock, gates, state, begin } = tableWith();
  const [before, after] = [begin(), begin()];
  assert.equal([table.securing(before), table.securing(before)], [state.own, state.own]);
  assert.is(gates[0]?.sent.length, 1, "told once");
  state.own = { ...state.own, generation: 2 };
  assert.is(table.securing(after)?.generation, 2);
  table.closeBefore(2, "replaced");
  clock.settle();
  assert.equal([before.closes, after.closes], [["gently"], []]);
  state.next = (gate) => void (gate.isSecuring = false);
  assert.is(table.securing(begin()), undefined);
  assert.equal(gates.map(({ sent }) => sent[0]?.type), [
    "connection.securing",
    "connection.securing",
    "connection.securing",
  ]);
});

test("a gate that does not become established lets nothing in", () => {
  const { table, state } = tableWith();
  state.next = (gate) => void (gate.isEstablished = false);
  const connection = new FakeConnection();
  assert.is(connection.stand(table, []), false);
  assert.equal([table.identityOf(connection), table.list(), table.accepted], [undefined, [], 0]);
});

test("a gate learns whether TLS failed or what came after it", () => {
  const { table, gates, begin } = tableWith();
  const [securing, opening] = [begin(), begin()];
  for (const connection of [securing, opening]) table.securing(connection);
  table.secured(opening, { version: "TLSv1.3", chain: [] });
  for (const connection of [securing, opening]) table.failed(connection, new TlsFailed({ detail: "odd" }));
  assert.equal(gates.map(({ sent }) => sent.at(-1)?.type), ["tls.failed", "opening.failed"]);
});

test("an attempt that makes room for another source is refused", () => {
  const { table, gates, begin } = tableWith({ pendingMax: 2 });
  const flood = { address: "/ip4/192.0.2.1/tcp/1" };
  begin(flood);
  begin(flood);
  assert.ok(table.opening(new FakeConnection({ address: "/ip4/192.0.2.2/tcp/1" })));
  const [sent] = gates[0]?.sent ?? [];
  assert.is(sent?.type === "tls.failed" && sent.refusal.code, "too-many-connections");
  assert.equal(gates.slice(1).map((gate) => gate.sent), [[], []]);
});

test("limits are for the connections of others: an own dial is not counted", () => {
  const { table, stand } = tableWith({ connectionsMax: 1, pendingMax: 1 });
  const [here, there] = ["/ip4/192.0.2.3/tcp/1", "/ip4/192.0.2.4/tcp/1"];
  assert.is(table.turnsAway(here), false);
  const inbound = stand("a");
  stand("b", { direction: "outbound" });
  assert.is(table.turnsAway(here), true);
  assert.is(table.opening(new FakeConnection({ address: there })), false);
  inbound.end(table);
  assert.is(table.turnsAway(here), false, "its place is free again");
});

// ── The way out ──

test("what the wire says is broken is closed; whoever listens is told what the gate says", () => {
  const { table, clock, log, stand } = tableWith();
  const connection = stand("a");
  table.broken(connection, "its multiplexer failed");
  clock.settle();
  assert.equal(log, ["gate.closed", "left a by-us last"]);
  assert.equal([connection.closes, connection.details], [["gently"], ["its multiplexer failed"]]);
});

test("a member leaves once, however often its gate says that it ended", () => {
  const { table, log, gates, stand } = tableWith();
  stand("a");
  gates[0]?.say({ type: "gate.closed", reason: { type: "expired", refusal: expired } });
  gates[0]?.say({ type: "gate.closed", reason: { type: "by-them" } });
  assert.equal(log.filter((line) => line.startsWith("left")), ["left a expired last"]);
  assert.equal(table.list(), []);
});

test("every connection is closed at the end, also one that is not established: nobody left with it", () => {
  const { table, clock, log, stand, begin } = tableWith();
  const [established, securing] = [stand("a"), begin()];
  table.closeAll("stopping");
  clock.settle();
  assert.equal(log, ["gate.closed", "left a by-us last", "gate.closed"]);
  assert.equal([established.closes, securing.closes], [["gently"], ["gently"]]);
});

test("trust that ends a gate before it is established refuses the connection", () => {
  const { table, clock, log, gates, begin } = tableWith();
  const inbound = begin();
  const outbound = begin({ direction: "outbound", address: "/ip4/192.0.2.9/tcp/1" });
  for (const gate of gates) gate.say({ type: "gate.closed", reason: { type: "trust.changed", refusal: expired } });
  assert.equal(log.filter((line) => line.startsWith("refused")), [
    "refused certificate-expired",
    "refused certificate-expired",
  ]);
  assert.is(table.refusalSince(0, { address: outbound.address }), expired);
  assert.is(table.refusalSince(0, { address: inbound.address }), undefined, "it was no dial of this node");
  clock.settle();
  assert.equal([inbound.closes, inbound.details], [["now"], ["the gate refused it"]]);
});

test("a gate whose connection has ended is stopped, and heard no more", () => {
  const { table, gates, stand } = tableWith();
  const connection = stand("a");
  connection.end(table);
  const { sent, isListened } = gates[0] as PlayedGate;
  assert.equal(sent.slice(-2), [
    { type: "connection.closed", by: "them", detail: "it ended" },
    { type: "close", reason: "stopped" },
  ]);
  assert.is(isListened, false);
});

test("a connection that another trust domain vouches for now is closed; another proof of the same member is none", () => {
  const other = { ...identityOf("a"), domain: "partner.example" } as PeerIdentity;
  const cases: [name: string, before: "established" | "opening", after: PeerIdentity | undefined, closed: boolean][] = [
    ["another domain", "established", other, true],
    ["the same member", "established", identityOf("a"), false],
    ["the same proof", "established", undefined, false],
    ["not established yet", "opening", other, false],
  ];
  for (const [name, before, after, isClosed] of cases) {
    const { table, gates, stand, begin } = tableWith();
    if (before === "established") stand("a");
    else table.secured(begin(), { version: "TLSv1.3", chain: [] });
    const [gate] = gates as [PlayedGate];
    gate.afterTrust = after;
    table.trustChanged(trust(2));
    assert.is(gate.sent.some(({ type }) => type === "close"), isClosed, name);
  }
});

test("a connection that ends tells what the newest trust proved of it: nothing where it was not evaluated with that yet", () => {
  const { table, clock, gates, proofs, stand } = tableWith({ connectionsPerPeerMax: reverifySlice + 2 });
  const [first, ...others] = Array.from({ length: reverifySlice + 1 }, () => stand("a"));
  const [last, beforeLast] = others.toReversed();
  const renewed = identityOf("a");
  for (const gate of gates) gate.afterTrust = renewed;
  table.trustChanged(trust(2));
  table.closeOne(first!, "evaluated at once");
  table.closeOne(last!, "its turn comes later");
  clock.settle();
  table.closeOne(beforeLast!, "evaluated");
  assert.is(proofs.length, 3);
  assert.equal(proofs.map((proof) => proof === renewed), [true, false, true]);
  assert.is(proofs[1], undefined);
});

test("an idle connection is ended, one whose handshake is under way is neither ended nor counted as busy", () => {
  const { table, clock, stand, begin } = tableWith();
  const [idle, busy, securing] = [stand("a"), stand("b"), begin()];
  assert.is(table.closeIdle((connection) => connection !== idle, "draining"), 1);
  clock.settle();
  assert.equal([idle.closes, busy.closes, securing.closes], [["gently"], [], []]);
  table.closeOne(busy, "enough");
  clock.settle();
  assert.equal(busy.closes, ["gently"]);
});

// ── Questions ──

test("open connections, those of a peer, of a member, and those that are not established", () => {
  const { table, stand, begin } = tableWith();
  const [first, second, other] = [stand("a"), stand("a"), stand("b")];
  begin();
  second.isOpen = false;
  assert.equal([...table.open()], [first, other]);
  assert.equal([...table.of("a")], [first, second]);
  assert.equal([...table.of("nobody")], []);
  assert.equal([table.best("nobody"), table.close("nobody", "of none")], [undefined, undefined]);
  const member = memberOf(identityOf("a"));
  assert.equal(table.connectionsOf(member), [first, second]);
  assert.equal(table.connectionsOf(memberOf(identityOf("nobody"))), []);
  assert.equal([table.halfOpen, table.size, table.accepted], [1, 4, 3]);
});

test("a connection fits an ask for its member, or for a role that its certificate stands for", () => {
  const { table, stand, begin } = tableWith();
  const [worker, roleless, securing] = [stand("a", {}, "worker"), stand("a"), begin()];
  const [asWorker, asRoleless] = [identityOf("a", { role: "worker" }), identityOf("a")].map(memberOf);
  const fitting = (to: Parameters<typeof table.fits>[1]) =>
    [worker, roleless, securing].map((connection) => table.fits(connection, to));
  assert.equal(fitting(undefined), [true, true, false]);
  assert.equal(fitting({ member: asWorker! }), [true, false, false]);
  assert.equal(fitting({ member: asRoleless! }), [false, true, false]);
  assert.equal(fitting({ roles: ["worker", "data"] }), [true, true, false]);
  assert.equal(fitting({ roles: ["data"] }), [false, true, false]);
  assert.equal(fitting({ roles: [] }), [false, false, false]);
  assert.is(table.fits(new FakeConnection(), undefined), false);
  assert.is(table.best("a", { member: asWorker! }), worker);
  assert.is(table.best("a", { roles: ["data"] }), roleless);
  assert.is(table.best("a", { roles: [] }), undefined);
});

test("the newest of relayed connections is used where there is no direct one", () => {
  const { table, stand } = tableWith();
  stand("a", { relay: "relay" });
  const newest = stand("a", { relay: "relay" });
  assert.is(table.best("a"), newest);
});

test("a handshake is under way with the target of an own dial only, until it is established", () => {
  const { table, stand, begin } = tableWith();
  const dialled = { direction: "outbound", address: "/ip4/192.0.2.9/tcp/1", expectedPeer: "a" } as const;
  const target = { peer: "a" };
  assert.is(table.isSecuring(target), false, "none at all");
  begin({ ...dialled, direction: "inbound" });
  begin({ ...dialled, expectedPeer: "b" });
  assert.is(table.isSecuring(target), false, "from there, or with another peer");
  stand("a", dialled);
  assert.is(table.isSecuring(target), false, "established");
  begin(dialled);
  assert.is(table.isSecuring(target), true);
});

test.run();
