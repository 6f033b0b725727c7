/**
 * A training's actions around members that take the places of lost ones, where the scheduler keeps the model.
 *
 * @module
 */
import type { RequestAnswer } from "../../transport/port.ts";
import type { Peer } from "../../transport/protocols/messages.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { answerAs, type RoleOutcome } from "../runtime/role.ts";
import {
  type ChangeAnswered,
  minTrainersDefault,
  type TrainingArgs,
  type TrainingContext,
  type TrainingEvent,
  waitSecondsDefault,
} from "./training_setup.ts";
import { restedWorkers } from "./participants.ts";
import { untoldTrainers } from "./roster.ts";
import { type Aggregator, trainersOf, withTrainer } from "./training.ts";

/** A worker answers that it has another aggregator within this, in milliseconds. */
export const changeTimeoutMs = 10_000;
/** A worker that did not answer gets the change again after this, in milliseconds. */
export const changeAgainMs = 1_000;

/** Tells the workers of trainers that another member aggregates. */
export function changeTrainers({ context, self, enqueue }: TrainingArgs): void {
  let { training } = context;
  const { aggregator } = training;
  if (aggregator === undefined) return;
  for (const trainer of untoldTrainers(training)) {
    training = withTrainer(training, { ...trainer, told: aggregator.jobId });
    sendChange({ context, self, enqueue }, trainer.peer, aggregator);
  }
  enqueue.assign({ training, dispatches: context.dispatches + 1 });
}

function sendChange(
  { context, self, enqueue }: Pick<TrainingArgs, "context" | "self" | "enqueue">,
  peer: Peer,
  { peer: aggregator, jobId: told }: Aggregator,
): void {
  const { run, training: { trainers } } = context;
  const trainer = trainers[peer];
  if (run === undefined || trainer === undefined) return;
  const { jobId, member } = trainer;
  const dispatch = context.dispatches + 1;
  enqueue.sendTo(context.transport, {
    type: "request",
    id: `change/${context.ports.uuid()}`,
    peer,
    to: { member },
    protocol: "/hypha-training/1",
    message: { Change: { training: run.id, run: run.run, job: jobId, aggregator, results: [aggregator], dispatch } },
    timeoutMs: changeTimeoutMs,
    replyTo: answerAs(
      self,
      (answer: RequestAnswer): TrainingEvent => ({ type: "change.answered", peer, jobId, told, answer }),
    ),
  });
}

/** A worker that cannot follow a change is lost; one that did not answer gets it again. */
export function noteChange(
  { context, enqueue }: TrainingArgs,
  { peer, jobId, told, answer }: ChangeAnswered,
): void {
  const { training } = context;
  const isCurrent = training.trainers[peer]?.jobId === jobId && training.aggregator?.jobId === told;
  if (!isCurrent) return;
  if (answer.type === "response") {
    if ("answer" in answer.message && answer.message.answer === "Ok") return;
    enqueue.raise({ type: "participant.lost", peer, reason: "its worker did not take another aggregator" });
  } else if (answer.error.code === "unsupported") {
    enqueue.raise({ type: "participant.lost", peer, reason: "its worker knows no other aggregator than its first" });
  } else enqueue.raise({ type: "change.again", peer }, { delay: changeAgainMs, id: `change/${peer}` });
}

/** Tells a worker again. */
export function changeAgain(args: TrainingArgs, { peer }: { readonly peer: Peer }): void {
  const { dispatches, training: { aggregator, trainers } } = args.context;
  if (aggregator === undefined || trainers[peer]?.told !== aggregator.jobId) return;
  sendChange(args, peer, aggregator);
  args.enqueue.assign({ dispatches: dispatches + 1 });
}

/** Lost workers whose rest is over may be leased again. */
export function forgive({ context, enqueue }: TrainingArgs): void {
  const { rested, excluded } = restedWorkers(context);
  if (rested.length === 0) return;
  enqueue.assign({ excluded });
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "allocation.forgiven",
      message: `${rested.length} lost workers may be leased again`,
      fields: { forgiven: rested },
    })
  );
}

/** What a training lacks. */
function lackOf({ training, config }: TrainingContext): string {
  const { minTrainers = minTrainersDefault } = config.job.resources;
  const trainers = `${trainersOf(training).length} trainers of at least ${minTrainers}`;
  return training.aggregator === undefined ? `no aggregator, and ${trainers}` : trainers;
}

/** When a training that begins to wait for members has waited long enough. */
export function waitEnd(
  { ports, config: { job: { resources: { waitS = waitSecondsDefault } } } }: TrainingContext,
): number {
  return monotonicNow(ports) + waitS * 1_000;
}

/** The training waits for members. */
export function reportWaiting({ context }: { readonly context: TrainingContext }): void {
  const { ports, id, training, config } = context;
  const { waitS = waitSecondsDefault } = config.job.resources;
  ports.report({
    level: "warn",
    event: "training.waiting",
    message: `Training ${id} has ${lackOf(context)}: waits for workers, up to ${waitS} s`,
    fields: {
      training: id,
      trainers: trainersOf(training),
      aggregator: training.aggregator?.peer ?? null,
      waitS,
      hint: "Start workers whose executors, resources and price fit the job; lost ones get requests again too.",
    },
  });
}

/** The training has members enough again. */
export function reportStrong({ context: { ports, id, training } }: { readonly context: TrainingContext }): void {
  ports.report({
    level: "info",
    event: "training.resumed",
    message: `Training ${id} goes on with ${trainersOf(training).length} trainers`,
    fields: { training: id, trainers: trainersOf(training) },
  });
}

/** Why a training that waited too long failed. */
export function failedWaiting(context: TrainingContext): RoleOutcome {
  const { waitS = waitSecondsDefault } = context.config.job.resources;
  return { type: "failed", reason: `it has ${lackOf(context)}, and waited ${waitS} s` };
}
