/**
 * A scheduler's actions that tell workers something, and what it learns of them: which know `/hypha-training/1`, and which are left alone
 * for a while.
 *
 * @module
 */
import { standsFor } from "../../pki/member.ts";
import type { RequestAnswer, TransportFact } from "../../transport/port.ts";
import type { Peer, TrainingRequest } from "../../transport/protocols/messages.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { answerAs } from "../runtime/role.ts";
import { participantOf } from "../training/training.ts";
import type { TrainingFact } from "../training/training_setup.ts";
import { foreignWaitMs, mayBeForeign, withHeld, withLease, withSpeaker } from "../training/workers.ts";
import { runningTrainings, type SchedulerArgs, type SchedulerContext, type SchedulerEvent } from "./scheduler_setup.ts";

/** A worker answers on `/hypha-training/1` within this, in milliseconds. */
export const trainingTimeoutMs = 3_000;

type Fact<Type extends TrainingFact["type"]> = Extract<TrainingFact, { type: Type }>;

/** Sends a worker a request about a training, unless it is known to be foreign. Its answer tells whether it knows the protocol. */
function tell({ context, self, enqueue }: SchedulerArgs, peer: Peer, message: TrainingRequest): void {
  if (context.workers.speakers[peer] === "foreign") return;
  enqueue.sendTo(context.transport, {
    type: "request",
    id: `training/${context.ports.uuid()}`,
    peer,
    protocol: "/hypha-training/1",
    message,
    timeoutMs: trainingTimeoutMs,
    replyTo: answerAs(self, (answer: RequestAnswer): SchedulerEvent => ({ type: "training.answered", peer, answer })),
  });
}

/** A training has something to say to a worker. */
export function tellWorker(args: SchedulerArgs, { peer, message }: Fact<"worker.told">): void {
  tell(args, peer, message);
}

/** Notes whether a worker knows `/hypha-training/1`. */
export function noteAnswer(
  args: SchedulerArgs,
  { peer, answer }: { readonly peer: Peer; readonly answer: RequestAnswer },
): void {
  const isForeign = answer.type === "request.failed" && answer.error.code === "unsupported";
  if (answer.type === "response" || isForeign) noteKnown(args, { peer, as: isForeign ? "foreign" : "ours" });
}

/** The same, of a report. */
export function noteKnown(
  { context, enqueue }: SchedulerArgs,
  { peer, as }: { readonly peer: Peer; readonly as: "ours" | "foreign" },
): void {
  enqueue.assign({ workers: withSpeaker(context.workers, peer, as) });
}

/** An offer became a lease. */
export function noteLeased({ context, enqueue }: SchedulerArgs, { peer, leaseId }: Fact<"worker.leased">): void {
  enqueue.assign({ workers: withLease(context.workers, { peer, id: leaseId }) });
}

/** A worker leaves a training: releases its lease, which ends its job; a worker that knows no release is left alone until it is over. */
export function noteLeft(args: SchedulerArgs, { peer, leaseId, until }: Fact<"worker.left">): void {
  const { context, enqueue } = args;
  enqueue.assign({ workers: withHeld(context.workers, peer, { until, now: monotonicNow(context.ports) }) });
  tell(args, peer, { Release: { lease: leaseId } });
}

/** A training has a run. Where there were earlier ones, what they left at the workers that are connected is ended. */
export function noteBegan(args: SchedulerArgs, { run, isRestart }: Fact<"training.began">): void {
  const { context, enqueue } = args;
  if (!isRestart) return;
  enqueue.assign({ restarted: { ...context.restarted, [run.id]: run.run } });
  const workers = context.members.filter(({ role }) => standsFor(role, "worker")).map(({ peer }) => peer);
  for (const peer of new Set(workers)) endBygone(args, peer, [[run.id, run.run]]);
}

/** The same at a worker that connects. */
export function endBygoneAt(
  args: SchedulerArgs,
  { peer, identity }: Pick<Extract<TransportFact, { type: "peer.established" }>, "peer" | "identity">,
): void {
  const isKnown = args.context.workers.speakers[peer] !== undefined;
  if (standsFor(identity.role, "worker") && !isKnown) endBygone(args, peer, Object.entries(args.context.restarted));
}

function endBygone(args: SchedulerArgs, peer: Peer, runs: readonly (readonly [id: string, run: number])[]): void {
  const trainings = runningTrainings(args.self).map(({ snapshot }) => snapshot.context);
  for (const [id, run] of runs) {
    const isMember = trainings.some(({ id: other, training }) =>
      other === id && participantOf(training, peer) !== undefined
    );
    if (!isMember) endRunsBefore(args, peer, { id, run }, "its scheduler was restarted");
  }
}

/** Ends what a worker has of runs before this one. */
export function endRunsBefore(
  args: SchedulerArgs,
  peer: Peer,
  { id, run }: { readonly id: string; readonly run: number },
  reason: string,
): void {
  tell(args, peer, { End: { training: id, run: Math.max(0, run - 1), job: null, reason } });
}

/** Ends what a worker has of a run. */
export function endRun(
  args: SchedulerArgs,
  peer: Peer,
  { id, run }: { readonly id: string; readonly run: number },
  reason: string,
): void {
  tell(args, peer, { End: { training: id, run, job: null, reason } });
}

/** Whether a worker's offers are left alone: its leftovers of an earlier run or lease could be taken for the new work. */
export function isHeldBack({ workers, restarted, startedAt, ports }: SchedulerContext, peer: Peer): boolean {
  const isRestart = Object.keys(restarted).length > 0;
  const until = Math.max(isRestart ? startedAt + foreignWaitMs : 0, workers.heldUntil[peer] ?? 0);
  return mayBeForeign(workers, peer) && monotonicNow(ports) < until;
}
