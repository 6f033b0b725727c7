/**
 * A scheduler's machine in a fake world: a test plays its data node, its workers and its clock.
 *
 * @module
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { DilocoJobConfig, SchedulerConfig } from "../../actors/config/config.ts";
import { aggregationDefault } from "../../actors/config/defaults.ts";
import { instantFromMs } from "../../actors/runtime/instant.ts";
import type { Evaluator } from "../../actors/training/evaluator.ts";
import { schedulerMachine } from "../../actors/scheduler/scheduler.ts";
import { type RunningTraining, runningTrainings, type SchedulerInput } from "../../actors/scheduler/scheduler_setup.ts";
import type { RoleEvent } from "../../actors/runtime/role.ts";
import type { TrainingEvent } from "../../actors/training/training_setup.ts";
import type { Role } from "../../pki/certificate.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { CloseReason, TransportAsk } from "../../transport/port.ts";
import type { ApiRequest, JobSpec, Progress, ProgressRequest } from "../../transport/protocols/messages.ts";
import type { AdminAnswer } from "../../actors/admin/serve_admin.ts";
import type { AdminAsk } from "../../actors/scheduler/admin_routes.ts";
import { emptyWatch } from "../../actors/training/watch.ts";
import { failedWith, type FakeWorld, identityOf, makeFakeWorld, requestFrom, startIn } from "./fake_transport.ts";
import { eventually } from "./job_world.ts";

const api = "/hypha-api/0.0.1" as const;
/** What each part of a job wants. */
export const resources = { cpu: 1, gpu: 0, memory: 1, storage: 1 };

/** A configuration with `[scheduler.job]`. */
type ConfigWithJob = SchedulerConfig & { readonly job: DilocoJobConfig };

/** A job of so many trainers and rounds. */
export function configOf(numWorkers: number, rounds: number, heldOut?: string): ConfigWithJob {
  const model = {
    repository: "builtin/mlp-64-32-10",
    revision: "seed-7",
    filenames: ["m"],
    token: undefined,
    type: "image-classification",
    inputNames: ["x"],
  };
  const job = {
    type: "diloco",
    model,
    preprocessor: undefined,
    dataset: "digits",
    innerOptimizer: { learningRate: 0.001, betas: undefined, epsilon: undefined },
    outerOptimizer: { learningRate: 0.7, momentum: 0.9 },
    resources: {
      numWorkers,
      worker: resources,
      parameterServer: resources,
      workerPrice: { bid: 20, max: 100 },
      parameterServerPrice: { bid: 20, max: 100 },
    },
    rounds: { updateRounds: rounds, avgSamplesBetweenUpdates: 100, maxBatchSize: 10 },
    aggregation: { ...aggregationDefault, roundDeadlineS: 900 },
    executors: { train: "diloco-transformer", aggregate: "parameter-server" },
    evaluation: heldOut === undefined ? undefined : { heldOut },
  };
  return { role: "scheduler", job } as unknown as ConfigWithJob;
}

/** What a scheduler's training is told by others than its scheduler. */
const ofTraining = /^(?:(?:allocation|dataset|dispatch|participant|evaluation|round|model|held|absence)\.|redispatch$)/;

/** A scheduler that has started. Its `actor` shows its training: what the scheduler is sent is passed on. */
export function startScheduler(config: SchedulerConfig, evaluator?: Evaluator, domain?: string) {
  const world = makeFakeWorld();
  const scheduler = startIn(world, schedulerMachine, {
    config,
    ports: world.ports,
    transport: world.transport,
    self: "scheduler",
    members: [],
    evaluator,
    domain,
  });
  let training: RunningTraining | undefined;
  const trainingNow = () => {
    [training = training] = runningTrainings(scheduler);
    if (training === undefined) throw new Error("Cannot look at the training: it ended at the start");
    return training.ref;
  };
  [training] = runningTrainings(scheduler);
  const actor = {
    send: (event: RoleEvent | TrainingEvent) =>
      ofTraining.test(event.type) ? trainingNow().send(event as TrainingEvent) : scheduler.send(event as RoleEvent),
    getSnapshot: () => trainingNow().getSnapshot(),
  };
  const state = () => actor.getSnapshot().value;
  return { world, scheduler, actor, ...playOthers(world, actor), state };
}

/** A scheduler without a job, whose state directory is `stateDir`, with its admin socket open. */
export async function startDaemon(
  stateDir: string,
  self = "scheduler",
  { domain, receiving }: Pick<SchedulerInput, "domain" | "receiving"> = {},
) {
  const world = makeFakeWorld();
  const { job: _, ...config } = configOf(1, 1);
  const scheduler = startIn(world, schedulerMachine, {
    config: { ...config, job: undefined, stateDir },
    ports: world.ports,
    transport: world.transport,
    ...{ self, domain, receiving },
    members: [],
  });
  await eventually("it serves its operator", () => scheduler.getSnapshot().matches("serving"));
  /** The operator asks; the answer's status and body. */
  const ask = (asked: AdminAsk) => {
    let answer: AdminAnswer | undefined;
    scheduler.send({ type: "admin.asked", ask: asked, reply: (given) => void (answer = given) });
    if (answer === undefined) throw new Error(`Cannot ask ${asked.type}: it was not answered`);
    return answer;
  };
  /** The same for what is answered when it is on disk. */
  const askLater = (asked: AdminAsk) =>
    new Promise<AdminAnswer>((reply) => scheduler.send({ type: "admin.asked", ask: asked, reply }));
  const submit = (id: string, job: DilocoJobConfig, queuedAt = world.ports.now()) => {
    mkdirSync(join(stateDir, "trainings", id), { recursive: true });
    const standing = { state: "queued", reason: null, since: queuedAt, queuedAt } as const;
    return ask({
      type: "submit",
      training: { id, name: id, submittedAt: queuedAt, job, watch: emptyWatch, ...standing },
    });
  };
  const training = (id: string) =>
    runningTrainings(scheduler).find(({ snapshot }) => snapshot.context.id === id)?.snapshot;
  const others = playOthers(world, { send: (event) => scheduler.send(event as RoleEvent) });
  return { world, scheduler, ask, askLater, submit, training, ...others };
}

/** The data node and the workers of a world, as a test plays them. */
function playOthers(world: FakeWorld, actor: { send(event: RoleEvent | TrainingEvent): void }) {
  const found = (slices = 3) => {
    const ask = world.takeOne("record.get");
    const value = new TextEncoder().encode(JSON.stringify({ num_slices: slices }));
    const identity = identityOf("data", "data");
    ask.replyTo.send({ type: "record", id: ask.id, key: ask.key, value, publisher: "data", identity });
  };
  let offers = 0;
  /** How long the executors of these workers have not used their bridges, in seconds: what renewals tell. */
  const idle = new Map<string, number>();
  /** Offers of these peers to the newest request, of six times the GPU memory asked for, and takes the leases they become. */
  const offer = (...peers: (string | PeerIdentity)[]) => {
    const request = world.take("publish").at(-1);
    for (const peer of peers) {
      const id = `lease-${++offers}`;
      const message = {
        WorkerOffer: {
          id,
          request_id: request?.message.id ?? "",
          price: 10,
          resources: { ...resources, gpu: 6 * (request?.message.spec.resources.gpu ?? 0) },
          timeout: instantFromMs(0),
        },
      };
      actor.send(requestFrom(peer, api, message));
    }
    answerRenewals();
  };
  /** Grants every renewal that waits. */
  const answerRenewals = () => {
    const others: Extract<TransportAsk, { type: "request" }>[] = [];
    for (const ask of world.take("request")) {
      if (!("RenewLease" in ask.message)) {
        others.push(ask);
        continue;
      }
      const { id } = ask.message.RenewLease as { id: string };
      const timeout = instantFromMs(world.ports.now() + 10_000);
      const seconds = idle.get(ask.peer), more = seconds === undefined ? {} : { idle: seconds };
      ask.replyTo.send({
        type: "response",
        id: ask.id,
        message: { RenewLease: { Renewed: { id, timeout, ...more } } },
      });
    }
    sent.push(...others);
  };
  const sent: Extract<TransportAsk, { type: "request" }>[] = [];
  /** Dispatches that went out since the last look: to whom, and what. */
  const dispatches = () => {
    answerRenewals();
    return sent.splice(0).flatMap((ask) => {
      if (!("DispatchJob" in ask.message)) return [];
      const { id, spec } = ask.message.DispatchJob as { id: string; spec: JobSpec };
      const accept = () =>
        ask.replyTo.send({
          type: "response",
          id: ask.id,
          message: { DispatchJob: { Dispatched: { id, timeout: instantFromMs(world.ports.now() + 10_000) } } },
        });
      const refuse = () => ask.replyTo.send({ type: "response", id: ask.id, message: { DispatchJob: "Failed" } });
      const drop = () => ask.replyTo.send({ type: "request.failed", id: ask.id, error: failedWith("timed-out") });
      return [{ peer: ask.peer, taskId: id, spec, accept, refuse, drop }];
    });
  };
  /** Workers answer what was asked over `/hypha-training/1`, as ours or those of the existing network do. */
  const answerTraining = (are: "ours" | "foreign") => {
    for (const ask of world.asks) {
      if (ask.type !== "request" || ask.protocol !== "/hypha-training/1") continue;
      const { id, replyTo } = ask;
      if (are === "ours") replyTo.send({ type: "response", id, message: { answer: "Ok" } });
      else replyTo.send({ type: "request.failed", id, error: failedWith("unsupported") });
    }
  };
  const say = (peer: string | PeerIdentity, message: ApiRequest | ProgressRequest) => {
    world.take("respond");
    world.take("decline");
    actor.send(requestFrom(peer, "progress" in message ? "/hypha-progress/0.0.1" : api, message));
    return world.take("respond")[0]?.message ?? "declined";
  };
  /** Lets time pass while every lease is renewed. */
  const live = (ms: number) => {
    for (let passed = 0; passed < ms; passed += 500) {
      world.pass(500);
      answerRenewals();
    }
  };
  return { found, offer, dispatches, say, live, idle, answerTraining };
}

/** A scheduler whose training runs: its members, their jobs, and a progress message of each. */
export function training(
  trainers: readonly (string | PeerIdentity)[],
  rounds: number,
  aggregator: string | PeerIdentity = "aggregator",
  /** Workers of the existing network name no training. */
  isForeign = false,
  more: Partial<DilocoJobConfig["resources"]> = {},
) {
  const config = configOf(trainers.length, rounds);
  const { job } = config;
  const started = startScheduler({ ...config, job: { ...job, resources: { ...job.resources, ...more } } });
  started.found();
  started.offer(...trainers);
  started.offer(aggregator);
  const jobs = new Map<string, { jobId: string; taskId: string }>();
  const take = () => {
    for (const { peer, taskId, spec, accept } of started.dispatches()) {
      jobs.set(peer, { jobId: spec.job_id, taskId });
      accept();
    }
  };
  take();
  take();
  const progress = (from: string | PeerIdentity, progress: Progress) => {
    const { run } = started.actor.getSnapshot().context;
    const job_id = jobs.get(typeof from === "string" ? from : from.peer)?.jobId ?? "";
    const message = { job_id, progress, ...(run === undefined || isForeign ? {} : { training: run }) };
    return (started.say(from, message) as { type?: string }).type ?? "declined";
  };
  /** One whole round of those that are left. */
  const round = (...left: string[]) => {
    for (const peer of left) progress(peer, "update");
    const aggregated = progress(aggregator, "updated");
    return [aggregated, ...left.map((peer) => progress(peer, "update-received"))];
  };
  const close = (from: string | PeerIdentity, reason: CloseReason, role?: Role) => {
    const identity = typeof from === "string" ? identityOf(from, role) : from;
    started.actor.send({ type: "peer.closed", peer: identity.peer, identity, reason });
  };
  return { ...started, jobs, progress, round, close };
}
