/**
 * A training's members whose nodes take another key. The previous PeerID does its work until its time is over, and cannot be dialled: a
 * new trainer would not reach such an aggregator. So where the scheduler keeps the model, the member leaves after a round, and its node
 * gets requests again under its new PeerID. A round whose updates do not reach such an aggregator is made again with another one. The same
 * holds for the scheduler itself: its training continues under the new key after a round.
 *
 * @module
 */
import { isRekeyed, memberOf } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { TransportFact } from "../../transport/port.ts";
import { monotonicNow } from "../runtime/ports.ts";
import type { MemberConnected } from "../runtime/role.ts";
import { removeParticipant } from "./participants.ts";
import { noteDataNode } from "./provider.ts";
import {
  isAllDone,
  isKeeping,
  isTooFew,
  keptRoundOf,
  type TrainingArgs,
  type TrainingContext,
} from "./training_setup.ts";
import { allParticipants, type Participant, participantOf, trainersOf, withParticipant } from "./training.ts";

/**
 * How long an aggregator whose node has another key may take for a round after its trainers have sent their updates, in milliseconds.
 * A trainer that was not connected with it before cannot connect any more: its update would be tried again until the round's deadline.
 */
export const leavingRoundMs = 20_000;

/** A node connected: where it is a participant's with another key, the participant leaves after a round. */
export function noteSuccessor(
  args: TrainingArgs,
  { identity }: Pick<Extract<TransportFact, { type: "peer.established" }>, "identity">,
): void {
  noteRekeyed(args, allParticipants(args.context.training), identity);
}

/**
 * A node connected with the scheduler's under the present key, while the training finishes a round under the former one. Trainers may
 * finish it too; an aggregator with another key may be out of their reach, and so may a data node.
 */
export function noteMember(args: TrainingArgs, fact: MemberConnected): void {
  const { aggregator } = args.context.training;
  noteRekeyed(args, aggregator === undefined ? [] : [aggregator], fact.identity);
  noteDataNode(args, fact);
}

/**
 * The scheduler's node takes another key: the training goes on under the former one, until its round is kept. Its participants cannot
 * dial that PeerID any more: only this side can make a lost connection again.
 */
export function noteRetired({ context, enqueue }: TrainingArgs): void {
  if (context.retiredAt !== undefined) return;
  enqueue.assign({ retiredAt: keptRoundOf(context) });
  const peers = allParticipants(context.training).map(({ peer }) => peer).sort();
  enqueue.sendTo(context.transport, { type: "hold", peers });
}

function noteRekeyed(
  { context, enqueue }: TrainingArgs,
  participants: readonly Participant[],
  identity: PeerIdentity,
): void {
  const { training, ports } = context;
  const { peer } = identity;
  if (context.model === undefined || participantOf(training, peer) !== undefined) return;
  const member = memberOf(identity);
  const previous = participants.find((other) => !other.isLeaving && isRekeyed(other.member, member));
  if (previous === undefined) return;
  enqueue.assign({ training: withParticipant(training, previous.peer, { isLeaving: true }) });
  enqueue(() =>
    ports.report({
      level: "info",
      event: "member.rekeyed",
      message: `${previous.peer} has another key and is ${peer} now: it leaves the training after a round`,
      fields: { peer: previous.peer, successor: peer, job: previous.jobId },
    })
  );
}

/** Whether the newest round is on disk, and no update of the next one has been sent. */
function isBetweenRounds(context: TrainingContext): boolean {
  const { trainers, roundsDone } = context.training;
  return roundsDone === keptRoundOf(context) && Object.values(trainers).every(({ waiting }) => !waiting);
}

/** Whether all updates of the round under way have been sent, too long ago for a round of an aggregator that leaves anyway. */
function isOverdue(context: TrainingContext): boolean {
  const { training, ports } = context;
  const counted = Object.values(training.trainers).filter(({ isCounted, state }) => isCounted && state !== "done");
  if (isKeeping(context) || counted.some(({ waiting }) => !waiting)) return false;
  const newest = Math.max(...counted.map(({ lastMessageAt }) => lastMessageAt));
  return counted.length > 0 && monotonicNow(ports) - newest > leavingRoundMs;
}

/** The next participant that leaves now: a trainer that has done nothing for the round under way, an aggregator that has no update of it, or is {@linkcode isOverdue}. */
export function nextLeaver(context: TrainingContext): Participant | undefined {
  const { training, model } = context;
  if (model === undefined || isAllDone(context)) return undefined;
  const kept = keptRoundOf(context);
  const trainer = Object.values(training.trainers).find(({ isLeaving, isCounted, waiting, pace }) =>
    isLeaving && (!isCounted || (!waiting && training.roundsDone === kept &&
      (pace.roundsDone < kept || pace.samples === 0)))
  );
  if (trainer !== undefined) return trainer;
  const { aggregator } = training;
  if (aggregator?.isLeaving !== true) return undefined;
  const hasResult = Object.values(training.trainers).every(({ pace, state }) =>
    state !== "running" || pace.roundsDone >= kept
  );
  const isFree = trainersOf(training).length === 0 || (isBetweenRounds(context) && hasResult);
  return isFree || isOverdue(context) ? aggregator : undefined;
}

/** Lets it leave. Its lease is released, so that its node can start again with the new key. */
export function letLeave(args: TrainingArgs): void {
  const { context, enqueue } = args;
  const leaver = nextLeaver(context);
  if (leaver === undefined) return;
  const part = removeParticipant(args, leaver);
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: `${part}.left`,
      message: `The ${part} ${leaver.peer} left: its node has another key`,
      fields: { peer: leaver.peer, job: leaver.jobId, reason: "its node has another key" },
    })
  );
}

/** Whether a training whose scheduler took another key ends under the former one now: after a round, or where none can be finished. */
export function isRetired(context: TrainingContext): boolean {
  const { retiredAt } = context;
  if (retiredAt === undefined || context.model === undefined) return false;
  return keptRoundOf(context) > retiredAt || isTooFew(context);
}
