/**
 * Workers that lie about trainings, and updates that go where they do not belong.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { Buffer } from "node:buffer";
import { createHash, randomBytes } from "node:crypto";
import { encodeFileHead, encodeMessage } from "../../../transport/protocols/mod.ts";
import type { PushLabel, TrainingRequest } from "../../../transport/protocols/training_messages.ts";
import { type AttackMeans, holds, type MemberAttack, pause } from "./attack.ts";
import { freshId } from "./fresh_id.ts";
import { absentPeer, isGranted, takeLease, waitingJob } from "./lease_work.ts";
import { exchange, openStream, trySend } from "./raw_member.ts";
import type { Progress, ProgressRequest } from "../../../transport/protocols/messages.ts";
import { encodeTensors } from "../../../actors/learning/mod.ts";

const progressProtocol = "/hypha-progress/0.0.1";
const api = "/hypha-api/0.0.1";
const push = "/hypha-tensor-stream/push";
const labelledPush = "/hypha-tensor-stream/push/2";
/** A granted job takes updates within this, in milliseconds, on a busy machine too. */
const startsWithinMs = 30_000;
/** How long a control pushes, in milliseconds. */
const patientMs = 30_000;
/** The end of a push comes within this, in milliseconds, whether its update is taken or not. */
const answersWithinMs = 30_000;

/** Reports of every kind. */
const reports: readonly Progress[] = [
  { status: { batch_size: 1_000_000 } },
  { metrics: { round: 1, metrics: { loss: -1 } } },
  "update",
  "updated",
  "update-received",
];

/** Who is rejected in a round that there was not. */
const verdict: ProgressRequest = {
  job_id: freshId(),
  progress: "updated",
  training: { id: "t-lying-report", run: 1 },
  report: { round: 1, members: [{ peer: absentPeer(), outcome: "rejected", code: "update-norm", detail: "hostile" }] },
};

/** A worker without a job reports progress, a round with its verdicts, the end of a job, and asks for slices. */
const lyingReport: MemberAttack = {
  id: "lying-report",
  target: "scheduler",
  expected: {},
  run: async (means) => {
    const { connection } = await means.intruder("worker");
    const questions = [
      ...reports.map((progress) =>
        [progressProtocol, encodeMessage(progressProtocol, "request", { job_id: freshId(), progress })] as const
      ),
      [progressProtocol, encodeMessage(progressProtocol, "request", verdict)] as const,
      [
        api,
        encodeMessage(api, "request", { JobStatus: { task_id: freshId(), status: { type: "Finished" } } }),
      ] as const,
      [api, encodeMessage(api, "request", { Data: { dataset: "digits" } })] as const,
    ];
    for (const [protocol, bytes] of questions) {
      means.attempts += 1;
      if (await exchange(connection, protocol, bytes) !== undefined) means.escaped(`${protocol}: it was answered`);
    }
  },
};

/**
 * A scheduler whose job waits for the updates of members, and sends its results to one. It waits for one more, whose update it has taken
 * when this returns: a worker grants a job before its receiver runs, and until then it refuses every update.
 */
async function startTraining(means: AttackMeans, senders: string | readonly string[], results?: string) {
  const { peer, address } = means.place;
  const friend = await means.friend("scheduler");
  await friend.dial(address);
  const id = await takeLease(friend, peer);
  const training = { id: `t-${means.id}`, run: 2 };
  const first = await means.member(await means.certificate("worker"));
  const spec = waitingJob([first.peer, senders].flat(), results ?? friend.identity.peer);
  if (!await isGranted(friend, peer, { DispatchJob: { id: freshId(), spec, training } })) {
    means.escaped("the job did not start");
  }
  const label = {
    scheduler: friend.identity.peer,
    training: training.id,
    run: training.run,
    job: spec.job_id,
    round: 1,
    samples: 1,
  } as const;
  const connection = await first.connect(address);
  const end = performance.now() + startsWithinMs;
  while (await pushes(connection, label, update(1)) !== "closed") {
    if (performance.now() > end) throw new Error("Cannot start a training: its aggregator takes no update");
    await pause(20);
  }
  return { friend, id, label, first: first.peer };
}

/** Updates of a member of the training that belong to something else: another training, run, scheduler, round, or to none. */
const foreignUpdates: MemberAttack = {
  id: "updates-of-another-training",
  target: "worker",
  expected: {},
  run: async (means) => {
    const certificate = await means.certificate("worker");
    const member = await means.member(certificate);
    const { label } = await startTraining(means, [member.peer, absentPeer()]);
    const connection = await member.connect(means.place.address);
    const wrong: Readonly<Record<string, PushLabel>> = {
      "another training": { ...label, training: "t-another" },
      "an earlier run": { ...label, run: 1 },
      "a later run": { ...label, run: 3 },
      "another scheduler": { ...label, scheduler: means.world.nodes.scheduler.peer },
      "a later round": { ...label, round: 7 },
    };
    for (const [what, wrongLabel] of Object.entries(wrong)) {
      means.attempts += 1;
      if (await pushes(connection, wrongLabel, randomBytes(1_000)) !== "reset") {
        means.escaped(`an update of ${what} was taken`);
      }
    }
  },
};

/** Pushes a file; how its stream ended within the time. */
async function pushes(connection: Connection, label: PushLabel, file: Uint8Array) {
  const fate = await openStream(connection, labelledPush).catch(() => undefined);
  if (fate === undefined) return "reset";
  const digest = createHash("sha256").update(file).digest();
  trySend(fate.stream, Buffer.concat([encodeFileHead({ size: file.length, label }), file, digest]));
  fate.stream.close().catch(() => {});
  await holds(() => fate.end !== undefined, answersWithinMs);
  return fate.end;
}

const update = (value: number): Uint8Array =>
  encodeTensors(new Map([["w", { shape: [2], values: Float32Array.of(value, value) }]]));

/** Pushes of a worker that no job names, to a worker whose job waits for updates of another: with the training's label and without. */
const uninvited: MemberAttack = {
  id: "uninvited-updates",
  target: "worker",
  group: "uninvited", // where the worker has no other job: see below
  expected: {},
  run: async (means) => {
    const { label } = await startTraining(means, absentPeer());
    const { connection } = await means.intruder("worker");
    means.attempts += 1;
    const fate = await openStream(connection, push).catch(() => undefined);
    if (fate !== undefined) trySend(fate.stream, new Uint8Array(100_000));
    if (fate !== undefined && !await holds(() => fate.end === "reset", means.actsWithinMs)) {
      means.escaped(`${push}: it was taken`);
    }
    // In a control every job of the worker takes every push, and where there are two it is refused: it comes again until one has ended.
    const end = performance.now() + (means.world.defended ? 0 : patientMs);
    let taken: boolean;
    do {
      means.attempts += 1;
      taken = await pushes(connection, label, update(1)) !== "reset";
      if (!taken) await pause(200);
    } while (!taken && performance.now() < end);
    if (taken) means.escaped(`${labelledPush}: it was taken`);
  },
};

/** A trainer of a training pushes its update twice at once, once more while another trainer is waited for, and again when the round is over. */
const repeatedUpdates: MemberAttack = {
  id: "updates-twice-and-late",
  target: "worker",
  expected: {},
  run: async (means) => {
    const member = await means.member(await means.certificate("worker"));
    const other = await means.member(await means.certificate("worker"));
    let results = 0;
    await other.serve(push, () => void (results += 1));
    const { friend, label, first } = await startTraining(means, [member.peer, other.peer], other.peer);
    friend.send({ type: "serve", protocol: progressProtocol });
    const [connection, others] = [
      await member.connect(means.place.address),
      await other.connect(means.place.address),
    ];
    const ends = await Promise.all([1, 2].map(() => pushes(connection, label, update(1))));
    ends.push(await pushes(connection, label, update(5)));
    means.attempts += ends.length;
    const taken = ends.filter((end) => end === "closed").length;
    if (taken !== 1) means.escaped(`${taken} of ${ends.length} updates of one round were taken`);
    if (await pushes(others, label, update(1)) !== "closed") means.escaped("the other trainer's update was refused");
    const round = await friend.fact(
      (fact) => fact.type === "request.received" && "report" in fact.message ? fact : undefined,
      means.actsWithinMs,
    );
    const { report } = (round?.message ?? {}) as Partial<ProgressRequest>;
    const counted = report?.members.map(({ peer, outcome, norm }) => `${peer} ${outcome} ${norm?.toFixed(3)}`).sort();
    const once = [first, member.peer, other.peer].map((peer) => `${peer} counted ${Math.SQRT2.toFixed(3)}`).sort();
    if (counted?.join() !== once.join()) means.escaped(`the round has ${counted?.join(", ") ?? "no report"}`);
    if (round !== undefined) friend.send({ type: "respond", exchange: round.exchange, message: { type: "Ok" } });
    if (!await holds(() => results > 0, means.actsWithinMs)) means.escaped("the round had no result");
    means.attempts += 1;
    if (await pushes(connection, label, update(5)) !== "reset") {
      means.escaped("an update of a round that is over was taken");
    }
    if (await pushes(connection, { ...label, round: 2 }, update(1)) !== "closed") {
      means.escaped("the update of the next round was refused");
    }
  },
};

/** Another scheduler ends a training, and releases a lease, that are not its own. */
const endsAnothers: MemberAttack = {
  id: "end-of-anothers-training",
  target: "worker",
  expected: {},
  run: async (means) => {
    const { peer } = means.place;
    const { friend, id, label } = await startTraining(means, absentPeer());
    const other = await means.friend("scheduler", { certificate: await means.certificate("scheduler") });
    await other.dial(means.place.address);
    const requests: readonly TrainingRequest[] = [
      { Release: { lease: id } },
      { End: { training: label.training, run: label.run, job: label.job, reason: "hostile" } },
      { End: { training: label.training, run: 1_000_000, job: null, reason: "hostile" } },
      { Notice: { job: label.job, code: "rejected", detail: "hostile" } },
    ];
    for (const message of requests) {
      means.attempts += 1;
      await other.request(peer, "/hypha-training/1", message);
    }
    if (!await isGranted(friend, peer, { RenewLease: { id, training: { id: label.training, run: label.run } } })) {
      means.escaped("the lease of another scheduler is over");
    }
  },
};

/** The attacks. */
export const trainingAttacks: readonly MemberAttack[] = [
  lyingReport,
  uninvited,
  foreignUpdates,
  repeatedUpdates,
  endsAnothers,
];
