/** A scheduler's participants are members: one PeerID may show several certificates, and each is a member of its own. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Act } from "../../transport/authorization/acts.ts";
import type { CloseReason } from "../../transport/port.ts";
import { makeTestPki } from "../support/pki.ts";
import { requestFrom } from "../support/fake_transport.ts";
import { configOf, startScheduler, training } from "../support/scheduler_world.ts";
import { provenOf } from "../support/transports.ts";
import { expired, revoked } from "../support/worker_world.ts";

const test = suite("scheduler and members");
const lost: CloseReason = { type: "lost", detail: "gone" };

const pki = await makeTestPki();
const first = await pki.node("one", { role: "worker" });
const { keyPem } = first;
const worker = provenOf(pki, first);
/** The same key and role, another certificate. */
const renewed = provenOf(pki, await pki.node("one", { role: "worker", keyPem }));
/** The same key in another role. */
const other = provenOf(pki, await pki.node("one", { role: "scheduler", keyPem }));
/** The same key and role under another name. */
const namesake = provenOf(pki, await pki.node("two", { role: "worker", keyPem }));
const second = provenOf(pki, await pki.node("second", { role: "worker" }));
const aggregating = await pki.node("aggregator", { role: "worker" });
const aggregator = provenOf(pki, aggregating);
const impostor = provenOf(pki, await pki.node("aggregator", { role: "scheduler", keyPem: aggregating.keyPem }));
const strangers = [other, namesake];

/** A training of `worker` and `second`. */
function running() {
  const started = training([worker, second], 2, aggregator);
  const { actor, world, say } = started;
  const open = (identity: PeerIdentity) => actor.send({ type: "peer.established", peer: identity.peer, identity });
  const trainers = () => Object.keys(actor.getSnapshot().context.training.trainers);
  const lostTrainers = () => world.reported("trainer.lost").map(({ peer }) => peer);
  const slice = (from: PeerIdentity) => {
    const answer = say(from, { Data: { dataset: "digits" } }) as { Data?: { Success?: { index: number } } };
    return answer.Data?.Success?.index ?? answer;
  };
  return { ...started, open, trainers, lostTrainers, slice };
}

test("a renewal with the same key disturbs nothing: progress, slices and status are its own", () => {
  const { open, close, live, progress, slice, say, jobs, trainers, lostTrainers } = running();
  open(renewed);
  assert.is(progress(renewed, "update"), "Ok");
  assert.is(slice(renewed), 0);
  close(worker, lost);
  live(9_000);
  open(renewed);
  live(12_000);
  assert.equal([trainers().length, lostTrainers()], [2, []]);
  const status = { task_id: jobs.get(worker.peer)?.taskId ?? "", status: { type: "Finished" as const } };
  assert.equal(say(renewed, { JobStatus: status }), { JobStatus: {} });
});

test("a worker that is away for absence_s is lost, and one that is back before is not", () => {
  for (const [more, seconds] of [[{}, 10], [{ absenceS: 3 }, 3]] as const) {
    const { actor, close, live, world } = training([worker, second], 2, aggregator, false, more);
    const lostPeers = () => world.reported("trainer.lost").map(({ peer }) => peer);
    close(worker, lost);
    live(seconds * 1_000 - 500);
    actor.send({ type: "peer.established", peer: worker.peer, identity: worker });
    close(second, lost);
    live(seconds * 1_000 - 500);
    assert.equal(lostPeers(), []);
    live(1_000);
    assert.equal(lostPeers(), [second.peer]);
  }
});

test("bug: a worker was lost at once with its certificate, though it was back with a renewed one within absence_s", () => {
  const { open, close, live, progress, trainers, lostTrainers } = running();
  close(worker, expired);
  live(9_000);
  open(renewed);
  live(12_000);
  assert.equal([trainers().length, lostTrainers()], [2, []]);
  assert.is(progress(renewed, "update"), "Ok");
  close(second, expired);
  live(9_500);
  assert.equal(lostTrainers(), []);
  live(1_000);
  assert.equal(lostTrainers(), [second.peer], "it did not come back");
});

test("bug: a trainer was lost after 300 s in which it loaded its model; silence_s, and uses of its bridge, count", () => {
  for (const [more, seconds] of [[{}, 900], [{ silenceS: 60 }, 60]] as const) {
    const { live, world, idle, progress } = training(["loading", "hanging", "training"], 2, "agg", false, more);
    const lostPeers = () => world.reported("trainer.lost").map(({ peer }) => peer);
    for (const peer of ["loading", "hanging"]) idle.set(peer, 0);
    live(seconds * 1_000 - 20_000);
    progress("training", { status: { batch_size: 1 } });
    idle.set("hanging", seconds);
    live(30_000);
    assert.equal(lostPeers(), ["hanging"]);
    assert.match(String(world.reported("trainer.lost")[0]?.["reason"]), `no sign of life for ${seconds} s`);
  }
});

test("a worker that is revoked is lost at once, though another member of its PeerID stays", () => {
  for (const stays of strangers) {
    const { open, close, trainers, lostTrainers } = running();
    open(stays);
    close(worker, revoked);
    assert.equal(trainers(), [second.peer]);
    assert.equal(lostTrainers(), [worker.peer]);
  }
});

test("a worker to which changed rules deny what its job is made of is lost at once, and no other member", () => {
  for (const act of ["job.status", "progress", "data.ask", "file.push"] as const) {
    const { actor, trainers, lostTrainers } = running();
    const deny = (identity: PeerIdentity, denied: readonly Act[]) =>
      actor.send({ type: "authorization.changed", peer: identity.peer, identity, denied });
    for (const stranger of strangers) deny(stranger, [act]);
    deny(worker, ["worker.offer", "ping"]);
    assert.is(trainers().length, 2);
    deny(worker, [act]);
    assert.equal([trainers(), lostTrainers()], [[second.peer], [worker.peer]]);
  }
});

test("a worker that stays away is lost, though another member of its PeerID stays and comes again", () => {
  for (const stays of strangers) {
    const { open, close, live, trainers } = running();
    open(stays);
    close(worker, lost);
    live(5_000);
    open(stays);
    live(4_500);
    assert.is(trainers().length, 2);
    live(1_000);
    assert.equal(trainers(), [second.peer]);
  }
});

test("another member of the PeerID that goes, or is revoked, takes nothing with it", () => {
  for (const goes of strangers) {
    for (const reason of [lost, revoked]) {
      const { open, close, live, progress, trainers, lostTrainers } = running();
      open(goes);
      close(goes, reason);
      live(12_000);
      assert.equal([trainers().length, lostTrainers()], [2, []]);
      assert.is(progress(worker, "update"), "Ok");
    }
  }
});

test("another member of the PeerID reports no progress, gets no slice, and ends no job", () => {
  for (const stranger of strangers) {
    const { actor, open, progress, slice, say, jobs, lostTrainers } = running();
    open(stranger);
    assert.is(progress(stranger, "update"), "declined");
    assert.is(slice(stranger), "declined");
    const status = { task_id: jobs.get(worker.peer)?.taskId ?? "", status: { type: "Failed" as const, reason: "x" } };
    assert.is(say(stranger, { JobStatus: status }), "declined");
    assert.equal(lostTrainers(), []);
    assert.is(actor.getSnapshot().context.training.trainers[worker.peer]?.waiting, false);
    assert.is(slice(worker), 0, "nothing was taken from the epoch");
  }
});

test("another member of the aggregator's PeerID finishes no round", () => {
  const { world, progress, open } = running();
  open(impostor);
  assert.is(progress(impostor, "updated"), "declined");
  assert.is(world.reported("round.finished").length, 0);
});

test("the provider is looked for only when no data node of its PeerID is connected any more", async () => {
  const { world, actor, say, open, close, live } = running();
  const node = await pki.node("data", { role: "data" });
  const [data, gateway, moved] = [
    provenOf(pki, node),
    provenOf(pki, await pki.node("data", { role: "gateway", keyPem: node.keyPem })),
    provenOf(pki, await pki.node("data-2", { role: "data", keyPem: node.keyPem })),
  ];
  // A data node comes, and the record names the provider, which is not connected yet.
  open(provenOf(pki, await pki.node("data-3", { role: "data" })));
  const ask = world.takeOne("record.get");
  const value = new TextEncoder().encode(JSON.stringify({ num_slices: 3 }));
  ask.replyTo.send({ type: "record", id: ask.id, key: ask.key, value, publisher: data.peer, identity: data });
  const { Data } = say(worker, { Data: { dataset: "digits" } }) as { Data: { Success: { data_provider: string } } };
  assert.is(Data.Success.data_provider, data.peer);
  live(20_000);
  world.take("record.get");
  close(gateway, lost);
  live(6_000);
  assert.equal(world.take("record.get"), [], "a gateway of its PeerID is not the provider");
  for (const each of [data, gateway, moved]) open(each);
  live(20_000);
  world.take("record.get");
  close(gateway, lost);
  close(data, revoked);
  live(6_000);
  assert.equal(world.take("record.get"), [], "another data node of that PeerID is there");
  close(moved, lost);
  open(gateway);
  live(16_000);
  assert.ok(world.take("record.get").length >= 3, "a gateway of that PeerID does not provide");
  assert.is(actor.getSnapshot().status, "active");
});

test("an offer of a member whose certificate names another role is declined: it cannot become a worker of the job", async () => {
  for (const role of ["scheduler", "data", "gateway", "worker"] as const) {
    const offering = provenOf(pki, await pki.node("offering", { role }));
    const { world, actor, found, dispatches } = startScheduler(configOf(1, 2));
    found();
    const { message: { id: request_id } } = world.takeOne("publish");
    const resources = { gpu: 100, cpu: 100, storage: 100, memory: 100 };
    const offer = {
      id: "offer",
      request_id,
      price: 1,
      resources,
      timeout: { secs_since_epoch: 0, nanos_since_epoch: 0 },
    };
    actor.send(requestFrom(offering, "/hypha-api/0.0.1", { WorkerOffer: offer }));
    dispatches();
    const answers = [world.take("respond").length, world.take("decline").length];
    assert.equal(answers, role === "worker" ? [1, 0] : [0, 1], role);
  }
});

test.run();
