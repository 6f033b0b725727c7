/**
 * A scheduler's actions around the run of its training and the leases that it no longer needs. Workers of ours are told by message;
 * a lease of any other worker lapses.
 *
 * @module
 */
import { standsFor } from "../../pki/member.ts";
import type { RequestAnswer, TransportFact } from "../../transport/port.ts";
import type { Peer, TrainingRequest, Uuid } from "../../transport/protocols/messages.ts";
import { foreignWaitMs } from "./foreign.ts";
import { answerAs } from "../runtime/role.ts";
import { type TakenRun, trainingIdOf, unrememberedRun } from "./run_number.ts";
import type { SchedulerArgs, SchedulerEvent } from "./training_setup.ts";
import { allParticipants, type Participant } from "./training.ts";

/** A worker answers on `/hypha-training/1` within this, in milliseconds. */
export const trainingTimeoutMs = 3_000;

/** Takes the run's number. */
export function noteRun({ context, enqueue }: SchedulerArgs, { training, isRestart, problem }: TakenRun): void {
  enqueue.assign({ run: training, isRestart });
  enqueue(() =>
    context.ports.report({
      level: problem === undefined ? "info" : "warn",
      event: problem === undefined ? "run.began" : "run.unkept",
      message: problem === undefined
        ? `Run ${training.run} of training ${training.id} begins`
        : `Cannot keep the number of run ${training.run} of training ${training.id}: ${problem}`,
      fields: { training: training.id, run: training.run },
    })
  );
}

/** Begins a run whose number could not be taken from the state directory: workers may have leftovers of an earlier one. */
export function noteNoRun(args: SchedulerArgs, { problem }: { readonly problem: string }): void {
  const { config, ports } = args.context;
  const training = { id: trainingIdOf(config.job), run: unrememberedRun(ports.now()) };
  noteRun(args, { training, isRestart: true, problem });
}

/** Sends a worker a request about the training. Its answer tells whether the worker knows the protocol. */
export function ask({ context, self, enqueue }: SchedulerArgs, peer: Peer, message: TrainingRequest): void {
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

/** Notes whether a worker knows `/hypha-training/1`. */
export function noteSpeaker(
  { context, enqueue }: SchedulerArgs,
  { peer, answer }: { readonly peer: Peer; readonly answer: RequestAnswer },
): void {
  const isForeign = answer.type === "request.failed" && answer.error.code === "unsupported";
  if (answer.type !== "response" && !isForeign) return;
  enqueue.assign({ speakers: { ...context.speakers, [peer]: isForeign ? "foreign" : "ours" } });
}

/** Releases the lease of a participant, which ends its job. */
export function release(args: SchedulerArgs, { peer, leaseId }: Participant): void {
  if (args.context.speakers[peer] !== "foreign") ask(args, peer, { Release: { lease: leaseId } });
}

/** A worker may have granted a lease that is not known here: releases it, and leaves the worker alone where it knows no release. */
export function releaseUnanswered(
  args: SchedulerArgs,
  { peer, leaseId }: { readonly peer: Peer; readonly leaseId: Uuid },
): void {
  const { context, enqueue } = args;
  enqueue.assign({ heldUntil: { ...context.heldUntil, [peer]: context.ports.now() + foreignWaitMs } });
  if (context.speakers[peer] !== "foreign") ask(args, peer, { Release: { lease: leaseId } });
}

/** After the last round: releases the leases whose jobs have ended. Executors of the others may still save what they have. */
export function releaseEnded(args: SchedulerArgs): void {
  for (const participant of allParticipants(args.context.training)) {
    if (participant.ended) release(args, participant);
  }
}

/** Gives the training up: releases all leases, which ends all jobs. */
export function releaseAll(args: SchedulerArgs): void {
  for (const participant of allParticipants(args.context.training)) release(args, participant);
}

/** After a restart: ends what earlier runs left at the workers that are connected. */
export function endBygone(args: SchedulerArgs): void {
  const { members } = args.context;
  for (const peer of new Set(members.filter(({ role }) => standsFor(role, "worker")).map(({ peer }) => peer))) {
    endAt(args, peer);
  }
}

/** The same for a worker that connects. */
export function endBygoneAt(
  args: SchedulerArgs,
  { peer, identity }: Pick<Extract<TransportFact, { type: "peer.established" }>, "peer" | "identity">,
): void {
  if (standsFor(identity.role, "worker")) endAt(args, peer);
}

function endAt(args: SchedulerArgs, peer: Peer): void {
  const { run, isRestart, training, speakers } = args.context;
  if (run === undefined || !isRestart || speakers[peer] !== undefined) return;
  if (allParticipants(training).some((participant) => participant.peer === peer)) return;
  const reason = "its scheduler was restarted";
  ask(args, peer, { End: { training: run.id, run: Math.max(0, run.run - 1), job: null, reason } });
}
