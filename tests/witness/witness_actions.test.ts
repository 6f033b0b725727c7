/** What one witness asks, tells, answers, reports and stores. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Exit } from "effect";
import { boundOrigin, type KeyBinding } from "../../actors/audit/key_binding.ts";
import type { WitnessedLog } from "../../actors/audit/witnessed_log.ts";
import type { Ports, Report } from "../../actors/runtime/ports.ts";
import { keyOf } from "../../actors/simulation/authority.ts";
import { startsAt } from "../../actors/simulation/simulation.ts";
import { otherLogsMax, sharedLogsMax, staleMs } from "../../actors/witness/book.ts";
import { headMessage, type HeldLog, type OpenedHead } from "../../actors/witness/held_head.ts";
import { witnessMachine } from "../../actors/witness/witness.ts";
import { type HeadStore, type HeldLogs, witnessEveryMs } from "../../actors/witness/witness_port.ts";
import { proofsWaitingMax } from "../../actors/witness/witness_setup.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { TransportAsk } from "../../transport/port.ts";
import type { AuditRequest, AuditResponse } from "../../transport/protocols/messages.ts";
import {
  beginning,
  failedWith,
  identityOf,
  makeFakeWorld,
  requestFrom,
  settle,
  startIn,
} from "../support/fake_transport.ts";
import { growTo, type LogOwner, logOwner, ownersTrust, proofOf, stateOf } from "../support/log_owners.ts";

const test = suite("witness actions");
const everyMs = 60_000;
/** Every so often a witness looks whose turn it is: its ports draw the middle of the range. */
const lookMs = everyMs / 20;
const againMs = 10_000;
const protocol = "/hypha-audit/1";

type RequestAsk = Extract<TransportAsk, { type: "request" }>;

/** A disk that a test lets fail or wait. */
function makeDisk() {
  const files = new Map<string, HeldLog>();
  const writes: HeldLog[] = [];
  const removed: string[] = [];
  const failing = { reads: 0, writes: 0, readError: new Error("EMFILE: too many open files") as unknown };
  let isHeld = false;
  let release = () => {};
  const heads: HeadStore = {
    read: () => {
      if (failing.reads-- > 0) return Promise.reject(failing.readError);
      return Promise.resolve<HeldLogs>({ logs: [...files.values()], damaged: damaged.splice(0) });
    },
    write: async (log) => {
      if (isHeld) await new Promise<void>((resolve) => (release = resolve));
      if (failing.writes-- > 0) throw new Error("ENOSPC: no space left on device");
      writes.push(log);
      files.set(log.head.origin, log);
    },
    remove: (origin) => {
      removed.push(origin);
      files.delete(origin);
      return Promise.resolve();
    },
  };
  const damaged: string[] = [];
  return {
    ...{ heads, files, writes, removed, failing, damaged },
    hold: () => (isHeld = true),
    release: () => {
      isHeld = false;
      release();
    },
  };
}

interface Given {
  readonly log?: WitnessedLog | undefined;
  readonly disk?: ReturnType<typeof makeDisk>;
  readonly owner?: LogOwner | undefined;
  readonly isConnected?: boolean;
  readonly period?: { readonly everyMs?: number };
  /** What runs its Effects, given what runs them elsewhere. */
  readonly running?: (run: Ports["run"]) => Ports["run"];
}

async function start(
  { log, disk, owner, isConnected = true, period = { everyMs }, running = (run) => run }: Given,
) {
  const world = makeFakeWorld();
  world.step(startsAt - beginning);
  const ports = { ...world.ports, run: running(world.ports.run) };
  const machine = startIn(world, witnessMachine, { ports, log, heads: disk?.heads, ...period });
  machine.send({ type: "trust.changed", snapshot: await ownersTrust() });
  if (owner !== undefined) machine.send({ type: "identity.changed", identity: owner.identity });
  if (isConnected) machine.send({ type: "transport.changed", transport: world.transport });
  await settle(3);
  const requests = (kind: "Prove" | "Held") => {
    const all = world.take("request") as RequestAsk[];
    left.push(...all);
    const taken = left.filter(({ message }) => kind in message);
    left.splice(0, left.length, ...left.filter(({ message }) => !(kind in message)));
    return taken;
  };
  const left: RequestAsk[] = [];
  return {
    ...{ world, machine },
    connect: ({ peer: identity }: Pick<LogOwner, "peer">) =>
      machine.send({ type: "peer.established", peer: identity.peer, identity }),
    /** Requests for proofs that were not taken yet, and what witnesses are told. */
    proofs: () => requests("Prove"),
    tellings: () => requests("Held"),
    /** Asks as another node, and returns how it was answered by now. */
    receive(from: PeerIdentity, message: AuditRequest | AuditResponse) {
      const request = requestFrom(from, protocol, message as AuditRequest);
      machine.send(request);
      return request.exchange;
    },
    answers: () =>
      world.asks.flatMap((ask): readonly ("declined" | AuditResponse)[] =>
        ask.type === "decline" ? ["declined"] : ask.type === "respond" ? [ask.message as AuditResponse] : []
      ),
    lines: (event: string): Report[] => world.reports.filter((each) => each.event === event),
    isRunning: () => machine.getSnapshot().status === "active",
  };
}

function answer({ id, replyTo }: RequestAsk, message: AuditResponse): void {
  replyTo.send({ type: "response", id, message });
}

function fail({ id, replyTo }: RequestAsk, code: Parameters<typeof failedWith>[0]): void {
  replyTo.send({ type: "request.failed", id, error: failedWith(code) });
}

const heldLog = (head: OpenedHead, more: Partial<HeldLog> = {}): HeldLog => ({
  ...{ head, isShared: true, at: startsAt, fork: undefined },
  ...more,
});

/** A state whose signatures no one verifies. */
const shownHead = (origin: string): OpenedHead => ({
  ...{ origin, size: 3, root: new Uint8Array(32), note: `note of ${origin}` },
  binding: { key: "key", signature: new Uint8Array(), chain: [new Uint8Array(1)] },
});

/** The states of a message. */
const toldNotes = ({ message }: RequestAsk) =>
  (message as { readonly Held: readonly { readonly checkpoint: string }[] }).Held.map(({ checkpoint }) => checkpoint);

/** A CA with a log of 20 records whose state a witness holds, and two gateways. */
async function makeCase() {
  const owner = await logOwner("ca-01", "ca");
  const [gateway, second] = [await logOwner("gateway-01", "gateway"), await logOwner("gateway-02", "gateway")];
  const log = growTo(owner.log, 20);
  const disk = makeDisk();
  const held = stateOf(log, owner);
  return { owner, gateway, second, log, disk, held };
}

// ── Answers ──

test("a node proves its log to a witness: from any earlier state to the newest one, or to an earlier one", async () => {
  const { owner, gateway, log } = await makeCase();
  const { receive, answers } = await start({ log, owner });
  const { origin } = owner;
  const asked = [[10, null], [0, null], [20, null], [10, 15], [15, 15], [10, 25], [25, null], [25, 30]] as const;
  for (const [old, until] of asked) receive(gateway.peer, { Prove: { origin, old, new: until } });
  await settle();
  const proven = [[10, 20], [0, 20], [20, 20], [10, 15], [15, 15], [10, 20], [0, 20], [0, 20]] as const;
  const expected: AuditResponse[] = [];
  for (const [old, to] of proven) expected.push(await proofOf(log, { owner, old, to }));
  assert.equal(answers(), expected);
});

test("a node without such a log, without a checkpoint, or asked something else has no proof", async () => {
  const { owner, gateway, log } = await makeCase();
  const { origin } = owner;
  const Prove = { origin, old: 0, new: null };
  for (
    const [given, message, answered] of [
      [{}, { Prove }, { NoProof: "no-log" }],
      [{ log: log.fork() }, { Prove }, { NoProof: "no-checkpoint" }],
      [{ log }, { Prove: { ...Prove, origin: gateway.origin } }, { NoProof: "no-log" }],
      [{ log }, { Prove: { ...Prove, old: 11, new: 10 } }, "declined"],
      [{ log }, { Noted: 1 }, "declined"],
      [{ log, owner: undefined }, { Prove }, { NoProof: "unavailable" }],
      [{ log }, { Held: [headMessage(stateOf(log, owner))] }, { Noted: 0 }],
    ] as const
  ) {
    const { receive, answers, lines, isRunning } = await start({ owner, ...given });
    receive(gateway.peer, message);
    await settle(3);
    assert.equal(answers(), [answered]);
    assert.equal(lines("audit.unprovable"), []);
    assert.ok(isRunning());
  }
});

test("a proof that cannot be made is reported, and the next one is made", async () => {
  const { owner, gateway, log } = await makeCase();
  let failures = 1;
  const prove: WitnessedLog["prove"] = (range) =>
    failures-- > 0 ? Promise.reject(new Error("EIO: i/o error, read")) : log.prove(range);
  const { receive, answers, lines } = await start({ owner, log: { newest: log.newest, prove } });
  const Prove = { origin: owner.origin, old: 10, new: null };
  receive(gateway.peer, { Prove });
  receive(gateway.peer, { Prove });
  await settle();
  assert.equal(answers(), [{ NoProof: "unavailable" }, await proofOf(log, { owner, old: 10 })]);
  const { peer: from } = gateway.peer;
  assert.equal(lines("audit.unprovable"), [
    { level: "error", event: "audit.unprovable", message: "EIO: i/o error, read", fields: { from } },
  ]);
});

test("64 requests for proofs wait; a further one is refused at once", async () => {
  const { owner, gateway, log } = await makeCase();
  const { receive, answers } = await start({ owner, log });
  const Prove = { origin: owner.origin, old: 20, new: null };
  for (let count = 0; count < 65; count++) receive(gateway.peer, { Prove });
  assert.is(proofsWaitingMax, 64);
  assert.equal(answers(), [{ NoProof: "unavailable" }]);
  await settle(100);
  assert.is(answers().filter((each) => typeof each === "object" && "Proof" in each).length, 64);
});

test("a proof carries the certificate that the node has now, and the key that signed its newest state", async () => {
  const { owner, gateway, log } = await makeCase();
  let shown = log;
  const { receive, answers, machine } = await start({
    owner,
    log: { newest: () => shown.newest(), prove: (range) => shown.prove(range) },
  });
  const Prove = { origin: owner.origin, old: 20, new: null };
  const ask = async () => {
    receive(gateway.peer, { Prove });
    await settle(5);
    const last = answers().at(-1);
    assert.ok(typeof last === "object" && "Proof" in last);
    return last.Proof.head;
  };
  assert.is(boundOrigin(await ask()), owner.origin);
  machine.send({
    type: "identity.changed",
    identity: { ...gateway.identity, generation: owner.identity.generation + 1 },
  });
  assert.equal((await ask()).chain, gateway.identity.chain);
  machine.send({
    type: "identity.changed",
    identity: { ...owner.identity, generation: owner.identity.generation + 2 },
  });
  shown = growTo(log.fork(0, keyOf("witness actions", "another key")), 20);
  const head = await ask();
  assert.equal([head.key, boundOrigin(head)], [shown.newest()!.key, owner.origin]);
});

test("the key is bound once for each certificate of the node and each key of its log", async () => {
  const { owner, gateway, log } = await makeCase();
  let shown = log;
  const { receive, answers, machine } = await start({
    owner,
    log: { newest: () => shown.newest(), prove: (range) => shown.prove(range) },
  });
  const bindings: KeyBinding[] = [];
  const ask = async () => {
    receive(gateway.peer, { Prove: { origin: owner.origin, old: 20, new: null } });
    await settle(5);
    const { Proof: { head } } = answers().at(-1) as Extract<AuditResponse, { Proof: unknown }>;
    assert.is(boundOrigin(head), owner.origin);
    assert.is(head.checkpoint, shown.newest()!.note);
    bindings.push(head);
  };
  await ask();
  growTo(shown, 25);
  await ask();
  const { identity } = owner;
  machine.send({ type: "identity.changed", identity: { ...identity, generation: identity.generation + 1 } });
  await ask();
  shown = growTo(shown.fork(0, keyOf("witness actions", "another key")), 20);
  await ask();
  const [first, second, renewed, rekeyed] = bindings;
  assert.is(second!.signature, first!.signature, "not signed again");
  assert.is.not(renewed!.signature, first!.signature);
  assert.equal([first!.key === renewed!.key, rekeyed!.key], [true, shown.newest()!.key]);
});

test("a request that waits while the log is closed is refused; the one whose proof was begun is answered", async () => {
  const { owner, gateway, log } = await makeCase();
  let isOpen = true;
  let release = () => {};
  const prove: WitnessedLog["prove"] = async (range) => {
    await new Promise<void>((resolve) => (release = resolve));
    return log.prove(range);
  };
  const newest = () => isOpen ? log.newest() : undefined;
  const { receive, answers, lines, isRunning } = await start({ owner, log: { newest, prove } });
  const Prove = { origin: owner.origin, old: 10, new: null };
  receive(gateway.peer, { Prove });
  receive(gateway.peer, { Prove });
  isOpen = false;
  release();
  await settle(5);
  assert.equal(answers(), [await proofOf(log, { owner, old: 10 }), { NoProof: "unavailable" }]);
  assert.equal(lines("audit.unprovable"), []);
  isOpen = true;
  receive(gateway.peer, { Prove });
  release();
  await settle(5);
  assert.ok(isRunning());
  assert.is(answers().length, 3, "the next request is answered");
});

test("a node without a transport answers nothing, begins nothing, and goes on when it has one", async () => {
  const { owner, gateway, log, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held));
  const { world, machine, connect, receive, answers, isRunning, proofs, tellings } = await start({
    ...{ log, owner, disk },
    isConnected: false,
  });
  for (const each of [owner, gateway]) connect(each);
  const Prove = { origin: owner.origin, old: 20, new: null };
  receive(gateway.peer, { Prove });
  receive(gateway.peer, { Prove: { ...Prove, origin: gateway.origin } });
  receive(gateway.peer, { Prove: { ...Prove, old: 11, new: 10 } });
  receive(gateway.peer, { Held: [headMessage(stateOf(growTo(log.fork(10), 10), owner))] });
  world.pass(2 * lookMs);
  await settle(3);
  assert.ok(isRunning());
  machine.send({ type: "transport.changed", transport: world.transport });
  world.pass(2 * lookMs);
  assert.equal([answers(), proofs().length, tellings().length], [[], 0, 0], "connections are those of a transport");
  for (const each of [owner, gateway]) connect(each);
  receive(gateway.peer, { Prove });
  world.pass(2 * lookMs);
  await settle(5);
  assert.equal([answers().length, proofs().length, tellings().length], [1, 2, 1]);
});

// ── Checks ──

test("a member's turn comes within a tenth of the first period", async () => {
  const { owner, gateway, disk } = await makeCase();
  const { world, connect, proofs } = await start({ disk });
  const asked = () => proofs().map(({ peer }) => peer);
  connect(owner);
  world.pass(100);
  connect(gateway); // the middle of the range is one look later
  world.pass(lookMs - 110);
  assert.equal(asked(), []);
  world.pass(10);
  assert.equal(asked(), [owner.peer.peer]);
  world.pass(lookMs);
  assert.equal(asked(), [gateway.peer.peer]);
});

test("a node that is no witness asks and tells nothing", async () => {
  const { owner, gateway, log } = await makeCase();
  const { world, connect, proofs, tellings, lines, isRunning } = await start({ log, owner });
  connect(gateway);
  world.pass(2 * everyMs);
  assert.equal([proofs().length, tellings().length], [0, 0]);
  assert.equal(lines("audit.witness-unstored"), [], "it has no states that it could not read");
  assert.ok(isRunning());
});

test("a witness whose period is not chosen asks a node every seven and a half minutes, so that each is asked within ten", async () => {
  const { owner, log, disk } = await makeCase();
  assert.is(witnessEveryMs, 600_000);
  const { world, connect, proofs } = await start({ disk, period: {} });
  connect(owner);
  world.pass(30_000);
  answer(proofs()[0]!, await proofOf(log, { owner, old: 0 }));
  world.pass(450_000 - 10);
  assert.is(proofs().length, 0);
  world.pass(10);
  assert.is(proofs().length, 1);
});

test("eight logs are checked at once; the next check begins when one has ended", async () => {
  const { disk } = await makeCase();
  const { world, machine, connect, proofs } = await start({ disk });
  for (let index = 0; index < 10; index++) {
    const names = [`URI:spiffe://sim.hypha/worker/${index}`];
    connect({ peer: { ...identityOf(`peer-${index}`, "worker"), names } as unknown as PeerIdentity });
  }
  world.pass(lookMs);
  const first = proofs();
  assert.is(first.length, 8);
  fail(first[0]!, "timed-out");
  assert.equal(proofs().map(({ peer }) => peer), ["peer-8"]);
  const children = () => Object.keys(machine.getSnapshot().children).filter((id) => id.startsWith("check/"));
  assert.is(children().length, 8, "ended checks leave nothing behind");
});

test("a proven state is held, stored once, and told to other witnesses at once", async () => {
  const { owner, gateway, log, disk } = await makeCase();
  const { world, connect, proofs, tellings } = await start({ disk });
  connect(owner);
  world.pass(lookMs);
  connect(gateway);
  answer(proofs()[0]!, await proofOf(log, { owner, old: 0 }));
  const [telling, ...more] = tellings();
  const { replyTo: _, message, ...request } = telling!;
  assert.equal(more, []);
  assert.equal(request, {
    type: "request",
    id: `audit/tell/${gateway.origin}`,
    peer: gateway.peer.peer,
    dial: "never",
    protocol,
    timeoutMs: 10_000,
  });
  assert.equal(message, { Held: [headMessage(stateOf(log, owner))] });
  await settle(3);
  const [stored] = disk.writes;
  assert.equal([stored?.head.note, stored?.isShared, stored?.at], [log.newest()!.note, true, world.ports.now()]);
  world.pass(everyMs);
  const [again] = proofs().filter(({ peer }) => peer === owner.peer.peer);
  answer(again!, await proofOf(log, { owner, old: 20 }));
  await settle(3);
  assert.is(disk.writes.length, 1);
  assert.equal(disk.removed, []);
});

test("a node that does not prove its held log is named; one that did not answer, at the lowest level", async () => {
  const { owner, log, disk, held } = await makeCase();
  const from = `${owner.peer.name} ${owner.peer.peer}`;
  const { origin } = owner;
  const expected = (level: string, what: string, detail: string) => [
    { level, event: "audit.unproven", message: `Cannot verify ${what}: ${detail}`, fields: { origin, detail, from } },
  ];
  const continues = `that audit log ${origin} continues 20 records`;
  const noProof = "the node has no proof (unavailable)";
  const unbound = "its key is not bound to the log's node";
  const shown = headMessage({ ...held, binding: { ...held.binding, signature: Uint8Array.of(1) } });
  for (
    const [isHeld, answered, lines] of [
      [true, { NoProof: "unavailable" }, expected("warn", continues, noProof)],
      [true, "timed-out", expected("debug", continues, "the node did not answer (timed-out)")],
      [false, { NoProof: "unavailable" }, []],
      [false, { Proof: { head: shown, path: [] } }, expected("warn", `audit log ${origin}`, unbound)],
      [true, undefined, []],
    ] as const
  ) {
    disk.files.clear();
    if (isHeld) disk.files.set(origin, heldLog(held));
    const witness = await start({ disk });
    witness.connect(owner);
    witness.world.pass(lookMs);
    const [request] = witness.proofs();
    if (answered === "timed-out") fail(request!, answered);
    else answer(request!, answered ?? await proofOf(log, { owner, old: 20 }));
    assert.equal(witness.lines("audit.unproven"), lines);
  }
});

test("a node that does not know the protocol is asked again only after it has connected again", async () => {
  const { owner, disk } = await makeCase();
  const { world, machine, connect, proofs } = await start({ disk });
  connect(owner);
  world.pass(lookMs);
  fail(proofs()[0]!, "unsupported");
  world.pass(everyMs);
  assert.is(proofs().length, 0);
  machine.send({ type: "peer.reconnected", peer: owner.peer.peer, identity: owner.peer });
  world.pass(lookMs);
  assert.is(proofs().length, 1);
  fail(proofs()[0] ?? { id: "", replyTo: { send: () => {} } } as unknown as RequestAsk, "timed-out");
});

test("a node that is gone is asked no more", async () => {
  const { owner, disk } = await makeCase();
  const { world, machine, connect, proofs } = await start({ disk });
  connect(owner);
  const { peer: identity } = owner;
  machine.send({ type: "peer.closed", peer: identity.peer, identity, reason: { type: "by-them" } });
  world.pass(everyMs);
  assert.is(proofs().length, 0);
});

test("a fork is reported once with both states, stored, and told to witnesses that knew one state", async () => {
  const { owner, gateway, second, log, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held));
  const { world, connect, receive, answers, proofs, tellings, lines } = await start({ disk });
  for (const each of [owner, gateway, second]) connect(each);
  world.pass(lookMs);
  const known = tellings();
  assert.equal(known.map(toldNotes), [[held.note], [held.note]]);
  for (const each of known) answer(each, { Noted: 1 });
  const checking = proofs().find(({ peer }) => peer === owner.peer.peer)!;
  const split = stateOf(growTo(log.fork(19), 20, "another record"), owner);
  receive(gateway.peer, { Held: [headMessage(split)] });
  assert.equal(answers(), [{ Noted: 1 }]);
  const from = `${gateway.peer.name} ${gateway.peer.peer}`;
  const [fork, ...more] = lines("audit.fork");
  assert.equal(more, []);
  const { origin } = owner;
  const fields = { code: "audit-fork", origin, problem: "split", held: held.note, other: split.note, from };
  assert.equal([fork!.level, fork!.fields], ["error", fields]);
  assert.match(fork!.message, "it has two states of one size (20 records and 20 records)");
  assert.equal(lines("audit.unproven"), []);
  await settle(3);
  const stored = () => disk.files.get(origin)!;
  assert.equal([stored().fork?.other.note, stored().fork?.at], [split.note, world.ports.now()]);
  // The check that was running proves a newer state: the evidence stays what it is.
  answer(checking, await proofOf(growTo(log.fork(), 25), { owner, old: 20 }));
  await settle(3);
  assert.equal([stored().head.size, stored().fork?.other.note], [20, split.note]);
  assert.equal(tellings().map(toldNotes), [[held.note, split.note], [held.note, split.note]]);
  assert.is(lines("audit.fork").length, 1);
});

test("a log that its own node shows forked is reported with the node's name, and only once", async () => {
  const { owner, gateway, log, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held));
  const { world, connect, receive, proofs, lines } = await start({ disk });
  for (const each of [owner, gateway]) connect(each);
  world.pass(lookMs);
  const [request] = proofs().filter(({ peer }) => peer === owner.peer.peer);
  const split = stateOf(growTo(log.fork(19), 20, "another record"), owner);
  answer(request!, await proofOf(growTo(log.fork(10), 10), { owner, old: 10 }));
  receive(gateway.peer, { Held: [headMessage(split)] });
  const shown = lines("audit.fork").map(({ fields }) => [fields?.["problem"], fields?.["from"]]);
  assert.equal(shown, [["shrunk", `${owner.peer.name} ${owner.peer.peer}`]]);
});

test("a fork that is told while the log's node is asked stays the evidence, whatever the node shows then", async () => {
  const { owner, gateway, log, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held));
  const { world, connect, receive, proofs, lines } = await start({ disk });
  for (const each of [owner, gateway]) connect(each);
  world.pass(lookMs);
  const asked = proofs().find(({ peer }) => peer === owner.peer.peer)!;
  const split = stateOf(growTo(log.fork(19), 20, "another record"), owner);
  receive(gateway.peer, { Held: [headMessage(split)] });
  answer(asked, await proofOf(growTo(log.fork(10), 10), { owner, old: 10 }));
  await settle(3);
  const from = `${gateway.peer.name} ${gateway.peer.peer}`;
  assert.equal(lines("audit.fork").map(({ fields }) => [fields?.["problem"], fields?.["from"]]), [["split", from]]);
  const { fork } = disk.files.get(owner.origin)!;
  assert.equal([fork?.problem, fork?.other.note, fork?.from], ["split", split.note, from]);
});

test("a state for which there is no place is reported; one that is displaced is removed from the disk", async () => {
  const { owner, log, disk } = await makeCase();
  const proof = await proofOf(log, { owner, old: 0 });
  for (const [at, isFull] of [[startsAt, true], [startsAt - staleMs, false]] as const) {
    for (let index = 0; index < sharedLogsMax; index++) {
      disk.files.set(`log ${index}`, heldLog(shownHead(`log ${index}`), { at: at + index }));
    }
    const { world, connect, proofs, lines } = await start({ disk });
    connect(owner);
    world.pass(lookMs);
    answer(proofs()[0]!, proof);
    await settle(3);
    assert.equal([disk.files.has(owner.origin), disk.files.has("log 0")], [!isFull, isFull]);
    assert.is(disk.files.size, sharedLogsMax);
    assert.equal(disk.removed, isFull ? [] : ["log 0"]);
    assert.equal(
      lines("audit.witness-full").map(({ level, fields }) => [level, fields]),
      isFull
        ? [
          ["warn", { origin: owner.origin }],
        ]
        : [],
    );
    assert.is(otherLogsMax, 1_024);
  }
});

test("bug: a log that never grew was displaced as stale, however often it was proven", async () => {
  const { owner, log, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held, { at: startsAt - staleMs }));
  const { world, connect, proofs } = await start({ disk });
  connect(owner);
  for (const waitedMs of [lookMs, everyMs]) {
    world.pass(waitedMs);
    answer(proofs().find(({ peer }) => peer === owner.peer.peer)!, await proofOf(log, { owner, old: 20 }));
    await settle(3);
    assert.equal(disk.writes.map(({ at }) => at), [startsAt + lookMs], "at most once a day");
  }
  assert.is(disk.files.get(owner.origin)?.head.note, held.note);
});

test("the time of a held state that its node proves again is kept after a day; without a proof it is not", async () => {
  const { owner, log, disk, held } = await makeCase();
  const dayMs = 86_400_000;
  for (
    const [ageMs, message, isKept] of [
      [dayMs, await proofOf(log, { owner, old: 20 }), true],
      [dayMs - 1, await proofOf(log, { owner, old: 20 }), false],
      [2 * dayMs, { NoProof: "unavailable" } as const, false],
    ] as const
  ) {
    disk.writes.length = 0;
    disk.files.set(owner.origin, heldLog(held, { at: startsAt + lookMs - ageMs }));
    const { world, connect, proofs } = await start({ disk });
    connect(owner);
    world.pass(lookMs);
    answer(proofs()[0]!, message);
    await settle(3);
    assert.equal(disk.writes.map(({ at }) => at), isKept ? [startsAt + lookMs] : [], `${ageMs}`);
  }
});

test("bug: a told state that the node did not prove kept a proven log from counting as proven again", async () => {
  const { owner, gateway, log, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held, { at: startsAt - staleMs }));
  const { world, connect, receive, proofs, lines } = await start({ disk });
  for (const each of [owner, gateway]) connect(each);
  receive(gateway.peer, { Held: [headMessage(stateOf(growTo(log.fork(14), 15), owner))] });
  world.pass(lookMs);
  const ofOwner = () => proofs().find(({ peer }) => peer === owner.peer.peer)!;
  answer(ofOwner(), await proofOf(log, { owner, old: 20 }));
  answer(ofOwner(), { NoProof: "unavailable" });
  await settle(3);
  assert.is(lines("audit.unproven").length, 1);
  assert.equal(disk.writes.map(({ at }) => at), [world.ports.now()]);
});

/** A witness with a full table, whose oldest log makes place for another one while its node is asked. `at`: when the other states came. */
async function startAndDisplace(at?: number) {
  const { owner, log, gateway, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held, { at: startsAt - 2 * staleMs }));
  for (let index = 1; index < sharedLogsMax; index++) {
    disk.files.set(`log ${index}`, heldLog(shownHead(`log ${index}`), at === undefined ? {} : { at }));
  }
  const { world, connect, proofs, lines } = await start({ disk });
  for (const each of [owner, gateway]) connect(each);
  world.pass(lookMs);
  const asked = proofs();
  const of = (node: LogOwner) => asked.find(({ peer }) => peer === node.peer.peer)!;
  answer(of(gateway), await proofOf(growTo(gateway.log, 5), { owner: gateway, old: 0 }));
  await settle(3);
  assert.not.ok(disk.files.has(owner.origin));
  return { owner, log, disk, held, lines, asked: of(owner) };
}

test("a fork of a log that made place for another one during its check is held and reported", async () => {
  const { owner, log, disk, lines, asked } = await startAndDisplace(startsAt - staleMs - 1);
  answer(asked, await proofOf(growTo(log.fork(10), 10), { owner, old: 10 }));
  await settle(3);
  assert.equal(lines("audit.fork").map(({ fields }) => fields?.["problem"]), ["shrunk"]);
  assert.is(disk.files.get(owner.origin)?.fork?.problem, "shrunk");
});

test("bug: a fork of a log that made place for another one during its check was not reported where it found no place again", async () => {
  const { owner, log, disk, held, lines, asked } = await startAndDisplace();
  const shrunk = growTo(log.fork(10), 10);
  answer(asked, await proofOf(shrunk, { owner, old: 10 }));
  await settle(3);
  const shown = lines("audit.fork").map(({ fields }) => [fields?.["problem"], fields?.["held"], fields?.["other"]]);
  assert.equal(shown, [["shrunk", held.note, shrunk.newest()!.note]]);
  assert.not.ok(disk.files.has(owner.origin));
});

// ── Telling ──

test("a witness is told 16 states a message, the next ones when it has answered, and all again after 20 looks", async () => {
  const { gateway, disk } = await makeCase();
  for (let index = 0; index < 20; index++) disk.files.set(`log ${index}`, heldLog(shownHead(`log ${index}`)));
  const { world, connect, tellings } = await start({ disk });
  connect(gateway);
  const sizes = () => {
    const counts: number[] = [];
    for (let all = tellings(); all.length > 0; all = tellings()) {
      for (const each of all) {
        counts.push(toldNotes(each).length);
        answer(each, { Noted: 1 });
      }
    }
    return counts;
  };
  world.pass(lookMs);
  assert.equal(sizes(), [16, 4]);
  for (const looks of [18, 19]) {
    world.pass(looks * lookMs);
    assert.equal(sizes(), []);
    world.pass(lookMs);
    assert.equal(sizes(), [16, 4]);
  }
});

test("a witness that did not answer is told again at the next look; one that does not take part is told nothing", async () => {
  const { gateway, disk } = await makeCase();
  disk.files.set("log", heldLog(shownHead("log")));
  const { world, connect, tellings } = await start({ disk });
  connect(gateway);
  world.pass(lookMs);
  fail(tellings()[0]!, "timed-out");
  assert.is(tellings().length, 0);
  world.pass(lookMs);
  fail(tellings()[0]!, "unsupported");
  world.pass(everyMs);
  assert.is(tellings().length, 0);
});

test("an answer of one witness does not have another one told before the next look", async () => {
  const { gateway, second, disk } = await makeCase();
  disk.files.set("log", heldLog(shownHead("log")));
  const { world, connect, tellings } = await start({ disk });
  for (const each of [gateway, second]) connect(each);
  world.pass(lookMs);
  const [first, other] = tellings();
  fail(first!, "timed-out");
  answer(other!, { Noted: 1 });
  assert.is(tellings().length, 0);
  world.pass(lookMs);
  assert.equal(tellings().map(({ peer }) => peer), [first!.peer]);
});

test("of the states that a witness tells, those are counted that are compared; a proof is asked for at once", async () => {
  const { owner, gateway, log, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held));
  const { world, connect, receive, answers, proofs, lines } = await start({ disk });
  for (const each of [owner, gateway]) connect(each);
  world.pass(lookMs);
  for (const each of proofs()) answer(each, await proofOf(log, { owner, old: 20 }));
  const earlier = stateOf(growTo(log.fork(10), 10), owner);
  const none = { ...headMessage(held), checkpoint: "none" };
  const rekeyed = growTo(log.fork(0, keyOf("witness actions", "another key")), 20);
  const unbound = headMessage(stateOf(rekeyed, gateway));
  receive(gateway.peer, { Held: [headMessage(held), none, headMessage(earlier), unbound] });
  assert.equal(answers(), [{ Noted: 1 }]);
  const [request, ...more] = proofs();
  assert.equal([request?.peer, more.length], [owner.peer.peer, 0]);
  const { origin } = owner;
  const [line, ...others] = lines("audit.unproven").filter(({ fields }) => fields?.["origin"] === origin);
  assert.equal(others, []);
  assert.is(
    line?.message,
    `Cannot verify what another witness holds of audit log ${origin}: its key is not bound to the log's node`,
  );
  assert.equal([line?.level, line?.fields?.["from"]], ["warn", `${gateway.peer.name} ${gateway.peer.peer}`]);
});

// ── Storing ──

test("forks of an earlier run and damaged files are reported at the start", async () => {
  const { owner, log, disk, held } = await makeCase();
  const other = stateOf(growTo(log.fork(10), 10), owner);
  const fork = { problem: "shrunk", held, other, at: startsAt, from: "an earlier sender" } as const;
  disk.files.set(owner.origin, heldLog(held, { fork }));
  disk.files.set("log", heldLog(shownHead("log")));
  disk.damaged.push("/one.damaged", "/two.damaged");
  const { lines } = await start({ disk });
  assert.equal(lines("audit.fork").map(({ fields }) => fields?.["from"]), ["an earlier sender"]);
  assert.match(lines("audit.fork")[0]!.message, "it has fewer records than before (20 records and 10 records)");
  const files = lines("audit.witness-damaged").map(({ level, fields }) => [level, fields]);
  assert.equal(files, [["error", { file: "/one.damaged" }], ["error", { file: "/two.damaged" }]]);
});

test("states that cannot be read are read again after ten seconds, and until then no log is witnessed", async () => {
  const { owner, log, disk, held } = await makeCase();
  disk.files.set(owner.origin, heldLog(held));
  disk.failing.reads = 2;
  const { world, connect, proofs, lines } = await start({ disk });
  connect(owner);
  for (let round = 0; round < 2; round++) {
    world.pass(againMs - 1);
    await settle(3);
    assert.is(disk.failing.reads, 1 - round, "not read yet");
    assert.is(proofs().length, 0);
    world.pass(1);
    await settle(3);
  }
  const unstored = () => lines("audit.witness-unstored").map(({ level, message }) => [level, message]);
  const unread =
    "Cannot read states of audit logs: EMFILE: too many open files; no log is witnessed until they can be read";
  assert.equal(unstored(), [["warn", unread]]);
  world.pass(lookMs);
  disk.failing.writes = 1;
  answer(proofs()[0]!, await proofOf(growTo(log.fork(), 25), { owner, old: 20 }));
  await settle(3);
  assert.equal(unstored()[1], ["warn", "Cannot keep states of audit logs: ENOSPC: no space left on device"]);
});

test("a state that cannot be stored is stored again after ten seconds; each trouble is reported once", async () => {
  const { owner, log, disk } = await makeCase();
  const { world, connect, proofs, lines } = await start({ disk });
  const unstored = () => lines("audit.witness-unstored").length;
  connect(owner);
  let old = 0;
  const show = async (size: number) => {
    const [request] = proofs();
    answer(request!, await proofOf(growTo(log.fork(), size), { owner, old }));
    old = size;
    await settle(3);
  };
  disk.failing.writes = 2;
  world.pass(lookMs);
  await show(21);
  for (const isStored of [false, true]) {
    world.pass(againMs - 1);
    await settle(3);
    assert.is(disk.writes.length, 0);
    world.pass(1);
    await settle(3);
    assert.equal([disk.writes.length, unstored()], [isStored ? 1 : 0, 1]);
  }
  world.pass(everyMs);
  disk.failing.writes = 1;
  await show(22);
  assert.is(unstored(), 2);
  world.pass(againMs);
  await settle(3);
  assert.equal(disk.writes.map(({ head: { size } }) => size), [21, 22]);
  world.pass(againMs);
  await settle(3);
  assert.is(disk.writes.length, 2);
});

test("what a disk rejects with is reported, whatever it is", async () => {
  const { disk } = await makeCase();
  disk.failing.reads = 1;
  disk.failing.readError = "EMFILE";
  const { lines } = await start({ disk });
  const message = "Cannot read states of audit logs: EMFILE; no log is witnessed until they can be read";
  assert.equal(lines("audit.witness-unstored").map((each) => each.message), [message]);
});

test("a state is stored again after ten seconds where the runtime ended the storing", async () => {
  const { owner, log, disk } = await makeCase();
  let deaths = 0;
  const { world, connect, proofs, lines } = await start({
    disk,
    running: (run) => (effect, onExit) => {
      if (deaths-- <= 0) return run(effect, onExit);
      queueMicrotask(() => onExit(Exit.die(new Error("the runtime is shut down"))));
      return () => {};
    },
  });
  connect(owner);
  world.pass(lookMs);
  deaths = 1;
  answer(proofs()[0]!, await proofOf(log, { owner, old: 0 }));
  await settle(3);
  const messages = lines("audit.witness-unstored").map(({ message }) => message);
  assert.equal([disk.writes.length, messages], [0, ["Cannot keep states of audit logs: the runtime is shut down"]]);
  world.pass(againMs - 1);
  await settle(3);
  assert.is(disk.writes.length, 0);
  world.pass(1);
  await settle(3);
  assert.equal(disk.writes.map(({ head: { size } }) => size), [20]);
});

test("a state that changes while an earlier one is written is written after it", async () => {
  const { owner, log, disk } = await makeCase();
  const { world, connect, proofs } = await start({ disk });
  connect(owner);
  world.pass(lookMs);
  disk.hold();
  answer(proofs()[0]!, await proofOf(log, { owner, old: 0 }));
  await settle(3);
  world.pass(everyMs);
  answer(proofs()[0]!, await proofOf(growTo(log.fork(), 25), { owner, old: 20 }));
  await settle(3);
  assert.equal(disk.writes, []);
  disk.release();
  await settle(5);
  assert.equal(disk.writes.map(({ head: { size } }) => size), [20, 25]);
});

test.run();
