/**
 * A training's actions around its run and the leases that it no longer needs. Its scheduler tells workers of ours by message; a lease
 * of any other worker lapses.
 *
 * @module
 */
import { monotonicNow } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import type { TakenRun } from "./run_number.ts";
import type { TrainingArgs, TrainingContext, TrainingFact } from "./training_setup.ts";
import { allParticipants, type Participant } from "./training.ts";
import { executorEndMs, foreignWaitMs } from "./workers.ts";

/** Takes the run's number. */
export function noteRun({ context, enqueue }: TrainingArgs, { training, isRestart }: TakenRun): void {
  enqueue.assign({ run: training, isRestart });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "run.began",
      message: `Run ${training.run} of training ${training.id} begins`,
      fields: { training: training.id, run: training.run },
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
