/**
 * A scheduler's actions that answer the network: offers, slices, job statuses, progress, pushes.
 *
 * @module
 */
import type { ApiRequest, Grant, JobStatus, Peer, ProgressRequest } from "../../transport/protocols/messages.ts";
import { signGrant } from "../data/grant.ts";
import { instantFromMs } from "../runtime/instant.ts";
import { planOf, type SchedulerContext, type SchedulerEvent, schedulerSetup } from "./scheduler_setup.ts";
import { takeSlice } from "./slices.ts";
import { answerProgress, memberOf, trainersOf, type Training, withMember } from "./training.ts";

/** How long a grant holds, in milliseconds: pulls begin at once; the clocks of two nodes may be a minute or two apart. */
export const grantMs = 300_000;

/** The reason of a failed job, in the worker's words. */
function failureOf(status: JobStatus): string {
  return status.type === "Failed" ? status.reason ?? "its worker gives no reason" : status.type;
}

/** Requests of `/hypha-api/0.0.1`: offers, job statuses, and slices for trainers. */
export const answerApi = schedulerSetup.enqueueActions(({ context, event, self, enqueue }) => {
  if (event.type !== "request.received") return;
  const { exchange, peer } = event;
  const message = event.message as ApiRequest;
  if ("WorkerOffer" in message) {
    const allocation = self.getSnapshot().children["allocation"];
    if (allocation === undefined) enqueue.sendTo(context.transport, { type: "decline", exchange });
    else enqueue.sendTo(allocation, { type: "offer.received", exchange, peer, offer: message.WorkerOffer });
    return;
  }
  if ("Data" in message) {
    const answer = sliceFor(context, peer, message.Data.dataset);
    if (answer === undefined) return enqueue.sendTo(context.transport, { type: "decline", exchange });
    enqueue.assign({ slices: answer.slices });
    enqueue.sendTo(context.transport, { type: "respond", exchange, message: { Data: answer.data } });
    return;
  }
  const member = memberOf(context.training, peer);
  if (!("JobStatus" in message) || member?.taskId !== message.JobStatus.task_id) {
    return enqueue.sendTo(context.transport, { type: "decline", exchange });
  }
  enqueue.sendTo(context.transport, { type: "respond", exchange, message: { JobStatus: {} } });
  noteStatus(context, member.peer, message.JobStatus.status, enqueue);
});

/** The next slice for a trainer; `NotFound` for another data set; nothing for whoever holds no job here. */
function sliceFor(context: SchedulerContext, peer: Peer, dataset: string) {
  const { training, slices, dataset: found } = context;
  if (training.trainers[peer] === undefined || found === undefined) return undefined;
  if (dataset !== context.config.job.dataset) return { slices, data: "NotFound" as const };
  const { cursor, index } = takeSlice(slices);
  const grant = grantFor(context, training.trainers[peer], { dataset, index, peer });
  return { slices: cursor, data: { Success: { data_provider: found.provider, index, ...grant } } };
}

/** Our word for the data node that this trainer may read this slice: pulled and, where it broke off, pulled again. */
function grantFor(
  { ports, sign }: SchedulerContext,
  member: { readonly jobId: string } | undefined,
  slice: { readonly dataset: string; readonly index: number; readonly peer: Peer },
): { readonly grant?: Grant } {
  if (sign === undefined || member === undefined) return {};
  const expires = instantFromMs(ports.now() + grantMs);
  return { grant: signGrant({ ...slice, job: member.jobId, expires }, sign) };
}

/** What a worker says of its job: one that ended before its last round is a loss. */
function noteStatus(
  context: SchedulerContext,
  peer: Peer,
  status: JobStatus,
  enqueue: {
    assign(change: { training: Training }): void;
    raise(event: SchedulerEvent): void;
    (action: () => void): void;
  },
): void {
  const member = memberOf(context.training, peer);
  if (member === undefined || status.type === "Running") return;
  const outcome = status.type.toLowerCase();
  enqueue.assign({ training: withMember(context.training, peer, { ended: true }) });
  enqueue(() =>
    context.ports.report({
      level: status.type === "Finished" ? "info" : "warn",
      event: "job.ended",
      message: `Job ${member.jobId} of ${peer} ended: ${failureOf(status)}`,
      fields: { job: member.jobId, task: member.taskId, peer, outcome, reason: failureOf(status) },
    })
  );
  if (member.state === "done") return;
  enqueue.raise({ type: "member.lost", peer, reason: `its job ended before the last round: ${failureOf(status)}` });
}

/** Progress of a job (`/hypha-progress/0.0.1`). */
export const answerProgressed = schedulerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "request.received") return;
  const { exchange, peer } = event;
  const { job_id: jobId, progress } = event.message as ProgressRequest;
  const received = { peer, jobId, progress, now: context.ports.now() };
  const { training, answer } = answerProgress(context.training, received, planOf(context));
  if (answer === undefined) return enqueue.sendTo(context.transport, { type: "decline", exchange });
  enqueue.assign({ training });
  enqueue.sendTo(context.transport, { type: "respond", exchange, message: answer });
  enqueue(() => reportProgress(context, { peer, progress, roundsDone: training.roundsDone }));
});

function reportProgress(
  { ports, training: before }: SchedulerContext,
  { peer, progress, roundsDone }: {
    readonly peer: Peer;
    readonly progress: ProgressRequest["progress"];
    readonly roundsDone: number;
  },
): void {
  if (roundsDone > before.roundsDone) {
    ports.report({
      level: "info",
      event: "round.finished",
      message: `Round ${roundsDone} finished`,
      fields: { round: roundsDone, trainers: trainersOf(before).length },
    });
    return;
  }
  const metrics = typeof progress === "object" && "metrics" in progress ? progress.metrics : undefined;
  ports.report({
    level: "debug",
    event: metrics === undefined ? "job.progress" : "round.metrics",
    message: `Progress of ${peer}`,
    fields: metrics === undefined ? { peer, progress } : { peer, round: metrics.round, metrics: metrics.metrics },
  });
}

/** A push: the aggregator's, for the evaluation, or nobody's. */
export const routePush = schedulerSetup.enqueueActions(({ context, event, self, enqueue }) => {
  if (event.type !== "stream.received") return;
  const { exchange, peer } = event;
  const evaluation = self.getSnapshot().children["evaluation"];
  const wanted = evaluation !== undefined && context.evaluation === "on" && peer === context.training.aggregator?.peer;
  if (wanted) enqueue.sendTo(evaluation, { type: "update.offered", exchange, peer });
  else enqueue.sendTo(context.transport, { type: "stream.reject", exchange });
});
