/**
 * A scheduler's actions around leases and dispatch.
 *
 * @module
 */
import { type Member, nodeOf } from "../../pki/member.ts";
import type { RequestAnswer } from "../../transport/port.ts";
import type { AggregationRules, Descriptor, JobSpec, Peer, Uuid } from "../../transport/protocols/messages.ts";
import { aggregationDefault } from "../config/defaults.ts";
import { monotonicNow } from "../runtime/ports.ts";
import type { GrantedLease } from "./allocation.ts";
import { answerAs } from "../runtime/role.ts";
import { aggregateJob, trainJob } from "./job_spec.ts";
import {
  dispatchTimeoutMs,
  isReported,
  keptRoundOf,
  participantsOf,
  redispatchAgainMs,
  type TrainingArgs,
  type TrainingContext,
  type TrainingEvent,
} from "./training_setup.ts";
import { enteredTrainers, lateTrainers, rosterOf, withAcknowledged } from "./roster.ts";
import {
  type Aggregator,
  leasedAggregator,
  leasedTrainer,
  participantOf,
  type Trainer,
  withParticipant,
} from "./training.ts";
import { dispatchDelayMs } from "./workers.ts";

/** After this many refusals in a row of a changed job, an aggregator is lost. */
const refusalsMax = 3;

function isDispatched(answer: RequestAnswer): boolean {
  return answer.type === "response" && "DispatchJob" in answer.message &&
    typeof answer.message.DispatchJob === "object" && "Dispatched" in answer.message.DispatchJob;
}

/** Takes a granted lease: starts renewing it, and makes its worker a participant. */
export function takeLease(
  { context, self, enqueue }: TrainingArgs,
  { class: jobClass, lease }: { readonly class: Descriptor["class"]; readonly lease: GrantedLease },
): void {
  // The allocation may have been given up meanwhile: then the existing participant keeps its part, and this lease lapses.
  const isTaken = participantOf(context.training, lease.peer) !== undefined ||
    (jobClass === "aggregate" && context.training.aggregator !== undefined);
  if (isTaken) return;
  const { peer, member } = lease;
  const participant = { peer, member, leaseId: lease.id, taskId: context.ports.uuid(), jobId: context.ports.uuid() };
  const { training, unreliable } = context;
  enqueue.assign({
    unreliable: unreliable.filter((node) => node !== nodeOf(member)),
    training: jobClass === "train"
      ? {
        ...training,
        trainers: {
          ...training.trainers,
          [lease.peer]: leasedTrainer(participant, {
            now: monotonicNow(context.ports),
            roundsDone: keptRoundOf(context),
            isCounted: !self.getSnapshot().matches("running"),
            gpu: lease.resources.gpu,
          }),
        },
      }
      : { ...training, aggregator: leasedAggregator(participant) },
  });
  enqueue.sendTo(context.parent, { type: "worker.leased", peer, leaseId: lease.id });
  enqueue.spawnChild("heldLease", {
    id: `lease/${lease.id}`,
    input: {
      id: lease.id,
      giver: lease.peer,
      member: lease.member,
      timeout: lease.timeout,
      training: context.run,
      transport: context.transport,
      ports: context.ports,
      parent: self,
    },
  });
  enqueue(() => reportGranted(context, jobClass, lease));
}

function reportGranted({ ports }: TrainingContext, jobClass: string, lease: GrantedLease): void {
  ports.report({
    level: "info",
    event: "lease.granted",
    message: `Holds a lease of ${lease.peer} for ${jobClass}`,
    fields: { lease: lease.id, peer: lease.peer, class: jobClass, price: lease.price, resources: lease.resources },
  });
}

/** Sends one participant its job, once its unaccepted offers are over, in place of one that still waits for them. */
function sendDispatch(
  { context, self, enqueue }: TrainingArgs,
  participant: { readonly peer: Peer; readonly member: Member; readonly taskId: Uuid },
  spec: JobSpec,
): void {
  const { peer, member, taskId } = participant;
  const dispatch = context.dispatches + 1;
  const delay = dispatchDelayMs(context.workers(), { peer, now: monotonicNow(context.ports) });
  enqueue.cancel(`dispatch/${taskId}`);
  enqueue.sendTo(context.transport, {
    type: "request",
    id: `dispatch/${taskId}/${dispatch}`,
    peer,
    to: { member },
    protocol: "/hypha-api/0.0.1",
    message: {
      DispatchJob: { id: taskId, spec, ...(context.run === undefined ? {} : { training: context.run, dispatch }) },
    },
    timeoutMs: dispatchTimeoutMs,
    replyTo: answerAs(
      self,
      (answer: RequestAnswer): TrainingEvent => ({ type: "dispatch.answered", peer, taskId, dispatch, answer }),
    ),
  }, delay === 0 ? {} : { delay, id: `dispatch/${taskId}` });
}

/** Sends the aggregator its job, or the same job again with the trainers that are left; nothing once its job is over. */
export function dispatchAggregator(args: TrainingArgs): void {
  const { context, enqueue } = args;
  const { aggregator } = context.training;
  if (aggregator === undefined || aggregator.state === "done" || aggregator.ended) return;
  const participants = participantsOf(context);
  const again = aggregator.state === "running";
  const [sent, dispatch] = [rosterOf(context.training), context.dispatches + 1];
  enqueue.assign({
    dispatches: dispatch,
    training: { ...context.training, aggregator: { ...aggregator, sent, dispatch } },
  });
  const spec = aggregateJob(aggregator.jobId, context.config.job, {
    ...participants,
    ...sent,
    aggregation: rulesOf(context),
  });
  enqueue.cancel("redispatch");
  sendDispatch(args, aggregator, spec);
  if (aggregator.refusals > 0 && !isReported(aggregator.refusals)) return;
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: again ? "job.redispatched" : "job.dispatched",
      message: `Dispatched aggregation of ${sent.updates.length} trainers to ${aggregator.peer}`,
      fields: {
        job: aggregator.jobId,
        task: aggregator.taskId,
        peer: aggregator.peer,
        class: "aggregate",
        trainers: sent.updates,
        results: sent.results,
      },
    })
  );
}

/** What the aggregator judges and joins updates by, where that is not the usual; undefined where it is. */
function rulesOf({ model, config, training }: TrainingContext): AggregationRules | undefined {
  const { method, trim, clipNormRatio, maxNormRatio, quorum, roundDeadlineS } = config.job.aggregation;
  const late = model === undefined ? [] : lateTrainers(training, model.checkpoint.record.round);
  const rules: AggregationRules = {
    ...(model === undefined ? {} : { layout: model.checkpoint.layout }),
    ...(method === "mean" ? {} : { method, trim }),
    ...(clipNormRatio === aggregationDefault.clipNormRatio ? {} : { clip_norm_ratio: clipNormRatio }),
    ...(maxNormRatio === aggregationDefault.maxNormRatio ? {} : { max_norm_ratio: maxNormRatio }),
    ...(quorum === 1 ? {} : { quorum, deadline_s: roundDeadlineS }),
    ...(late.length === 0 ? {} : { late }),
  };
  return Object.keys(rules).length === 0 ? undefined : rules;
}

/** Sends each trainer that has no job yet its job, once the aggregator will send it results. */
export function dispatchTrainers(args: TrainingArgs): void {
  const { context, enqueue } = args;
  const participants = participantsOf(context);
  const { training } = context;
  const entered = enteredTrainers(training);
  const told = entered.map((
    trainer,
  ): [Peer, Trainer] => [trainer.peer, { ...trainer, told: training.aggregator?.jobId }]);
  enqueue.assign({
    dispatches: context.dispatches + 1,
    training: { ...training, trainers: { ...training.trainers, ...Object.fromEntries(told) } },
  });
  for (const trainer of entered) {
    const spec = trainJob(trainer, context.config.job, participants);
    sendDispatch(args, trainer, spec);
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

/** Notes the answer to a dispatch: the participant runs, or is lost to this training. */
export function noteDispatch(
  args: TrainingArgs,
  { peer, taskId, dispatch, answer }: Extract<TrainingEvent, { type: "dispatch.answered" }>,
): void {
  const { context, enqueue } = args;
  const participant = participantOf(context.training, peer);
  if (participant === undefined || participant.taskId !== taskId) return;
  if (isDispatched(answer)) {
    const training = participant === context.training.aggregator
      ? withAcknowledged(context.training, dispatch)
      : context.training;
    const began = withParticipant(training, peer, { state: "running" });
    const isNew = participant.state === "leased";
    enqueue.assign({ training: isNew ? began : training });
    return;
  }
  const why = answer.type === "request.failed" ? answer.error.message : "it refused";
  if (participant.state === "leased") {
    enqueue.raise({ type: "participant.lost", peer: participant.peer, reason: `it did not take the job: ${why}` });
    return;
  }
  const { aggregator } = context.training;
  if (participant !== aggregator || aggregator.state !== "running") return;
  dispatchAgain(args, aggregator, { why, isRefusal: answer.type === "response" });
}

/** Sends the aggregator its changed job again. After some refusals in a row it is lost where the model is kept: another one can take over. */
function dispatchAgain(
  { context, enqueue }: TrainingArgs,
  aggregator: Aggregator,
  { why, isRefusal }: { readonly why: string; readonly isRefusal: boolean },
): void {
  const { peer, jobId: job } = aggregator;
  const refusals = aggregator.refusals + (isRefusal ? 1 : 0);
  enqueue.assign({ training: { ...context.training, aggregator: { ...aggregator, refusals } } });
  if (refusals >= refusalsMax && context.model !== undefined) {
    const reason = `it refused its trainers ${refusals} times in a row`;
    return enqueue.raise({ type: "participant.lost", peer, reason });
  }
  if (!isRefusal || isReported(refusals)) {
    enqueue(() =>
      context.ports.report({
        level: "warn",
        event: "job.redispatch_failed",
        message: `Cannot update the trainers of aggregator ${peer}: ${why}; trying again`,
        fields: { peer, job },
      })
    );
  }
  enqueue.raise({ type: "redispatch" }, { delay: redispatchAgainMs, id: "redispatch" });
}
