/**
 * A training's actions that answer the network: offers, slices, job statuses, progress, pushes.
 *
 * @module
 */
import type { SnapshotFrom } from "xstate";
import { type Member, memberOf, nodeOf } from "../../pki/member.ts";
import type {
  Grant,
  JobStatus,
  Peer,
  Progress,
  ProgressRequest,
  TrainingRun,
  Uuid,
  WorkerOffer,
} from "../../transport/protocols/messages.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { makeRules } from "../../transport/authorization/rules.ts";
import { monotonicNow, type Report } from "../runtime/ports.ts";
import type { allocationMachine } from "./allocation.ts";
import { signGrant } from "../data/grant.ts";
import { instantFromMs } from "../runtime/instant.ts";
import { handleRequest, type ReceivedRequest, type RequestTable, type RequestWith } from "../runtime/requests.ts";
import { batchSize } from "./job_spec.ts";
import { foreignRefusal, modelFor, offerToModel } from "./keeping.ts";
import { judgeEarly, judgeRound, reportReceipt } from "./judging.ts";
import { noteMetrics } from "./metrics.ts";
import { offeredStream, rejectStream } from "./offered_stream.ts";
import { isUnwanted } from "./participants.ts";
import { planOf, type ReceivedStream, type TrainingArgs, type TrainingContext } from "./training_setup.ts";
import { takeSlice } from "./slices.ts";
import {
  answerProgress,
  type Participant,
  participantBy,
  participantOf,
  trainersOf,
  type Training,
  withMessage,
  withParticipant,
} from "./training.ts";

/** Life of a grant, in milliseconds: pulls start within five minutes, and the clocks of two nodes may be an hour apart. */
export const grantMs = 3_900_000;

/** The reason of a failed job as its worker reports it. */
function failureOf(status: JobStatus): string {
  return status.type === "Failed" ? status.reason ?? "its worker gives no reason" : status.type;
}

/** The requests that a training answers, by protocol and variant. It declines the others. */
const requests: RequestTable<TrainingArgs> = {
  "/hypha-health/0.0.1": decline,
  "/hypha-progress/0.0.1": answerProgressRequest,
  "/hypha-training/1": decline,
  "/hypha-api/0.0.1": {
    WorkerOffer: passOffer,
    Data: answerData,
    JobStatus: answerJobStatus,
    RenewLease: decline,
    DispatchJob: decline,
  },
};

/** Answers a request that its scheduler passed on, or declines it. */
export function answerRequest(args: TrainingArgs, request: ReceivedRequest): void {
  if (!handleRequest(requests, args, request)) decline(args, request);
}

/** Whether a message may be of the current run: one of a foreign worker names none. */
function isOfRun({ run }: TrainingContext, training: TrainingRun | undefined): boolean {
  return training === undefined || (training.id === run?.id && training.run === run.run);
}

function decline({ context, enqueue }: TrainingArgs, { exchange }: { readonly exchange: string }): void {
  enqueue.sendTo(context.transport, { type: "decline", exchange });
}

/** The running allocation answers offers of workers. One of a worker that may not be leased now is answered and left alone. */
function passOffer(args: TrainingArgs, request: RequestWith<WorkerOffer>): void {
  const { exchange, peer, identity, message: offer } = request;
  const allocation = args.self.getSnapshot().children["allocation"];
  if (allocation === undefined) return decline(args, request);
  const { class: jobClass } = (allocation.getSnapshot() as SnapshotFrom<typeof allocationMachine>).context.descriptor;
  const mayServe = jobClass === "train" || mayAggregate(args.context, identity);
  const member = memberOf(identity);
  if (!mayServe || isUnwanted(args.context, { peer, member })) {
    return args.enqueue.sendTo(args.context.transport, { type: "respond", exchange, message: { WorkerOffer: {} } });
  }
  const isUnreliable = args.context.unreliable.includes(nodeOf(member));
  args.enqueue.sendTo(allocation, { type: "offer.received", exchange, peer, member, offer, isUnreliable });
}

/** Whether the job lets this member aggregate. By default only members of the scheduler's own domain do: an aggregator sees all updates. */
function mayAggregate({ config: { job }, domain }: TrainingContext, identity: PeerIdentity): boolean {
  const { aggregator } = job.resources;
  // A certificate of the own bundle without a URI name has no domain.
  if (aggregator === undefined) return domain === undefined || (identity.domain ?? domain) === domain;
  const [rule] = makeRules([{ effect: "allow", acts: ["worker.offer"], peers: [aggregator] }]);
  return rule?.fits(identity) === true;
}

function answerData(
  args: TrainingArgs,
  request: RequestWith<{ readonly dataset: string; readonly training?: TrainingRun }>,
): void {
  const { context, enqueue } = args;
  const { exchange, peer, identity, message } = request;
  if (!isOfRun(context, message.training)) return decline(args, request);
  const served = modelFor(context, { peer, member: memberOf(identity) }, message.dataset);
  if (served !== undefined) {
    return enqueue.sendTo(context.transport, { type: "respond", exchange, message: { Data: served } });
  }
  const answer = sliceFor(context, { peer, member: memberOf(identity) }, message.dataset);
  if (answer === undefined) return decline(args, request);
  enqueue.assign({ slices: answer.slices, training: withMessage(context.training, peer, monotonicNow(context.ports)) });
  enqueue.sendTo(context.transport, { type: "respond", exchange, message: { Data: answer.data } });
}

/** A participant reports its own task only. One that ended before its last round is lost. */
function answerJobStatus(
  args: TrainingArgs,
  request: RequestWith<{ readonly task_id: Uuid; readonly status: JobStatus }>,
): void {
  const { context, enqueue } = args;
  const { exchange, peer, identity, message: { task_id, status } } = request;
  const participant = participantBy(context.training, { peer, member: memberOf(identity) });
  if (participant?.taskId !== task_id) return decline(args, request);
  enqueue.sendTo(context.transport, { type: "respond", exchange, message: { JobStatus: {} } });
  if (status.type === "Running") return;
  enqueue.assign({ training: withParticipant(context.training, peer, { ended: true }) });
  if (!participant.ended) enqueue(() => reportEnded(context, participant, status));
  if (participant.state === "done") return;
  enqueue.raise({
    type: "participant.lost",
    peer,
    reason: `its job ended before the last round: ${failureOf(status)}`,
  });
}

/** The next slice for a trainer; `NotFound` for another data set; undefined for a peer that is no trainer of this job. */
function sliceFor(
  context: TrainingContext,
  { peer, member }: { readonly peer: Peer; readonly member: Member },
  dataset: string,
) {
  const { training, slices, dataset: found } = context;
  if (training.trainers[peer]?.member !== member || found === undefined) return undefined;
  if (dataset !== context.config.job.dataset) return { slices, data: "NotFound" as const };
  const { cursor, index } = takeSlice(slices);
  const grant = grantFor(context, training.trainers[peer], { dataset, index, peer });
  return { slices: cursor, data: { Success: { data_provider: found.provider, index, ...grant } } };
}

/** A grant for the data node: this trainer may read this slice, and read it again after a broken pull. */
function grantFor(
  { ports, sign }: TrainingContext,
  participant: { readonly jobId: string } | undefined,
  slice: { readonly dataset: string; readonly index: number; readonly peer: Peer },
): { readonly grant?: Grant } {
  if (sign === undefined || participant === undefined) return {};
  const expires = instantFromMs(ports.now() + grantMs);
  return { grant: signGrant({ ...slice, job: participant.jobId, expires }, sign) };
}

function reportEnded({ ports }: TrainingContext, { peer, jobId, taskId }: Participant, status: JobStatus): void {
  const outcome = status.type.toLowerCase();
  ports.report({
    level: status.type === "Finished" ? "info" : "warn",
    event: "job.ended",
    message: `Job ${jobId} of ${peer} ended: ${failureOf(status)}`,
    fields: { job: jobId, task: taskId, peer, outcome, reason: failureOf(status) },
  });
}

function answerProgressRequest(args: TrainingArgs, request: RequestWith<ProgressRequest>): void {
  const { context, enqueue } = args;
  const { exchange, peer, identity, message: { job_id: jobId } } = request;
  if (!isOfRun(context, request.message.training)) return decline(args, request);
  const progress = withinBatch(context, peer, request.message.progress);
  const { report, receipt, training: named } = request.message;
  const [now, namesTraining] = [monotonicNow(context.ports), named !== undefined];
  const received = { peer, member: memberOf(identity), jobId, progress, report, receipt, namesTraining, now };
  const { training: answered, answer } = answerProgress(context.training, received, planOf(context));
  if (answer === undefined) return decline(args, request);
  const { training, ...line } = withMetrics(answered, peer, progress);
  const isStatus = typeof progress === "object" && "status" in progress &&
    (answer.type === "Continue" || answer.type === "ScheduleUpdate");
  const samples = context.samples + (isStatus ? progress.status.batch_size : 0);
  enqueue.assign({ training, samples: Math.min(samples, Number.MAX_SAFE_INTEGER) });
  if (context.workers().speakers[peer] === undefined) {
    enqueue.sendTo(context.parent, { type: "worker.known", peer, as: namesTraining ? "ours" : "foreign" });
  }
  enqueue.sendTo(context.transport, { type: "respond", exchange, message: answer });
  const refusal = namesTraining ? undefined : foreignRefusal(context, peer);
  if (refusal !== undefined) enqueue.raise({ type: "participant.lost", peer, reason: refusal, isRejected: true });
  enqueue(() => reportProgress(context, { peer, ...line, roundsDone: training.roundsDone }));
  if (report === undefined || peer !== context.training.aggregator?.peer) {
    if (receipt !== undefined) reportReceipt(args, { peer, receipt, training });
  } else if (training.roundsDone > context.training.roundsDone) judgeRound(args, peer, report);
  else if (report.round === training.roundsDone + 1) judgeEarly(args, peer, report);
}

/**
 * A status counts at most the rows of a batch as the trainer's job has them, and the samples of a round: of how much memory a batch is
 * made, the trainer itself claims.
 */
function withinBatch({ training, config: { job } }: TrainingContext, peer: Peer, progress: Progress): Progress {
  const trainer = training.trainers[peer];
  if (trainer === undefined || typeof progress !== "object" || !("status" in progress)) return progress;
  const most = Math.min(batchSize(trainer.gpu, job), job.rounds.avgSamplesBetweenUpdates);
  return { status: { batch_size: Math.min(progress.status.batch_size, most) } };
}

/** The training after progress of a participant, and what is reported of the progress: metrics as far as they are noted. */
function withMetrics(training: Training, peer: Peer, progress: Progress) {
  if (typeof progress !== "object" || !("metrics" in progress)) {
    return { training, event: "job.progress", fields: { peer, progress } };
  }
  const { round, metrics: sent } = progress.metrics;
  const { noted, metrics, dropped } = noteMetrics(participantOf(training, peer)?.metrics, training.roundsDone, sent);
  const fields = { peer, round, metrics, ...(dropped === 0 ? {} : { dropped }) };
  return { training: withParticipant(training, peer, { metrics: noted }), event: "round.metrics", fields };
}

function reportProgress(
  { ports, training: before, model }: TrainingContext,
  { peer, event, fields, roundsDone }: {
    readonly peer: Peer;
    readonly event: string;
    readonly fields: NonNullable<Report["fields"]>;
    readonly roundsDone: number;
  },
): void {
  if (roundsDone > before.roundsDone) {
    // A round of a model that is kept is finished when it is on disk.
    if (model !== undefined) return;
    ports.report({
      level: "info",
      event: "round.finished",
      message: `Round ${roundsDone} finished`,
      fields: { round: roundsDone, trainers: trainersOf(before).length },
    });
    return;
  }
  ports.report({ level: "debug", event, message: `Progress of ${peer}`, fields });
}

/** Hands a push of the aggregator to the model or the evaluation, and a pull of a member to the model; rejects all other streams. */
export function routeStream(args: TrainingArgs, stream: ReceivedStream): void {
  if (offerToModel(args, stream)) return;
  const { context, self, enqueue } = args;
  const { peer, identity } = stream;
  const evaluation = self.getSnapshot().children["evaluation"];
  const wanted = evaluation !== undefined && context.evaluation === "on" &&
    memberOf(identity) === context.training.aggregator?.member;
  if (wanted) enqueue.sendTo(evaluation, { type: "update.offered", ...offeredStream(stream), peer });
  else enqueue(() => rejectStream(context, stream));
}
