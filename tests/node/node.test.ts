/** A node's supervisor: load, listen, join, ready, drain, with the transport played by the test. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { type EventObject, fromCallback, type SnapshotFrom } from "xstate";
import { Effect } from "effect";
import type { RoleConfig } from "../../actors/config/config.ts";
import type { AskHttps } from "../../actors/enrolment/ask_https.ts";
import { nodeMachine } from "../../actors/node/node.ts";
import { OwnCertificateRefused, OwnCertificateRevoked } from "../../actors/trust/own_certificate.ts";
import type { AuditEntry } from "../../actors/trust/audit.ts";
import type { WitnessPort } from "../../actors/witness/witness_port.ts";
import type { Role } from "../../pki/certificate.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import {
  CertificateRevoked,
  CrlExpired,
  CrlNotYetValid,
  CrlRollback,
  type Refusal,
  RevocationUnknown,
  Unreachable,
} from "../../pki/refusal.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { NodeIdentity, TransportAsk, TransportFact, TransportInput } from "../../transport/port.ts";
import { beginning, failedWith, identityOf, makeFakeWorld, requestFrom, startIn } from "../support/fake_transport.ts";

const test = suite("node");
const identity = {
  ...{ peer: "self", name: "node-01", generation: 1, notAfter: new Date(4e12) },
  chain: [new Uint8Array()],
} as unknown as NodeIdentity;
const snapshotOf = (generation: number) => ({ generation }) as TrustSnapshot;

const refusal = new CertificateRevoked({
  certificate: { subject: "CN=x", serial: "01" },
  issuer: "CN=ca",
  revokedAt: new Date(0),
  reason: "keyCompromise",
} as never);

function configOf(role: RoleConfig["role"], more: object = {}): RoleConfig {
  return {
    role,
    trustPem: "trust.pem",
    crlsPem: "crls.pem",
    certPem: "cert.pem",
    keyPem: "key.pem",
    gatewayAddresses: role === "gateway" ? [] : ["/ip4/127.0.0.1/tcp/1"],
    listenAddresses: ["/ip4/127.0.0.1/tcp/2"],
    externalAddresses: [],
    excludeCidr: [],
    relayCircuit: true,
    crlGraceHours: 24,
    requireRoles: false,
    leafAlgorithms: ["ed25519"],
    caAlgorithms: ["ed25519"],
    drainTimeoutMs: 10_000,
    ...more,
  } as unknown as RoleConfig;
}

/** A node whose files, role and transport are the test's. */
function start(config: RoleConfig, witness?: WitnessPort, askCa?: AskHttps) {
  const world = makeFakeWorld();
  const heard = {
    trustStore: [] as EventObject[],
    identity: [] as EventObject[],
    role: [] as EventObject[],
    witness: [] as EventObject[],
    enrolment: [] as EventObject[],
  };
  const says: Record<string, (event: EventObject) => void> = {};
  const records: AuditEntry[] = [];
  const stoppedTransports: string[] = [];
  const part = (name: keyof typeof heard) =>
    fromCallback<EventObject>(({ receive, sendBack }) => {
      says[name] = sendBack;
      receive((event) => void heard[name].push(event));
    }) as never;
  let transportInput: TransportInput | undefined;
  let tell: (fact: TransportFact) => void = () => {};
  const machine = nodeMachine.provide({
    actors: {
      trustStore: part("trustStore"),
      identity: part("identity"),
      gateway: part("role"),
      worker: part("role"),
      scheduler: part("role"),
      data: part("role"),
      witness: part("witness"),
      enrolment: part("enrolment"),
    },
  });
  const actor = startIn(world, machine as typeof nodeMachine, {
    config,
    ports: world.ports,
    transport: fromCallback<TransportAsk, TransportInput>(({ input, receive, sendBack }) => {
      transportInput = input;
      tell = sendBack;
      receive((ask) => world.transport.send(ask));
      return () => void stoppedTransports.push(input.identity.peer);
    }),
    makeGate: () => {
      throw new Error("no gate in this test");
    },
    audit: { record: (entry) => void records.push(entry) },
    witness,
    askCa,
  });
  const state = () => {
    const { value } = actor.getSnapshot() as SnapshotFrom<typeof nodeMachine>;
    const running = typeof value === "string" ? value : (value as { running: unknown }).running;
    return typeof running === "string" ? running : Object.keys(running as object)[0];
  };
  const loadIdentity = (loaded: NodeIdentity) =>
    says["identity"]?.({ type: "identity.loaded", identity: loaded } as EventObject);
  const load = (first = identity) => {
    says["trustStore"]?.({ type: "trust.loaded", snapshot: snapshotOf(1) } as EventObject);
    loadIdentity(first);
    says["identity"]?.({ type: "identity.accepted" } as EventObject);
  };
  const listen = (first = identity) => {
    load(first);
    world.takeOne("start").replyTo.send({
      type: "listening",
      addresses: ["/ip4/127.0.0.1/tcp/2"],
      bound: ["/ip4/0.0.0.0/tcp/2"],
      left: [],
    });
  };
  const link = () => {
    const dial = world.takeOne("dial");
    dial.replyTo.send({ type: "dial.done", id: dial.id, peer: "gateway" });
  };
  const join = () => {
    listen();
    link();
    tell({ type: "reachable", addresses: ["/x"] });
    tell({ type: "dht.ready" });
  };
  const healthy = () => {
    tell(requestFrom("somebody", "/hypha-health/0.0.1", {}));
    return (world.takeOne("respond").message as { healthy: boolean }).healthy;
  };
  /** Answers counters and the transport's drain. */
  const leave = () => {
    const counters = { accepted: 3, bytesReceived: 10, bytesSent: 20 };
    world.takeOne("counters").replyTo.send({ type: "counters", counters });
    world.takeOne("drain").replyTo.send({ type: "drained" });
  };
  return {
    world,
    actor,
    heard,
    says,
    records,
    stoppedTransports,
    /** Ids of the children that each identity has; transports have ids of xstate. */
    identityChildren: () =>
      Object.keys(actor.getSnapshot().children).filter((id) => /^(role|previous|x:)/.test(id))
        .map((id) => id.replace(/^x:.*/, "transport")).toSorted(),
    state,
    load,
    loadIdentity,
    listen,
    link,
    join,
    healthy,
    leave,
    tell: (fact: TransportFact) => tell(fact),
    input: () => transportInput,
    output: () => actor.getSnapshot().output,
  };
}

test("loads, listens, joins, and is ready; healthy only then", () => {
  const node = start(configOf("worker"));
  assert.is(node.state(), "loading");
  node.listen();
  assert.is(node.state(), "joining");
  const [listening] = node.world.reported("node.listening");
  assert.equal([listening?.["bound"], listening?.["addresses"]], [["/ip4/0.0.0.0/tcp/2"], ["/ip4/127.0.0.1/tcp/2"]]);
  assert.is(node.world.takeOne("serve").protocol, "/hypha-health/0.0.1");
  assert.not(node.healthy());
  node.link();
  assert.is(node.state(), "joining");
  node.tell({ type: "dht.ready" });
  assert.is(node.state(), "joining");
  node.tell({ type: "reachable", addresses: ["/x"] });
  assert.is(node.state(), "ready");
  assert.ok(node.healthy());
  assert.is(node.world.reported("node.ready").length, 1);
  const input = node.input();
  assert.equal([input?.relay, input?.snapshot.generation, input?.identity.peer], ["client", 1, "self"]);
});

test("what a role needs to join: a gateway nothing, a worker without a relay no reservation, others without gateways nothing", () => {
  const gateway = start(configOf("gateway"));
  gateway.listen();
  assert.equal([gateway.state(), gateway.input()?.relay], ["ready", "server"]);
  const direct = start(configOf("worker", { relayCircuit: false }));
  direct.listen();
  direct.link();
  assert.is(direct.state(), "joining");
  direct.tell({ type: "dht.ready" });
  assert.equal([direct.state(), direct.input()?.relay], ["ready", "off"]);
  const alone = start(configOf("data", { gatewayAddresses: [] }));
  alone.listen();
  assert.is(alone.state(), "ready");
});

test("dials its gateways for ever while it joins, and says what it waits for", () => {
  const node = start(configOf("worker"));
  node.listen();
  for (let failures = 0; failures < 6; failures++) {
    const dial = node.world.takeOne("dial");
    dial.replyTo.send({ type: "dial.failed", id: dial.id, refusal: new Unreachable({ detail: "nobody" }) });
    node.world.pass(12_000);
  }
  assert.is(node.state(), "joining");
  const waiting = node.world.reported("node.joining");
  assert.ok(waiting.length >= 6);
  assert.equal(waiting[0]?.["waitingFor"], [
    "a gateway",
    "an address that others reach",
    "its place in the DHT",
  ]);
});

test("a gateway that is lost is dialled again, the node stays ready, and its role hears of the rejoin", () => {
  const node = start(configOf("worker"));
  node.join();
  node.tell({ type: "peer.closed", peer: "gateway", identity: identityOf("gateway"), reason: { type: "by-them" } });
  assert.ok(node.healthy());
  node.world.pass(190);
  node.link();
  assert.ok(node.heard.role.some(({ type }) => type === "rejoined"));
});

test("a gateway's link counts while any member of its PeerID that may be a gateway is connected", () => {
  const node = start(configOf("worker"));
  node.join();
  const named = (name: string, role?: Role) => identityOf("gateway", role, name);
  const [gateway, unnamed, worker] = [named("gateway", "gateway"), named("unnamed"), named("worker", "worker")];
  const open = (identity: PeerIdentity) => node.tell({ type: "peer.established", peer: "gateway", identity });
  const close = (identity: PeerIdentity) =>
    node.tell({ type: "peer.closed", peer: "gateway", identity, reason: { type: "by-them" } });
  const redials = () => {
    node.world.pass(1_000);
    return node.world.take("dial").length;
  };
  for (const each of [gateway, unnamed, worker]) open(each);
  assert.is(node.actor.getSnapshot().context.members.length, 3);
  close(worker);
  open(worker);
  close(gateway);
  assert.is(redials(), 0, "a certificate without a role may be a gateway's");
  close(unnamed);
  assert.is(redials(), 1, "a worker's is none");
  assert.equal(node.actor.getSnapshot().context.members.map(({ role }) => role), ["worker"]);
  assert.equal(node.heard.role.filter(({ type }) => type === "peer.closed").length, 3, "its role hears of each member");
});

test("what can't be loaded ends the node with the typed error; so does a port that is taken", () => {
  const error = new Error("key file is open to others");
  const node = start(configOf("worker"));
  node.says["identity"]?.({ type: "identity.failed", error } as EventObject);
  const output = node.output();
  assert.ok(output?.type === "failed");
  assert.equal([output.error.stage, output.error.cause, output.error.message], ["load", error, error.message]);
  const trust = start(configOf("worker"));
  trust.says["trustStore"]?.({ type: "trust.failed", error } as EventObject);
  assert.is(trust.output()?.type, "failed");
  const port = start(configOf("worker"));
  port.load();
  port.world.takeOne("start").replyTo.send({ type: "transport.failed", error: failedWith("failed") });
  const failed = port.output();
  assert.ok(failed?.type === "failed");
  assert.is(failed.error.stage, "listen");
});

test("a certificate that its own trust refuses ends the start, before anything listens; later it is said, and the node goes on", () => {
  const error = new OwnCertificateRefused({ file: "cert.pem", refusal });
  const node = start(configOf("worker"));
  node.says["trustStore"]?.({ type: "trust.loaded", snapshot: snapshotOf(1) } as EventObject);
  node.says["identity"]?.({ type: "identity.loaded", identity } as EventObject);
  assert.is(node.state(), "loading", "waits for the verdict");
  node.says["identity"]?.({ type: "identity.refused", error } as EventObject);
  const output = node.output();
  assert.ok(output?.type === "failed");
  assert.equal([output.error.stage, output.error.cause, output.error.message], ["load", error, error.message]);
  assert.is(node.world.take("start").length, 0);
  const running = start(configOf("worker"));
  running.join();
  running.says["identity"]?.({ type: "identity.refused", error } as EventObject);
  assert.is(running.state(), "ready");
  const [said] = running.world.reports.filter(({ event }) => event === "identity.refused");
  assert.equal([said?.level, said?.fields?.["file"], said?.fields?.["code"]], [
    "error",
    "cert.pem",
    "certificate-revoked",
  ]);
});

test("a start without a list in force goes on where [membership] brings it, and is said; no other refusal is passed over", () => {
  const membership = { ca: ["https://ca.example"] } as RoleConfig["membership"] & object;
  const begin = (own: Refusal, more: object) => {
    const error = new OwnCertificateRefused({ file: "cert.pem", refusal: own });
    const node = start(configOf("worker", more));
    node.says["trustStore"]?.({ type: "trust.loaded", snapshot: snapshotOf(1) } as EventObject);
    node.says["identity"]?.({ type: "identity.loaded", identity } as EventObject);
    node.says["identity"]?.({ type: "identity.refused", error } as EventObject);
    return [node.state(), node.world.reports.filter(({ event }) => event === "identity.refused").length];
  };
  const [certificate, issuer, at] = [{ subject: "CN=n", serial: "01" }, "CN=ca", new Date(0)];
  const lists = [
    new RevocationUnknown({ certificate, issuer }),
    new CrlExpired({ issuer, at, nextUpdate: at }),
    new CrlNotYetValid({ issuer, at, thisUpdate: at }),
    new CrlRollback({ issuer, number: "4", seen: "5" }),
  ];
  for (const own of lists) {
    assert.equal(begin(own, { membership }), ["listening", 1], own.code);
    assert.equal(begin(own, {}), ["failed", 0], own.code);
  }
  assert.equal(begin(refusal, { membership }), ["failed", 0]);
});

test("a certificate that the own CA revoked ends a node: one that starts at once, one that runs in order; once", () => {
  const error = new OwnCertificateRevoked({ file: "cert.pem", refusal });
  const revoked = { type: "identity.revoked", error } as EventObject;
  const node = start(configOf("worker"));
  node.says["trustStore"]?.({ type: "trust.loaded", snapshot: snapshotOf(1) } as EventObject);
  node.says["identity"]?.({ type: "identity.loaded", identity } as EventObject);
  node.says["identity"]?.(revoked);
  const output = node.output();
  assert.ok(output?.type === "failed");
  assert.equal([output.error.stage, output.error.cause], ["revoked", error]);
  assert.match(output.error.message, "own-certificate-revoked");
  assert.is(node.world.take("start").length, 0);
  const running = start(configOf("worker"));
  running.join();
  running.says["identity"]?.(revoked);
  assert.is(running.output(), undefined, "its role ends first");
  const draining = running.state();
  running.says["identity"]?.(revoked);
  assert.equal(running.state(), draining);
  const said = running.world.reports.filter(({ event }) => event === "identity.refused");
  assert.equal(said.map(({ fields }) => fields?.["code"]), ["own-certificate-revoked"]);
  running.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  running.leave();
  const exit = running.output();
  assert.is(exit?.type === "failed" && exit.error.stage, "revoked");
});

test("says what is bound and what is announced: nothing, with the reason; what is gone on without", () => {
  const said = (role: RoleConfig["role"], more: object, answer: object) => {
    const node = start(configOf(role, more));
    node.load();
    node.world.takeOne("start").replyTo.send({ type: "listening", addresses: [], bound: [], left: [], ...answer });
    return node.world.reports.filter(({ event }) => /^node\.(un)?listen/.test(event))
      .map(({ level, message }) => `${level}: ${message}`);
  };
  const bound = ["/ip4/10.0.0.1/tcp/4001"];
  const hidden = said("gateway", { excludeCidr: ["10.0.0.0/8"] }, { bound });
  assert.match(
    hidden[0] ?? "",
    /^warn: Listening on \/ip4\/10\.0\.0\.1\/tcp\/4001; announces no address .*exclude_cidr/,
  );
  const worker = said("worker", {}, { left: ["/ip6/::1/tcp/1: this machine does not speak this version of IP"] });
  assert.match(worker[0] ?? "", /^info: Listening on no address; announces no address of its own .*relay/);
  assert.match(worker[1] ?? "", /^warn: Does not listen on \/ip6\/::1\/tcp\/1: this machine/);
});

test("files and transports that never answer are not waited for longer than their time", () => {
  const loading = start(configOf("worker"));
  loading.world.pass(30_010);
  assert.is(loading.output()?.type, "failed");
  const listening = start(configOf("worker"));
  listening.load();
  listening.world.pass(30_010);
  assert.is(listening.output()?.type, "failed");
});

test("bug: enrolment was not informed that time had passed while the machine slept", () => {
  const askCa: AskHttps = () => Effect.never;
  const node = start(configOf("worker", { membership: { ca: ["https://ca.example"] } }), undefined, askCa);
  node.says["identity"]?.({ type: "identity.unchanged" } as EventObject);
  assert.equal(node.heard.enrolment, [{ type: "pair.unchanged" }]);
  const alone = start(configOf("worker"));
  alone.says["identity"]?.({ type: "identity.unchanged" } as EventObject);
  assert.equal(alone.heard.enrolment, []);
});

test("bug: an enrolling node whose own trust refused its pair ended with the reason that nothing was loaded", () => {
  const error = new OwnCertificateRefused({ file: "cert.pem", refusal });
  const askCa: AskHttps = () => Effect.never;
  const begin = (mended: boolean) => {
    const node = start(configOf("worker", { membership: { ca: ["https://ca.example"] } }), undefined, askCa);
    node.says["trustStore"]?.({ type: "trust.loaded", snapshot: snapshotOf(1) } as EventObject);
    node.says["identity"]?.({ type: "identity.loaded", identity } as EventObject);
    node.says["identity"]?.({ type: "identity.refused", error } as EventObject);
    assert.is(node.state(), "loading", "trust and pair are renewed together");
    if (mended) node.says["identity"]?.({ type: "identity.accepted" } as EventObject);
    node.world.pass(30_010);
    return node;
  };
  const output = begin(false).output();
  assert.ok(output?.type === "failed");
  assert.equal([output.error.stage, output.error.cause, output.error.message], ["load", error, error.message]);
  const mended = begin(true).output();
  assert.ok(mended?.type === "failed", "nothing listened");
  assert.equal([mended.error.stage, mended.error.cause], ["listen", undefined]);
});

test("bug: a renewed pair was judged twice, and its refusal reported twice", () => {
  const node = start(configOf("worker"));
  node.join();
  const before = node.heard.identity.length;
  node.says["identity"]?.({ type: "identity.loaded", identity: { ...identity, generation: 2 } } as EventObject);
  assert.is(node.heard.identity.length, before, "the identity has the trust already, and judges by itself");
});

test("new trust goes to the transport and to the identity at once, in every state; SIGHUP to the store", () => {
  const node = start(configOf("worker"));
  node.listen();
  node.says["trustStore"]?.({ type: "trust.changed", snapshot: snapshotOf(2) } as EventObject);
  assert.is(node.world.takeOne("trust.changed").snapshot.generation, 2);
  assert.is(node.heard.identity.at(-1)?.type, "trust.changed");
  node.actor.send({ type: "trust.reload" });
  assert.equal(node.heard.trustStore, [{ type: "trust.reload" }]);
  node.says["identity"]?.({ type: "identity.loaded", identity: { ...identity, generation: 2 } } as EventObject);
  assert.is(node.world.takeOne("identity.changed").identity.generation, 2);
});

test("a worker's level of cells is told to whoever asks for its health", () => {
  const node = start(configOf("worker"));
  node.join();
  const told = () => {
    node.tell(requestFrom("p", "/hypha-health/0.0.1", {}));
    return node.world.takeOne("respond").message;
  };
  assert.equal(told(), { healthy: true });
  node.says["role"]?.({ type: "role.cell", level: "full" } as EventObject);
  assert.equal(told(), { healthy: true, cell: "full" });
});

const successor = { ...identity, peer: "successor", generation: 2 };

/** A worker that is ready and gets another key. */
function rekeying(config: RoleConfig) {
  const node = start(config);
  if (config.gatewayAddresses.length > 0) node.join();
  else node.listen();
  for (const type of ["serve", "dial"] as const) node.world.take(type);
  node.loadIdentity(successor);
  const retire = node.world.takeOne("retire");
  const turn = (ask = retire, peers = ["p"]) => {
    ask.replyTo.send({
      type: "retired",
      listenAddresses: ["/ip4/127.0.0.1/tcp/7"],
      peers: peers.map((peer) => ({ peer, addresses: [`/ip4/127.0.0.1/tcp/8/p2p/${peer}`] })),
    });
    const former = node.tell;
    node.world.takeOne("start").replyTo.send({
      type: "listening",
      addresses: ["/ip4/127.0.0.1/tcp/7"],
      bound: ["/ip4/127.0.0.1/tcp/7"],
      left: [],
    });
    return former;
  };
  const rejoin = () => {
    const [dial] = node.world.take("dial");
    dial?.replyTo.send({ type: "dial.done", id: dial.id, peer: "gateway" });
    node.tell({ type: "reachable", addresses: ["/x"] });
    node.tell({ type: "dht.ready" });
  };
  return { ...node, retire, turn, rejoin };
}

test("another key: the transport makes room, another takes its addresses over, the peers are dialled", () => {
  const node = rekeying(configOf("worker"));
  assert.is(node.state(), "rekeying");
  assert.is(node.world.take("identity.changed").length, 0);
  assert.is(node.heard.role.at(-1)?.type, "role.retire");
  node.turn();
  const input = node.input();
  assert.equal([input?.identity.peer, input?.listenAddresses], ["successor", ["/ip4/127.0.0.1/tcp/7"]]);
  const dials = node.world.take("dial").map(({ target }) => target);
  assert.equal(dials, [{ address: "/ip4/127.0.0.1/tcp/1" }, { address: "/ip4/127.0.0.1/tcp/8/p2p/p" }]);
  assert.is(node.state(), "joining");
  const [line] = node.world.reported("node.rekeying");
  assert.equal([line?.["peer"], line?.["formerPeer"]], ["successor", "self"]);
});

test("a worker's new role begins when the former one is over; what the former key's peers ask goes to the former", () => {
  const node = rekeying(configOf("worker"));
  const former = node.says["role"];
  node.turn();
  node.rejoin();
  assert.is(node.state(), "ready");
  assert.is(node.says["role"], former, "no second role");
  const before = node.heard.role.length;
  node.retire.factsTo.send(requestFrom("p", "/hypha-api/0.0.1", { RenewLease: { id: "x" } }));
  assert.is(node.heard.role.slice(before)[0]?.type, "request.received");
  node.tell(requestFrom("p", "/hypha-api/0.0.1", { RenewLease: { id: "x" } }));
  assert.is(node.world.take("decline").length, 1, "nobody is there for the present key");
  const identity = identityOf("member");
  node.tell({ type: "peer.established", peer: identity.peer, identity });
  assert.equal(node.heard.role.at(-1), { type: "member.connected", identity } as EventObject);
  node.retire.factsTo.send(requestFrom("p", "/hypha-health/0.0.1", {}));
  assert.equal(node.world.takeOne("respond").message, { healthy: true });
  former?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  assert.is(node.state(), "ready");
  assert.not(node.says["role"] === former, "a second role");
  const drain = node.world.takeOne("drain");
  assert.ok((drain.graceMs ?? 0) > 500_000);
  drain.replyTo.send({ type: "drained" });
  assert.is(node.world.reported("previous_identity.gone").length, 1);
});

test("a former role has its time and no more; new trust reaches its transport; a node that drains waits for it", () => {
  const node = rekeying(configOf("worker", { rotation: { drain: "expiry", drainMs: 20_000 } }));
  node.turn();
  node.says["trustStore"]?.({ type: "trust.changed", snapshot: snapshotOf(2) } as EventObject);
  assert.is(node.world.take("trust.changed").length, 2);
  node.world.pass(19_990);
  assert.is(node.heard.role.at(-1)?.type, "role.retire");
  node.world.pass(20);
  assert.equal(node.heard.role.at(-1), { type: "role.drain", reason: "the node's key was replaced" } as EventObject);
  node.actor.send({ type: "drain", reason: "SIGTERM" });
  node.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  const former = node.world.takeOne("drain");
  node.leave();
  assert.is(node.output(), undefined);
  former.replyTo.send({ type: "drained" });
  assert.equal(node.output(), { type: "stopped", reason: "SIGTERM" });
});

test("bug: a transport whose key was replaced before the node had a role was drained first, and did not retire", () => {
  const node = start(configOf("worker"));
  node.listen();
  node.loadIdentity(successor);
  const order = node.world.asks.map(({ type }) => type).filter((type) => type === "retire" || type === "drain");
  assert.equal(order, ["retire", "drain"]);
});

test("bug: peers of the first key were not dialled where a third key replaced the second during its dials", () => {
  const node = rekeying(configOf("gateway"));
  const isAnnouncement = ({ target }: { readonly target: object }) => JSON.stringify(target).includes("/tcp/8/");
  const dials = () => node.world.take("dial").filter(isAnnouncement);
  const peersOf = (asks: readonly { readonly id: string }[]) => asks.map(({ id }) => id.split("/").at(-1));
  node.turn(node.retire, ["told", "refused", "both", "waiting", "late"]);
  const [told, refused, , , late] = dials();
  const fail = (dial: typeof late) =>
    dial?.replyTo.send({ type: "dial.failed", id: dial.id, refusal: new Unreachable({ detail: "closed" }) });
  told?.replyTo.send({ type: "dial.done", id: told.id, peer: "told" });
  fail(refused);
  assert.equal(node.world.reported("node.unannounced").map(({ peer }) => peer), ["refused"]);
  node.loadIdentity({ ...successor, peer: "third", generation: 3 });
  fail(late);
  node.turn(node.world.takeOne("retire"), ["new", "both"]);
  assert.equal(peersOf(dials()), ["new", "both", "waiting", "late"]);
});

test("bug: a node kept transport, role and actor of a previous identity until its own end", () => {
  const node = rekeying(configOf("data", { gatewayAddresses: [] }));
  const endRole = node.says["role"];
  node.turn();
  assert.equal(node.identityChildren(), ["previous/1", "role", "role/2", "transport", "transport"]);
  endRole?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  assert.equal([node.identityChildren().includes("role"), node.stoppedTransports], [false, []]);
  node.world.takeOne("drain").replyTo.send({ type: "drained" });
  assert.equal(node.identityChildren(), ["role/2", "transport"]);
  assert.equal(node.stoppedTransports, ["self"]);
  node.retire.factsTo.send(requestFrom("p", "/hypha-health/0.0.1", {}));
  assert.ok(node.healthy(), "facts of the stopped transport are dropped");
});

test("bug: a worker had no role under a new key where that of the previous key did not end", () => {
  const node = rekeying(configOf("worker", { rotation: { drain: "expiry", drainMs: 20_000 } }));
  const previous = node.says["role"];
  node.turn();
  node.rejoin();
  node.world.pass(34_900);
  assert.is(node.says["role"], previous, "its time, that of the drain, and the transport's");
  node.world.pass(200);
  assert.equal(node.identityChildren(), ["role/2", "transport"]);
  assert.equal([node.state(), node.stoppedTransports], ["ready", ["self"]]);
});

test("a transport that is drained before it has retired is stopped once it has", () => {
  const node = start(configOf("worker"));
  node.listen();
  node.loadIdentity(successor);
  node.world.takeOne("drain").replyTo.send({ type: "drained" });
  assert.equal([node.world.reported("previous_identity.gone").length, node.stoppedTransports], [1, []]);
  node.world.takeOne("retire").replyTo.send({ type: "retired", listenAddresses: [], peers: [] });
  assert.equal([node.state(), node.stoppedTransports], ["listening", ["self"]]);
});

test("bug: work under a replaced key had to end with the first certificate of that key, though it was renewed", () => {
  const node = start(configOf("data", { gatewayAddresses: [] }));
  node.listen({ ...identity, notAfter: new Date(beginning + 10_000) });
  node.loadIdentity({ ...identity, generation: 2 });
  node.world.pass(11_000);
  node.loadIdentity({ ...successor, generation: 3 });
  node.world.pass(20);
  assert.equal(node.heard.role.at(-1), { type: "role.retire", withinMs: 600_000 } as EventObject);
});

test("bug: a node that was stopped gave the work of its former key 5 s instead of the drain's time", () => {
  const node = rekeying(configOf("worker"));
  node.turn();
  node.actor.send({ type: "drain", reason: "SIGTERM" });
  assert.is(node.heard.role.at(-1)?.type, "role.drain");
  node.world.pass(9_980);
  assert.equal([node.output(), node.world.take("counters").length], [undefined, 0], "the former key's role has work");
  node.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  node.world.takeOne("drain").replyTo.send({ type: "drained" });
  node.leave();
  assert.equal(node.output(), { type: "stopped", reason: "SIGTERM" });
  const stuck = rekeying(configOf("worker"));
  stuck.turn();
  stuck.actor.send({ type: "drain", reason: "SIGTERM" });
  stuck.world.pass(10_010);
  assert.is(stuck.world.take("counters").length, 1, "no longer than the drain's time");
  const changing = rekeying(configOf("worker"));
  changing.actor.send({ type: "drain", reason: "SIGTERM" });
  changing.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  assert.is(changing.world.take("counters").length, 1, "stopped before the new key's transport was there");
});

test("bug: a stopped node did not wait for its former key's role once that of the present key was over", () => {
  const over = (id: string) => ({ type: `xstate.done.actor.${id}`, output: { type: "drained" } }) as EventObject;
  for (const order of [["role/2", "role"], ["role", "role/2"]]) {
    const node = rekeying(configOf("data", { gatewayAddresses: [] }));
    node.turn();
    assert.is(node.state(), "ready");
    node.actor.send({ type: "drain", reason: "SIGTERM" });
    for (const id of order) {
      assert.is(node.world.take("counters").length, 0, `before ${id} of ${order}`);
      node.says["role"]?.(over(id));
    }
    assert.is(node.world.take("counters").length, 1, `${order}`);
  }
});

test("a scheduler that finishes under its former key ends the node; gateways and data nodes begin anew at once", () => {
  const scheduler = rekeying(configOf("scheduler"));
  scheduler.turn();
  scheduler.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "finished" } } as EventObject);
  assert.is(scheduler.state(), "draining");
  const gateway = rekeying(configOf("gateway"));
  const before = gateway.says["role"];
  gateway.turn();
  assert.is(gateway.state(), "ready");
  assert.not(gateway.says["role"] === before);
});

test("an address that is not free yet is tried again, and not for ever; the transport that can't make room ends the node", () => {
  const node = rekeying(configOf("gateway"));
  node.retire.replyTo.send({ type: "retired", listenAddresses: ["/ip4/127.0.0.1/tcp/7"], peers: [] });
  for (let time = 0; time < 25; time++) {
    node.world.takeOne("start").replyTo.send({ type: "transport.failed", error: failedWith("failed") });
    assert.equal([node.state(), node.input()?.listenAddresses[0]], ["relistening", "/ip4/127.0.0.1/tcp/7"]);
    node.world.pass(210);
  }
  node.world.takeOne("start").replyTo.send({ type: "transport.failed", error: failedWith("failed") });
  assert.is(node.output()?.type, "failed");
  const stuck = rekeying(configOf("gateway"));
  stuck.world.pass(5_010);
  assert.is(stuck.state(), "draining");
});

test("a member's request that does not decode is one line, which names member and protocol", () => {
  const node = start(configOf("worker"));
  node.join();
  const protocol = "/hypha-api/0.0.1" as const;
  const fact = {
    type: "request.malformed",
    peer: "p",
    identity: identityOf("p"),
    protocol,
    detail: "no CBOR",
  } as const;
  node.tell({ ...fact, untold: 0 });
  node.tell({ ...fact, untold: 41 });
  const said = node.world.reports.filter(({ event }) => event === "request.malformed");
  assert.equal(said.map(({ level, message }) => `${level}: ${message}`), [
    "warn: Cannot read a request of p.name (p) over /hypha-api/0.0.1: no CBOR",
    "warn: Cannot read a request of p.name (p) over /hypha-api/0.0.1: no CBOR (and 41 more since the last such line)",
  ]);
  assert.ok(node.heard.role.every(({ type }) => type !== "request.malformed"));
});

test("bug: the witness was not sent a member's further connections", () => {
  const node = start(configOf("worker"), { log: undefined, heads: undefined });
  node.join();
  for (const type of ["peer.established", "peer.reconnected"] as const) {
    node.tell({ type, peer: "p", identity: identityOf("p") });
  }
  const facts = node.heard.witness.map(({ type }) => type).filter((type) => type.startsWith("peer."));
  assert.equal(facts, ["peer.established", "peer.reconnected"]);
});

test("says who came and who went, with name and reason; a refusal is counted and recorded", () => {
  const node = start(configOf("worker"));
  node.join();
  node.tell({ type: "peer.established", peer: "p", identity: identityOf("p") });
  node.tell({
    type: "peer.closed",
    peer: "p",
    identity: identityOf("p"),
    reason: { type: "trust.changed", refusal },
  });
  assert.equal(node.world.reported("peer.established")[0], { peer: "p", name: "p.name" });
  const [closed] = node.world.reported("peer.closed");
  assert.equal([closed?.["peer"], closed?.["name"], closed?.["reason"], closed?.["code"]], [
    "p",
    "p.name",
    "trust.changed",
    "certificate-revoked",
  ]);
  node.tell({ type: "peer.refused", address: "/ip4/1.2.3.4/tcp/5", direction: "inbound", peer: undefined, refusal });
  assert.equal(node.records.map((entry) => entry.type === "refusal" && entry.code), ["certificate-revoked"]);
  node.actor.send({ type: "drain", reason: "test" });
  node.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  node.leave();
  const [summary] = node.world.reported("node.summary");
  assert.equal(summary, { accepted: 3, refused: { "certificate-revoked": 1 }, bytesReceived: 10, bytesSent: 20 });
});

test("facts go to the role once it is there; before, requests and streams get no", () => {
  const node = start(configOf("worker"));
  node.listen();
  const push = {
    type: "stream.received" as const,
    exchange: "x",
    peer: "p",
    identity: identityOf("p"),
    protocol: "/hypha-tensor-stream/push" as const,
  };
  node.tell(push);
  node.tell(requestFrom("p", "/hypha-api/0.0.1", { RenewLease: { id: "x" } }));
  assert.is(node.world.take("stream.reject").length, 1);
  assert.is(node.world.take("decline").length, 1);
  node.link();
  node.tell({ type: "reachable", addresses: ["/x"] });
  node.tell({ type: "dht.ready" });
  node.tell(push);
  node.tell(requestFrom("p", "/hypha-api/0.0.1", { RenewLease: { id: "x" } }));
  assert.equal(node.heard.role.map(({ type }) => type).filter((type) => type.endsWith("received")), [
    "stream.received",
    "request.received",
  ]);
});

test("drains: the role first, then the transport, and says what it did", () => {
  const node = start(configOf("worker"));
  node.join();
  node.actor.send({ type: "drain", reason: "SIGTERM" });
  assert.is(node.state(), "draining");
  assert.not(node.healthy());
  assert.is(node.heard.role.at(-1)?.type, "role.drain");
  assert.is(node.world.take("drain").length, 0, "the role is not done");
  node.tell({ type: "peer.closed", peer: "gateway", identity: identityOf("gateway"), reason: { type: "by-them" } });
  node.world.pass(1_000);
  assert.is(node.world.take("dial").length, 0, "gateways are not dialled any more");
  node.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  node.leave();
  assert.equal(node.output(), { type: "stopped", reason: "SIGTERM" });
});

test("a role or a transport that doesn't end is not waited for longer than the drain's time", () => {
  const node = start(configOf("worker"));
  node.join();
  node.actor.send({ type: "drain", reason: "SIGTERM" });
  node.world.pass(9_990);
  assert.is(node.world.take("counters").length, 0);
  node.world.pass(10);
  assert.is(node.world.take("counters").length, 1);
  node.world.pass(1_000);
  assert.is(node.world.take("drain").length, 1);
  node.world.pass(5_000);
  assert.equal(node.output(), { type: "stopped", reason: "SIGTERM" });
});

test("bug: a role that ended after the drain's time began the node's drain again", () => {
  const node = start(configOf("worker"));
  node.join();
  node.actor.send({ type: "drain", reason: "SIGTERM" });
  node.world.pass(10_010);
  node.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  assert.is(node.world.reported("node.draining").length, 1);
  node.leave();
  assert.equal(node.output(), { type: "stopped", reason: "SIGTERM" });
});

test("a scheduler whose work is done ends its node; a role that failed fails it", () => {
  const end = (output: object) => {
    const node = start(configOf("scheduler"));
    node.join();
    node.says["role"]?.({ type: "xstate.done.actor.role", output } as EventObject);
    node.world.pass(10_010);
    node.leave();
    return node.output();
  };
  assert.equal(end({ type: "finished" }), { type: "stopped", reason: "its work is done" });
  const failed = end({ type: "failed", reason: "no trainer is left" });
  assert.ok(failed?.type === "failed");
  assert.equal([failed.error.stage, failed.error.detail], ["role", "no trainer is left"]);
});

test("a drain before anything was loaded ends at once, one before the network was joined in order", () => {
  const early = start(configOf("worker"));
  early.actor.send({ type: "drain", reason: "SIGINT" });
  assert.equal(early.output(), { type: "stopped", reason: "SIGINT" });
  const joining = start(configOf("worker"));
  joining.listen();
  joining.actor.send({ type: "drain", reason: "SIGINT" });
  joining.leave();
  assert.equal(joining.output(), { type: "stopped", reason: "SIGINT" });
});

test("a transport that can't go on, and a child that dies of a defect, end the node as failed", () => {
  const node = start(configOf("worker"));
  node.join();
  node.tell({ type: "transport.failed", error: failedWith("failed") });
  assert.is(node.state(), "draining");
  node.says["role"]?.({ type: "xstate.done.actor.role", output: { type: "drained" } } as EventObject);
  node.leave();
  assert.is(node.output()?.type, "failed");
  const defect = start(configOf("worker"));
  defect.join();
  defect.says["identity"]?.({ type: "xstate.error.actor.identity", error: new Error("a defect") } as EventObject);
  assert.is(defect.state(), "draining");
});

test.run();
