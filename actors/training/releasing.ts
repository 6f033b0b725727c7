/**
 * A training's actions around its run and the leases that it no longer needs. Its scheduler tells workers of ours by message; a lease
 * of any other worker lapses.
 *
 * @module
 */
import { monotonicNow } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { keptWeights } from "./repository_weights.ts";
import type { TakenRun } from "./run_number.ts";
import type { TrainingArgs, TrainingContext, TrainingFact } from "./training_setup.ts";
import { allParticipants, type Participant } from "./training.ts";
import { executorEndMs, foreignWaitMs } from "./workers.ts";

/** Takes the run's number. Where the scheduler keeps no model, each run begins at round 0. */
export function noteRun({ context, enqueue }: TrainingArgs, { training, isRestart }: TakenRun): void {
  enqueue.assign({ run: training, isRestart });
  const { id, run } = training;
  const keepsModel = keptWeights(context.config.job) !== undefined;
  const isRepeated = !keepsModel && isRestart;
  const hint = "With keep = true in [model] of its job, a training goes on after its newest round";
  enqueue(() =>
    context.ports.report({
      level: isRepeated ? "warn" : "info",
      event: "run.began",
      message: isRepeated
        ? `Run ${run} of training ${id} begins again at round 0: the model of its earlier runs was not kept`
        : `Run ${run} of training ${id} begins`,
      fields: { training: id, run, ...(keepsModel ? {} : { round: 0 }), ...(isRepeated ? { hint } : {}) },
    })
  );
}

/** The training has a run. */
export function announceRun({ context }: { readonly context: TrainingContext }): TrainingFact {
  return { type: "training.began", run: present(context.run, "the run"), isRestart: context.isRestart };
}

/** Releases the lease of a participant, which ends its job. */
export function release(
  { context, self, enqueue }: Pick<TrainingArgs, "context" | "self" | "enqueue">,
  { peer, leaseId }: Pick<Participant, "peer" | "leaseId">,
): void {
  const lease = self.getSnapshot().children[`lease/${leaseId}`]?.getSnapshot() as
    | { readonly context?: { readonly endsAt?: number } }
    | undefined;
  const endsAt = lease?.context?.endsAt;
  const until = endsAt === undefined ? monotonicNow(context.ports) + foreignWaitMs : endsAt + executorEndMs;
  enqueue.sendTo(context.parent, { type: "worker.left", peer, leaseId, until });
}

/** After the last round: releases the leases whose jobs have ended. Executors of the others may still save what they have. */
export function releaseEnded(args: TrainingArgs): void {
  for (const participant of allParticipants(args.context.training)) {
    if (participant.ended) release(args, participant);
  }
}

/** The same while the last round is still measured: no member is needed for that. Leases of jobs that have not ended lapse. */
export function letGo(args: TrainingArgs): void {
  const { context: { training }, enqueue } = args;
  releaseEnded(args);
  for (const { leaseId } of allParticipants(training)) enqueue.stopChild(`lease/${leaseId}`);
  enqueue.assign({ training: { ...training, trainers: {}, aggregator: undefined } });
}

/** Gives the training up: releases all leases, which ends all jobs. */
export function releaseAll(args: TrainingArgs): void {
  for (const participant of allParticipants(args.context.training)) release(args, participant);
}
