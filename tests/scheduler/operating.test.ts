/** What a scheduler's operator asks, and what it is answered: cancel, resume, and what is refused. */
import { existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { memberOf } from "../../pki/member.ts";
import { failedWith, identityOf } from "../support/fake_transport.ts";
import { eventually, temporary } from "../support/job_world.ts";
import { tensors } from "../support/kept_training.ts";
import { configOf, startDaemon, startScheduler } from "../support/scheduler_world.ts";
import type { AdminAnswer } from "../../actors/admin/serve_admin.ts";
import type { Progress } from "../../transport/protocols/messages.ts";
import type { AdminAsk } from "../../actors/scheduler/admin_routes.ts";
import { runningTrainings } from "../../actors/scheduler/scheduler_setup.ts";
import { nameOfMember, type ShownStatus, type ShownTraining } from "../../actors/scheduler/status.ts";
import { openAgainMs } from "../../actors/training/model_store_setup.ts";
import { executorEndMs } from "../../actors/training/workers.ts";

const test = suite("operating a scheduler");

/** A daemon with a training `t-a` that runs: its trainer is `w`, its aggregator `s`. */
async function running(are: "ours" | "foreign") {
  const place = temporary();
  const daemon = await startDaemon(place.path);
  const { submit, training, found, offer, dispatches, answerTraining, ask, world, scheduler } = daemon;
  submit("t-a", configOf(1, 2).job);
  await eventually("it looks for its data set", () => training("t-a")?.matches({ finding: "asking" }) === true);
  found();
  offer("w");
  offer("s");
  // Workers are known by an answer: here, to the end of an earlier run.
  daemon.scheduler.send({ type: "training.answered", peer: "w", answer: answerOf(are) });
  daemon.scheduler.send({ type: "training.answered", peer: "s", answer: answerOf("ours") });
  for (const _ of [1, 2]) for (const { accept } of dispatches()) accept();
  assert.ok(training("t-a")?.matches("running"));
  const told = () =>
    world.take("request").flatMap(({ peer, message }) =>
      "End" in message || "Release" in message ? [`${peer} ${Object.keys(message)[0]}`] : []
    );
  const state = join(place.path, "trainings", "t-a", "state.json");
  const kept = () => existsSync(state) ? JSON.parse(readFileSync(state, "utf8")) : {};
  /** A folder in the file's place cannot be replaced, also not by root. */
  const refuseDisk = async () => {
    await eventually("what became of it is on disk", () => !["queued", undefined].includes(kept().state));
    const before = readFileSync(state, "utf8");
    rmSync(state);
    mkdirSync(state);
    return () => {
      rmSync(state, { recursive: true });
      writeFileSync(state, before);
    };
  };
  /** An action of the training throws: the event has no identity. */
  const crash = () => {
    const found = runningTrainings(scheduler).find(({ snapshot }) => snapshot.context.id === "t-a");
    found?.ref.send({ type: "peer.closed" } as Parameters<typeof found.ref.send>[0]);
  };
  const stop = () => {
    scheduler.stop();
    place.remove();
  };
  return { ...daemon, told, kept, refuseDisk, stop, ask, answerTraining, crash };
}

const answerOf = (are: "ours" | "foreign") =>
  are === "ours"
    ? { type: "response", id: "", message: { answer: "Ok" } } as const
    : { type: "request.failed", id: "", error: failedWith("unsupported") } as const;

test("bug: a training whose model could not be opened yet was shown as queued; it is paused", async () => {
  const place = temporary();
  const { submit, ask, scheduler, training, world } = await startDaemon(place.path);
  const weights = join(place.path, "init.safetensors");
  symlinkSync("init.safetensors", weights); // a link to itself cannot be read, also not by root
  const model = { weights, type: "image-classification", inputNames: ["x"] } as const;
  const { job } = configOf(1, 2);
  submit("t-a", { ...job, model, rounds: { ...job.rounds, keepRounds: 1 } });
  await eventually("it is paused", () => world.reported("training.paused").length === 1);
  const stateOf = () => (ask({ type: "list" }).body as { trainings: readonly ShownTraining[] }).trainings[0]?.state;
  assert.is(stateOf(), "paused");
  rmSync(weights);
  writeFileSync(weights, tensors(1, 2));
  world.pass(openAgainMs);
  await eventually("its model is open", () => training("t-a")?.context.model !== undefined);
  assert.is(stateOf(), "queued");
  scheduler.stop();
  place.remove();
});

test("cancel ends jobs and leases by message, and says it before it takes another request", async () => {
  const { askLater, told, training, stop, world } = await running("ours");
  told();
  const { status, body } = await askLater({ type: "cancel", id: "t-a" });
  assert.equal([status, body], [200, {
    id: "t-a",
    was: "running",
    members: [{ name: "w.name", endsBy: null }, { name: "s.name", endsBy: null }],
  }]);
  assert.equal(told().toSorted(), ["s End", "s Release", "w End", "w Release"]);
  assert.is(training("t-a"), undefined);
  assert.is(world.reported("training.cancelled").length, 1);
  stop();
});

test("cancel with a worker of the existing network says when its lease and executor are over", async () => {
  const { askLater, told, stop, world, training } = await running("foreign");
  told();
  const lease = training("t-a")?.context.training.trainers["w"]?.leaseId;
  const endsAt = (training("t-a")?.children[`lease/${lease}`]?.getSnapshot() as { context: { endsAt: number } }).context
    .endsAt;
  const { members } = (await askLater({ type: "cancel", id: "t-a" })).body as { members: unknown };
  assert.equal(members, [
    { name: "w.name", endsBy: new Date(endsAt + executorEndMs).toISOString() },
    { name: "s.name", endsBy: null },
  ]);
  assert.equal(told().toSorted(), ["s End", "s Release"], "it would not understand");
  assert.ok(endsAt > world.ports.now());
  stop();
});

test("resume goes on with what failed or was cancelled, and with nothing else; each change is on disk", async () => {
  const { ask, askLater, training, stop, kept, scheduler } = await running("ours");
  const codeOf = (type: "cancel" | "resume", id = "t-a") => {
    const { status, body } = ask({ type, id });
    return [status, (body as { code?: string }).code];
  };
  await eventually("it is kept that it runs", () => kept().state === "running");
  assert.equal(codeOf("resume"), [409, "wrong-state"]);
  assert.equal(codeOf("cancel", "t-b"), [404, "unknown-training"]);
  assert.equal(codeOf("cancel", "constructor"), [404, "unknown-training"]);
  const cancelled = askLater({ type: "cancel", id: "t-a" });
  assert.equal(codeOf("cancel"), [409, "wrong-state"]);
  assert.is((await cancelled).status, 200);
  assert.is(kept().state, "cancelled");
  assert.equal(await askLater({ type: "resume", id: "t-a" }), {
    status: 200,
    body: { id: "t-a", round: 0, keepsModel: false },
  });
  assert.is(kept().state, "queued");
  await eventually("it has another run", () => training("t-a")?.context.run !== undefined);
  assert.is(training("t-a")?.context.isRestart, true);
  scheduler.send({ type: "role.drain" });
  assert.ok(scheduler.getSnapshot().matches("settling"));
  assert.equal(ask({ type: "resume", id: "t-a" }).status, 503);
  assert.is(
    (ask({ type: "status", id: "t-a" }).body as { state: string }).state,
    "queued",
    "it goes on with the next start",
  );
  stop();
});

test("bug: resume and status had rounds of a run whose model was not kept; the training began again at round 0", async () => {
  const { ask, askLater, say, training, stop, world } = await running("ours");
  const run = training("t-a")?.context.run;
  assert.ok(run !== undefined);
  const { trainers, aggregator } = training("t-a")?.context.training ?? {};
  const jobs = new Map([["w", trainers?.["w"]?.jobId ?? ""], ["s", aggregator?.jobId ?? ""]]);
  const progress = (from: string, progress: Progress) =>
    say(from, { job_id: jobs.get(from) ?? "", progress, training: run });
  progress("w", { metrics: { round: 1, metrics: { loss: 1 } } });
  progress("w", "update");
  progress("s", "updated");
  const shown = () => {
    const { round, losses, loss, keepsModel } = ask({ type: "status", id: "t-a" }).body as ShownStatus;
    assert.is(keepsModel, false);
    return { round, losses: losses.length, loss };
  };
  assert.equal(shown(), { round: 1, losses: 1, loss: 1 });
  await askLater({ type: "cancel", id: "t-a" });
  assert.equal(shown(), { round: 1, losses: 1, loss: 1 });
  const { body } = await askLater({ type: "resume", id: "t-a" });
  assert.equal(body, { id: "t-a", round: 0, keepsModel: false });
  await eventually("it has another run", () => training("t-a")?.context.run !== undefined);
  assert.equal(shown(), { round: 0, losses: 0, loss: null });
  const [first, again] = world.reports.filter(({ event }) => event === "run.began");
  assert.is(first?.level, "info");
  assert.equal([again?.level, String(again?.fields?.["hint"]).includes("keep = true")], ["warn", true]);
  stop();
});

test("bug: a training that failed named its newest round in the hint, also where no model was kept", async () => {
  const { training, stop, say, world } = await running("ours");
  const task_id = training("t-a")?.context.training.trainers["w"]?.taskId ?? "";
  say("w", { JobStatus: { task_id, status: { type: "Failed", reason: "the executor ended with 3" } } });
  assert.is(world.reported("training.failed")[0]?.["hint"], "Begin again at round 0 with: hypha-scheduler resume t-a");
  stop();
});

test("bug: a cancelled training came back with the next start: cancel was answered before it was on disk", async () => {
  const { askLater, kept, refuseDisk, scheduler, training, stop } = await running("ours");
  const giveBack = await refuseDisk();
  const { status, body } = await askLater({ type: "cancel", id: "t-a" });
  assert.equal([status, (body as { code: string }).code], [507, "not-kept"]);
  assert.is(training("t-a"), undefined, "it is cancelled all the same");
  giveBack();
  assert.is(kept().state, "running");
  scheduler.send({ type: "role.drain" });
  assert.ok(scheduler.getSnapshot().matches("settling"));
  await eventually("the end tries once more", () => kept().state === "cancelled");
  stop();
});

test("bug: resume was answered before it was on disk", async () => {
  const { askLater, kept, refuseDisk, training, stop } = await running("ours");
  assert.is((await askLater({ type: "cancel", id: "t-a" })).status, 200);
  const giveBack = await refuseDisk();
  const { status, body } = await askLater({ type: "resume", id: "t-a" });
  assert.equal([status, (body as { code: string }).code], [507, "not-kept"]);
  assert.ok(training("t-a") !== undefined, "it goes on all the same");
  giveBack();
  assert.is((await askLater({ type: "cancel", id: "t-a" })).status, 200, "what is requested next is tried at once");
  assert.is(kept().state, "cancelled");
  stop();
});

test("cancel is answered within a second, also where the disk does not answer", async () => {
  const { askLater, kept, world, stop } = await running("ours");
  await eventually("it is kept that it runs", () => kept().state === "running");
  Object.assign(world.ports, { run: () => () => {} });
  const answer = askLater({ type: "cancel", id: "t-a" });
  world.pass(1_010);
  assert.is((await answer).status, 507);
  stop();
});

test("a training's failure is its own: the others go on, and the scheduler serves", async () => {
  const { ask, submit, training, stop, say, scheduler, kept } = await running("ours");
  submit("t-b", { ...configOf(1, 1).job, dataset: "other" });
  const task_id = training("t-a")?.context.training.trainers["w"]?.taskId ?? "";
  say("w", { JobStatus: { task_id, status: { type: "Failed", reason: "the executor ended with 3" } } });
  assert.is(training("t-a"), undefined);
  const { state, reason } = ask({ type: "status", id: "t-a" }).body as { state: string; reason: string };
  assert.equal([state, reason], ["failed", "no trainer is left"]);
  assert.ok(training("t-b") !== undefined && scheduler.getSnapshot().matches("serving"));
  await eventually("it is kept", () => kept().reason === "no trainer is left");
  stop();
});

test("bug: an error in one training's actor ended the scheduler", async () => {
  const { ask, submit, training, stop, scheduler, crash } = await running("ours");
  submit("t-b", { ...configOf(1, 1).job, dataset: "other" });
  crash();
  const { state, reason } = ask({ type: "status", id: "t-a" }).body as { state: string; reason: string };
  assert.match(`${state}: ${reason}`, /^failed: an unexpected error: Cannot/);
  assert.ok(training("t-b") !== undefined && scheduler.getSnapshot().status === "active");
  stop();
});

test("bug: the leases of a training whose actor died were renewed for ever, and its workers trained on", async () => {
  const { stop, told, world, crash } = await running("ours");
  told();
  crash();
  assert.equal(told().toSorted(), ["s Release", "w Release"]);
  world.pass(30_000);
  assert.equal(world.take("request").map(({ message }) => Object.keys(message)), []);
  stop();
});

test("bug: a status showed a trainer's last message by the clock without steps, as a date of another year", async () => {
  const { ask, stop, world } = await running("ours");
  const lastOf = () => {
    const { members } = ask({ type: "status", id: "t-a" }).body as ShownStatus;
    return Date.parse(members.find(({ part }) => part === "trainer")?.at ?? "");
  };
  const before = lastOf();
  const hourMs = 3_600_000;
  world.step(hourMs);
  assert.is(lastOf(), before + hourMs);
  stop();
});

test("bug: a partner's worker and one of the scheduler's own domain with one name were shown as one member", async () => {
  const place = temporary();
  const daemon = await startDaemon(place.path, "scheduler", { domain: "own.example" });
  const { submit, training, found, offer, dispatches, ask, say, scheduler } = daemon;
  const named = (peer: string, domain: string) =>
    Object.assign(identityOf(peer, "worker"), { names: [`URI:spiffe://${domain}/worker/w1`], domain });
  const [own, partner] = [named("w", "own.example"), named("p", "partner.example")];
  submit("t-a", configOf(2, 2).job);
  await eventually("it looks for its data set", () => training("t-a")?.matches({ finding: "asking" }) === true);
  found();
  offer(own, partner);
  offer("s");
  for (const _ of [1, 2, 3]) for (const { accept } of dispatches()) accept();
  for (const [from, loss] of [[own, 1], [partner, 9]] as const) {
    const job_id = training("t-a")?.context.training.trainers[from.peer]?.jobId ?? "";
    const run = training("t-a")?.context.run;
    assert.ok(run !== undefined);
    say(from, { job_id, progress: { metrics: { round: 1, metrics: { loss } } }, training: run });
  }
  const { members } = ask({ type: "status", id: "t-a" }).body as ShownStatus;
  assert.equal(
    members.map(({ name, loss }) => [name, loss]),
    [["w1", 1], ["spiffe://partner.example/worker/w1", 9], ["s.name", null]],
  );
  scheduler.stop();
  place.remove();
});

test("a member of another domain whose certificate names no role is shown by its subject and domain", () => {
  const unnamed = { ...identityOf("p"), domain: "partner.example" };
  assert.is(nameOfMember(memberOf(unnamed), "own.example"), "CN=p.name of partner.example");
});

test("there are 256 trainings at most", async () => {
  const { ask, submit, stop } = await running("ours");
  for (let more = 1; more < 255; more++) submit(`t-${more}`, { ...configOf(1, 1).job, dataset: `d-${more}` });
  assert.is(ask({ type: "room", receiving: 0 }).status, 200);
  submit("t-last", configOf(1, 1).job);
  assert.is(ask({ type: "room", receiving: 0 }).status, 507);
  stop();
});

test("a scheduler that runs the job of its configuration shows it, and takes no other", () => {
  const { scheduler } = startScheduler(configOf(1, 3));
  const ask = (asked: AdminAsk) => {
    let answer: AdminAnswer | undefined;
    scheduler.send({ type: "admin.asked", ask: asked, reply: (given) => void (answer = given) });
    return answer;
  };
  const { trainings } = ask({ type: "list" })?.body as { readonly trainings: readonly ShownTraining[] };
  assert.equal(trainings.map(({ state, round, rounds }) => [state, round, rounds]), [["queued", 0, 3]]);
  const id = trainings[0]?.id ?? "";
  assert.is((ask({ type: "status", id })?.body as ShownStatus).id, id);
  for (const asked of [{ type: "room", receiving: 0 }, { type: "cancel", id }, { type: "resume", id }] as const) {
    const { status, body } = ask(asked) ?? {};
    assert.equal([status, (body as { readonly code: string }).code], [409, "configured-job"]);
  }
  scheduler.stop();
});

test.run();
