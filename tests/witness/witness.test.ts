/** Witnesses over a simulated network: what they find, and what they do not accuse. */
import { Buffer } from "node:buffer";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { Result } from "effect";
import { eventOfReport } from "../../actors/audit/audit_events.ts";
import { composeLine } from "../../actors/audit/audit_record.ts";
import { bindKey } from "../../actors/audit/key_binding.ts";
import { keyOf, makeAuthority } from "../../actors/simulation/authority.ts";
import type { KeptLog } from "../../actors/simulation/kept_log.ts";
import { startsAt } from "../../actors/simulation/simulation.ts";
import { type WitnessNode, WitnessWorld } from "../../actors/simulation/witness_world.ts";
import type { ReceivedRequest } from "../../actors/runtime/requests.ts";
import { makeIdentity } from "../../actors/trust/make_identity.ts";
import { headFiles } from "../../actors/witness/head_files.ts";
import { headMessage, openHead } from "../../actors/witness/held_head.ts";
import { formatLine } from "../../scripts/program/log_line.ts";
import { auditNoteBytesMax } from "../../transport/protocols/audit_schemas.ts";
import { askedTransport } from "../support/asked_transport.ts";

const test = suite("witness");
const everyMs = 600_000;

/** A world with two witnesses, an owner that both are connected with, and records for a while. */
async function makeWorld() {
  const world = await WitnessWorld.make({ seed: "witness", everyMs });
  const [one, other, owner] = [
    await world.add({ name: "gateway-01", role: "gateway" }),
    await world.add({ name: "gateway-02", role: "gateway" }),
    await world.add({ name: "ca-01", role: "ca" }),
  ] as const;
  for (const [from, to] of [["gateway-01", "gateway-02"], ["gateway-01", "ca-01"], ["gateway-02", "ca-01"]] as const) {
    world.connect(from, to);
  }
  const log = owner.logFor("");
  grow(log, 20);
  await world.playTo(everyMs);
  return { world, one, other, owner, log };
}

function grow(log: KeptLog, records: number, what = "record"): void {
  for (let index = 0; index < records; index++) log.append(`${what} ${log.size}`);
  log.cover();
}

const forksAt = ({ reports }: WitnessNode) =>
  reports.filter(({ event }) => event === "audit.fork").map(({ fields = {} }) => fields);
const unprovenAt = ({ reports }: WitnessNode) => reports.filter(({ event }) => event === "audit.unproven");
const heldOf = ({ disk }: WitnessNode, { origin }: WitnessNode) => disk.get(origin)?.head.size;

test("a growing log is followed by all witnesses, over restarts, and never accused", async () => {
  const { world, one, other, owner, log } = await makeWorld();
  assert.equal([heldOf(one, owner), heldOf(other, owner)], [20, 20]);
  for (let round = 1; round <= 6; round++) {
    grow(log, 50 * round + round);
    if (round === 3) world.restart(one);
    if (round === 5) world.cut("gateway-02", "ca-01");
    await world.playTo((round + 1) * everyMs);
    assert.is(heldOf(one, owner), log.size);
  }
  world.connect("gateway-02", "ca-01");
  await world.playTo(8 * everyMs);
  assert.is(heldOf(other, owner), log.size);
  for (const node of world.nodes.values()) {
    assert.equal(node.reports.filter(({ level }) => level === "warn" || level === "error"), [], node.name);
  }
  world.stop();
});

test("a log that shrinks, or is rewritten, is forked; both checkpoints are named and kept; a restart says it again", async () => {
  for (const [records, problem] of [[15, "shrunk"], [10, "rewritten"]] as const) {
    const { world, one, other, owner, log } = await makeWorld();
    const changed = log.fork(records);
    if (problem === "rewritten") grow(changed, 20, "another record");
    else changed.cover();
    world.show(owner, changed);
    owner.logFor = () => changed;
    await world.playTo(2 * everyMs);
    for (const witness of [one, other]) {
      const [fork, ...more] = forksAt(witness);
      assert.equal(more, []);
      const { code, origin, problem: found, held, other: second } = fork ?? {};
      assert.equal([code, origin, found], ["audit-fork", owner.origin, problem]);
      assert.equal([held, second], [log.newest()?.note, changed.newest()?.note]);
      assert.is(witness.disk.get(owner.origin)?.fork?.problem, problem);
      assert.is(witness.disk.get(owner.origin)?.head.size, 20);
    }
    world.restart(one);
    await world.playTo(4 * everyMs);
    assert.is(forksAt(one).length, 2);
    world.stop();
  }
});

/** The log's newest state as an owner shows it that fills its note with lines of other names. */
function pad(log: KeptLog): void {
  const newest = log.newest()!;
  const room = auditNoteBytesMax - Buffer.byteLength(newest.note) - Buffer.byteLength("\u2014  AAAA\n");
  const padded = { ...newest, note: `${newest.note}\u2014 ${"\x01".repeat(room)} AAAA\n` };
  log.newest = () => padded;
}

test("bug: lines that an owner added to its checkpoints cut them off the line and the record of a fork, and lost it at the next start", async () => {
  const { world, one, owner, log } = await makeWorld();
  const changed = log.fork(10);
  grow(log, 10);
  grow(changed, 30, "another record");
  const notes = [log.newest()!.note, changed.newest()!.note];
  for (const each of [log, changed]) pad(each);
  await world.playTo(2 * everyMs);
  world.show(owner, changed);
  owner.logFor = () => changed;
  await world.playTo(3 * everyMs);
  const report = one.reports.find(({ event }) => event === "audit.fork")!;
  const record = composeLine(eventOfReport(report)!, { node: "n", prev: "p", seq: 1, ts: "2026-01-01T00:00:00.000Z" });
  const entry = { ...report, time: "2026-01-01T00:00:00.000Z", node: "n" };
  for (const { held, other } of [JSON.parse(formatLine(entry, "json")), JSON.parse(record.toString()).detail]) {
    assert.equal([held, other], notes);
  }
  const dir = await mkdtemp(join(tmpdir(), "hypha-witness-"));
  try {
    const store = headFiles(dir);
    await store.write(one.disk.get(owner.origin)!);
    one.disk.clear();
    for (const held of (await store.read()).logs) one.disk.set(held.head.origin, held);
  } finally {
    await rm(dir, { recursive: true });
  }
  world.restart(one);
  await world.playTo(5 * everyMs);
  assert.is(forksAt(one).length, 2);
  world.stop();
});

test("bug: states that could not be read at a start were forgotten, and a log that had shrunk was accepted", async () => {
  const { world, one, owner, log } = await makeWorld();
  world.cut("gateway-01", "gateway-02");
  one.failingReads = 3;
  world.restart(one);
  const changed = log.fork(15);
  changed.cover();
  world.show(owner, changed);
  owner.logFor = () => changed;
  await world.playTo(3 * everyMs);
  assert.equal(forksAt(one).map(({ problem }) => problem), ["shrunk"]);
  assert.is(one.disk.get(owner.origin)?.head.size, 20);
  const unread = one.reports.filter(({ event }) => event === "audit.witness-unstored");
  assert.is(unread.length, 1);
  assert.match(unread[0]!.message, "no log is witnessed until they can be read");
  world.stop();
});

test("a node that cannot read what it witnessed proves its own log", async () => {
  const { world, one, other, log } = await makeWorld();
  one.failingReads = Infinity;
  world.restart(one);
  const own = one.logFor("");
  grow(own, 7);
  await world.playTo(3 * everyMs);
  assert.is(heldOf(other, one), own.size);
  assert.is(log.size, 20);
  world.stop();
});

test("bug: a node that came back with the protocol before its former connection had ended was not witnessed", async () => {
  const { world, one, owner, log } = await makeWorld();
  owner.isServing = false;
  grow(log, 5);
  await world.playTo(3 * everyMs);
  assert.is(heldOf(one, owner), 20);
  owner.isServing = true;
  world.reconnect("gateway-01", "ca-01");
  await world.playTo(4 * everyMs);
  assert.is(heldOf(one, owner), 25);
  world.stop();
});

test("bug: a witness that came back with the protocol before its former connection had ended was told nothing", async () => {
  const { world, other, owner, log } = await makeWorld();
  other.isServing = false;
  await world.playTo(3 * everyMs);
  world.cut("gateway-02", "ca-01");
  other.isServing = true;
  world.reconnect("gateway-01", "gateway-02");
  const second = log.fork(10);
  grow(second, 10, "another record");
  world.show(owner, second);
  owner.logFor = () => second;
  await world.playTo(4 * everyMs);
  assert.equal(forksAt(other).map(({ problem }) => problem), ["split"]);
  world.stop();
});

test("bug: one state that could not be stored kept all others from being stored", async () => {
  const { world, one, other, owner, log } = await makeWorld();
  let failing: string | undefined;
  const writes: string[] = [];
  const { disk } = one;
  disk.set = (origin, held) => {
    writes.push(origin);
    failing ??= origin;
    if (origin === failing) throw new Error("EIO: i/o error, write");
    return Map.prototype.set.call(disk, origin, held) as typeof disk;
  };
  const logs = [log, other.logFor("")];
  for (const each of logs) grow(each, 5);
  await world.playTo(2 * everyMs);
  const [failed, kept] = failing === owner.origin ? [owner, other] : [other, owner];
  assert.equal([heldOf(one, kept), heldOf(one, failed)], kept === owner ? [25, undefined] : [5, 20]);
  assert.is(writes.filter((origin) => origin === kept.origin).length, 1, "once alone");
  failing = "none";
  await world.playTo(2 * everyMs + 20_000);
  assert.is(heldOf(one, failed), failed.logFor("").size);
  const unstored = one.reports.filter(({ event }) => event === "audit.witness-unstored");
  assert.equal(unstored.map(({ message }) => message), ["Cannot keep states of audit logs: EIO: i/o error, write"]);
  world.stop();
});

test("bug: a proof that was requested just before the node's key was replaced was never sent", async () => {
  const { world, one, owner } = await makeWorld();
  const [machine] = owner.machines.values();
  const [former, next] = [askedTransport(), askedTransport()];
  machine!.send({ type: "transport.changed", transport: former.ref });
  for (const exchange of ["first", "second"]) {
    const message = { Prove: { origin: owner.origin, old: 10, new: null } };
    const { peer } = one.peer;
    const request = {
      type: "request.received",
      exchange,
      peer,
      identity: one.peer,
      protocol: "/hypha-audit/1",
      message,
    };
    machine!.send(request as ReceivedRequest);
  }
  machine!.send({ type: "transport.changed", transport: next.ref });
  await world.playTo(everyMs + 1_000);
  assert.equal(former.answered(), ["respond first Proof", "respond second Proof"]);
  assert.equal(next.answered(), []);
  world.stop();
});

test("two views of a log are found within one period by two connected witnesses, whatever their sizes", async () => {
  for (const [left, right] of [[5, 5], [3, 9], [9, 3]] as const) {
    const { world, one, other, owner, log } = await makeWorld();
    const second = log.fork();
    grow(log, left, "one view");
    grow(second, right, "another view");
    world.show(owner, second);
    owner.logFor = (asker) => asker === one.name ? log : second;
    await world.playTo(2 * everyMs);
    assert.ok(forksAt(one).length + forksAt(other).length > 0, `${left} ${right}`);
    world.stop();
  }
});

test("two views with two keys are found by the certificate that both are bound to", async () => {
  const { world, one, other, owner, log } = await makeWorld();
  const second = log.fork(0, keyOf("another", "audit"));
  grow(second, 30);
  world.show(owner, second);
  other.disk.clear();
  world.restart(other); // it never saw the first key
  owner.logFor = (asker) => asker === one.name ? log : second;
  await world.playTo(2 * everyMs);
  assert.equal(forksAt(one).map(({ problem }) => problem), ["other-key"]);
  assert.is(forksAt(other)[0]?.["problem"], "other-key");
  world.stop();
});

/** A certificate with a node's name that no CA of the network issued. */
async function madeUp({ name, role }: WitnessNode) {
  const period = { notBefore: new Date(startsAt - everyMs), notAfter: new Date(startsAt + 100 * everyMs) };
  const authority = await makeAuthority("made up", { from: period.notBefore, to: period.notAfter });
  const { chainPem: certPem, keyPem } = await authority.node(name, { role, ...period });
  return Result.getOrThrow(makeIdentity({ certPem, keyPem }, { at: new Date(startsAt), generation: 2 }));
}

test("bug: two views with two keys were not found where their owner made up the certificates that bind them", async () => {
  const { world, one, other, owner, log } = await makeWorld();
  const second = log.fork(0, keyOf("another", "audit"));
  grow(second, 30);
  world.show(owner, second);
  for (const witness of [one, other]) witness.disk.clear();
  for (const witness of [one, other]) world.restart(witness); // they know neither key
  owner.logFor = (asker) => asker === one.name ? log : second;
  for (const machine of owner.machines.values()) {
    machine.send({ type: "identity.changed", identity: await madeUp(owner) });
  }
  await world.playTo(3 * everyMs);
  for (const witness of [one, other]) {
    assert.is(heldOf(witness, owner), undefined);
    const [line] = unprovenAt(witness);
    assert.equal([line?.level, line?.fields?.["origin"]], ["warn", owner.origin]);
    assert.match(String(line?.fields?.["detail"]), "bad-signature");
  }
  // With its own certificate again it is witnessed as before: what could not be proven is no accusation.
  owner.logFor = () => log;
  owner.machines.get(log)?.send({ type: "identity.changed", identity: { ...owner.identity, generation: 3 } });
  await world.playTo(5 * everyMs);
  for (const witness of [one, other]) assert.equal([forksAt(witness), heldOf(witness, owner)], [[], 20]);
  world.stop();
});

test("bug: a state with another key that another witness held was passed over silently where its certificate was not trusted", async () => {
  const { world, one, other, owner, log } = await makeWorld();
  const second = log.fork(0, keyOf("another", "audit"));
  grow(second, 30);
  const { note: checkpoint, key } = second.newest()!;
  const head = openHead({ checkpoint, ...bindKey(await madeUp(owner), key)! })!;
  world.tell(other, one, { Held: [headMessage(head)] });
  await world.playTo(everyMs + 1_000);
  const [line] = unprovenAt(one);
  const { origin, from } = line?.fields ?? {};
  assert.equal([line?.level, origin, from], ["warn", owner.origin, `${other.peer.name} ${other.peer.peer}`]);
  assert.equal([forksAt(one), heldOf(one, owner)], [[], 20]);
  world.stop();
});

test("bug: of the two states of a fork that another witness told, the second was passed over", async () => {
  const { world, one, other, owner, log } = await makeWorld();
  world.cut("gateway-01", "ca-01"); // what the owner shows comes to the other witness alone
  const second = log.fork(10);
  grow(second, 15, "another record");
  grow(log, 10);
  await world.playTo(2 * everyMs);
  assert.is(heldOf(other, owner), 30);
  const former = log.fork(20);
  former.cover();
  const heads = [former, second].map((each) => {
    const { note: checkpoint, key } = each.newest()!;
    return { checkpoint, ...bindKey(owner.identity, key)! };
  });
  world.tell(one, other, { Held: heads });
  await world.playTo(2 * everyMs + 10_000);
  const [fork] = forksAt(other);
  assert.equal([fork?.["problem"], fork?.["held"]], ["rewritten", second.newest()?.note]);
  world.stop();
});

test("a log that is begun again is accepted where no witness has its former state", async () => {
  const { world, one, other, owner, log } = await makeWorld();
  const second = log.fork(0, keyOf("another", "audit"));
  grow(second, 30);
  world.show(owner, second);
  owner.logFor = () => second;
  for (const witness of [one, other]) witness.disk.delete(owner.origin);
  for (const witness of [one, other]) world.restart(witness);
  await world.playTo(3 * everyMs);
  for (const witness of [one, other]) assert.equal([forksAt(witness), heldOf(witness, owner)], [[], 30]);
  world.stop();
});

test("a witness that only one of two owners' views reaches reports what it cannot prove, and no fork", async () => {
  const { world, one, owner, log } = await makeWorld();
  const closed = log.fork();
  world.show(owner, closed); // no checkpoint: it has no proof
  owner.logFor = () => closed;
  await world.playTo(2 * everyMs);
  assert.equal(forksAt(one), []);
  const [line] = one.reports.filter(({ event }) => event === "audit.unproven");
  assert.equal([line?.level, line?.fields?.["origin"]], ["warn", owner.origin]);
  world.stop();
});

test.run();
