/**
 * A scheduler's actions around leases and dispatch.
 *
 * @module
 */
import type { RequestAnswer } from "../../transport/port.ts";
import type { Descriptor, JobSpec, Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { GrantedLease } from "./allocation.ts";
import { answerAs } from "../runtime/role.ts";
import { aggregateJob, trainJob } from "./job_spec.ts";
import {
  dispatchTimeoutMs,
  participantsOf,
  redispatchAgainMs,
  type SchedulerArgs,
  type SchedulerContext,
  type SchedulerEvent,
} from "./scheduler_setup.ts";
import { leasedAggregator, leasedTrainer, memberOf, withMember } from "./training.ts";

function isDispatched(answer: RequestAnswer): boolean {
  return answer.type === "response" && "DispatchJob" in answer.message &&
    typeof answer.message.DispatchJob === "object" && "Dispatched" in answer.message.DispatchJob;
}

/** Takes a granted lease: starts renewing it, and makes its worker a member. */
export function takeLease(
  { context, self, enqueue }: SchedulerArgs,
  { class: jobClass, lease }: { readonly class: Descriptor["class"]; readonly lease: GrantedLease },
): void {
  // The allocation may have been given up meanwhile: then the existing member keeps its part, and this lease lapses.
  const isTaken = memberOf(context.training, lease.peer) !== undefined ||
    (jobClass === "aggregate" && context.training.aggregator !== undefined);
  if (isTaken) return;
  const member = { peer: lease.peer, leaseId: lease.id, taskId: context.ports.uuid(), jobId: context.ports.uuid() };
  const { training } = context;
  enqueue.assign({
    training: jobClass === "train"
      ? { ...training, trainers: { ...training.trainers, [lease.peer]: leasedTrainer(member, context.ports.now()) } }
      : { ...training, aggregator: leasedAggregator(member) },
  });
  enqueue.spawnChild("heldLease", {
    id: `lease/${lease.id}`,
    input: {
      id: lease.id,
      giver: lease.peer,
      timeout: lease.timeout,
      transport: context.transport,
      ports: context.ports,
      parent: self,
    },
  });
  enqueue(() => reportGranted(context, jobClass, lease));
}

function reportGranted({ ports }: SchedulerContext, jobClass: string, lease: GrantedLease): void {
  ports.report({
    level: "info",
    event: "lease.granted",
    message: `${lease.peer} leases itself for ${jobClass}`,
    fields: { lease: lease.id, peer: lease.peer, class: jobClass, price: lease.price, resources: lease.resources },
  });
}

/** Sends one member its job. */
function dispatchAsk(
  { context, self }: Pick<SchedulerArgs, "context" | "self">,
  member: { readonly peer: Peer; readonly taskId: Uuid },
  spec: JobSpec,
) {
  return {
    type: "request" as const,
    id: `dispatch/${member.taskId}/${context.dispatches + 1}`,
    peer: member.peer,
    protocol: "/hypha-api/0.0.1" as const,
    message: { DispatchJob: { id: member.taskId, spec } },
    timeoutMs: dispatchTimeoutMs,
    replyTo: answerAs(
      self,
      (answer: RequestAnswer): SchedulerEvent => ({
        type: "dispatch.answered",
        peer: member.peer,
        taskId: member.taskId,
        answer,
      }),
    ),
  };
}

/** Sends the aggregator its job, or the same job again with the trainers that are left. */
export function dispatchAggregator({ context, self, enqueue }: SchedulerArgs): void {
  const { aggregator } = context.training;
  if (aggregator === undefined) return;
  const participants = participantsOf(context);
  const again = aggregator.state === "running";
  enqueue.assign({
    dispatches: context.dispatches + 1,
    training: { ...context.training, aggregator: { ...aggregator, knows: participants.trainers } },
  });
  const spec = aggregateJob(aggregator.jobId, context.config.job, participants);
  enqueue.sendTo(context.transport, dispatchAsk({ context, self }, aggregator, spec));
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: again ? "job.redispatched" : "job.dispatched",
      message: `Dispatched aggregation of ${participants.trainers.length} trainers to ${aggregator.peer}`,
      fields: {
        job: aggregator.jobId,
        task: aggregator.taskId,
        peer: aggregator.peer,
        class: "aggregate",
        trainers: participants.trainers,
      },
    })
  );
}

/** Sends each trainer that has no job yet its job. */
export function dispatchTrainers({ context, self, enqueue }: SchedulerArgs): void {
  const participants = participantsOf(context);
  enqueue.assign({ dispatches: context.dispatches + 1 });
  for (const trainer of Object.values(context.training.trainers)) {
    if (trainer.state !== "leased") continue;
    const spec = trainJob(trainer.jobId, context.config.job, participants);
    enqueue.sendTo(context.transport, dispatchAsk({ context, self }, trainer, spec));
    enqueue(() =>
      context.ports.report({
        level: "info",
        event: "job.dispatched",
        message: `Dispatched training to ${trainer.peer}`,
        fields: { job: trainer.jobId, task: trainer.taskId, peer: trainer.peer, class: "train" },
      })
    );
  }
}

/** Notes the answer to a dispatch: the member runs, or is lost to this training. */
export function noteDispatch(
  { context, enqueue }: SchedulerArgs,
  { peer, taskId, answer }: Extract<SchedulerEvent, { type: "dispatch.answered" }>,
): void {
  const member = memberOf(context.training, peer);
  if (member === undefined || member.taskId !== taskId) return;
  if (isDispatched(answer)) {
    if (member.state !== "leased") return;
    enqueue.assign({ training: withMember(context.training, member.peer, { state: "running" }) });
    return;
  }
  const why = answer.type === "request.failed" ? answer.error.message : "it refused";
  if (member.state === "leased") {
    enqueue.raise({ type: "member.lost", peer: member.peer, reason: `it did not take the job: ${why}` });
    return;
  }
  enqueue(() =>
    context.ports.report({
      level: "warn",
      event: "job.redispatch_failed",
      message: `Cannot update the trainers of aggregator ${member.peer}: ${why}; trying again`,
      fields: { peer: member.peer, job: member.jobId },
    })
  );
  enqueue.raise({ type: "redispatch" }, { delay: redispatchAgainMs, id: "redispatch" });
}
