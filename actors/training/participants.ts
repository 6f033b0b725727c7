/**
 * A scheduler's actions around participants that are lost.
 *
 * @module
 */
import type { ActorRefFrom } from "xstate";
import { isRekeyed, type Member, memberOf, nodeOf } from "../../pki/member.ts";
import type { Act } from "../../transport/authorization/acts.ts";
import type { TransportFact } from "../../transport/port.ts";
import type { Peer } from "../../transport/protocols/messages.ts";
import { monotonicNow } from "../runtime/ports.ts";
import type { allocationMachine, Ungranted } from "./allocation.ts";
import type { heldLeaseMachine } from "./held_lease.ts";
import { dataAwayMs, watchData } from "./provider.ts";
import { release } from "./releasing.ts";
import {
  absenceSecondsDefault,
  isKeeping,
  keptRoundOf,
  lossesMax,
  type LostParticipant,
  restDoublingsMax,
  restMs,
  silenceCheckMs,
  silenceSecondsDefault,
  type TrainingArgs,
  type TrainingContext,
  waitSecondsDefault,
} from "./training_setup.ts";
import { withoutAggregator } from "./roster.ts";
import { silentTrainers, waitedNewcomers, waitedPeers, withWaited } from "./round_wait.ts";
import {
  allParticipants,
  emptyTraining,
  type Participant,
  participantBy,
  participantOf,
  type Sender,
  trainersOf,
  type Training,
  withoutParticipant,
} from "./training.ts";

/** Loses a participant. Its worker rests; one whose update or result was rejected is not leased again. */
export function loseParticipant(args: TrainingArgs, { peer, reason, isRejected = false }: LostParticipant): void {
  const { context, enqueue } = args;
  const participant = participantOf(context.training, peer);
  if (participant === undefined) return;
  const part = removeParticipant(args, participant);
  enqueue.assign({
    ...withLoss(context, participant),
    barred: isRejected ? withBarred(context, participant.member) : context.barred,
  });
  const left = trainersOf(context.training).filter((other) => other !== participant.peer).length;
  enqueue(() =>
    context.ports.report({
      level: "warn",
      event: `${part}.lost`,
      message: `Lost ${part} ${participant.peer}: ${reason}`,
      fields: { peer: participant.peer, job: participant.jobId, reason, left },
    })
  );
}

/** The barred members after this one sent what was rejected. */
export function withBarred({ barred }: TrainingContext, member: Member): readonly Member[] {
  return barred.includes(member) ? barred : [...barred, member];
}

/**
 * Until when a lost worker rests: for half of the wait for workers at most, so that no training fails where it is the only one. No round
 * waited for a newcomer, unless it missed results.
 */
function withLoss(
  { ports, config, excluded, losses, training }: TrainingContext,
  { peer, member, waitedMs: ms }: Participant,
) {
  const trainer = training.trainers[peer];
  const waitedMs = trainer === undefined || trainer.isCounted || trainer.isOverdue ? ms : 0;
  const { aggregation, resources: { waitS = waitSecondsDefault } } = config.job;
  const deadlineMs = aggregation.roundDeadlineS * 1_000;
  const node = nodeOf(member);
  const { [node]: before = 0, ...others } = losses;
  const doubled = (waitedMs > deadlineMs ? waitedMs : restMs) * 2 ** Math.min(before, restDoublingsMax);
  const rest = Math.min(doubled, waitS * 1_000 / 2);
  const remembered = Object.entries(others).slice(1 - lossesMax);
  return {
    excluded: { ...excluded, [peer]: monotonicNow(ports) + rest },
    losses: { ...Object.fromEntries(remembered), [node]: before + 1 },
  };
}

/**
 * A worker's offer was accepted, and it granted no lease: others are taken before it until it grants one. It may have given its resources
 * to another scheduler in that moment, so it rests only where it did not answer, and not the first time. What it may have granted is
 * released.
 */
export function noteUngranted(args: TrainingArgs, { peer, member, leaseId, how }: Ungranted): void {
  const { context: { unreliable, excluded, ports }, enqueue } = args;
  const node = nodeOf(member);
  enqueue.assign({ unreliable: [...unreliable.filter((other) => other !== node), node].slice(-lossesMax) });
  if (how === "refused") return;
  release(args, { peer, leaseId });
  if (!unreliable.includes(node)) return;
  const until = Math.max(excluded[peer] ?? 0, monotonicNow(ports) + restMs);
  enqueue.assign({ excluded: { ...excluded, [peer]: until } });
}

/** Whether a worker that offers may not be leased now: it rests, or its node is barred, whatever its key is now. */
export function isUnwanted({ excluded, barred, ports }: TrainingContext, { peer, member }: Sender): boolean {
  return monotonicNow(ports) < (excluded[peer] ?? 0) ||
    barred.some((other) => other === member || isRekeyed(other, member));
}

/** The workers whose rest is over, and the others. */
export function restedWorkers({ excluded, ports }: TrainingContext) {
  const now = monotonicNow(ports);
  const resting = Object.entries(excluded).filter(([, until]) => until > now);
  return {
    rested: Object.keys(excluded).filter((peer) => (excluded[peer] ?? 0) <= now),
    excluded: Object.fromEntries(resting),
  };
}

/** Removes a participant and releases its lease. Returns the part that it had. */
export function removeParticipant(args: TrainingArgs, participant: Participant): "aggregator" | "trainer" {
  const { context, enqueue } = args;
  const { peer, taskId, leaseId } = participant;
  const part = context.training.aggregator?.peer === peer ? "aggregator" : "trainer";
  const left = part === "aggregator" && context.model !== undefined
    ? withoutAggregator(context.training, keptRoundOf(context))
    : withoutParticipant(context.training, peer);
  enqueue.assign({ training: left });
  if (part === "aggregator") settleResults(args);
  enqueue.cancel(`dispatch/${taskId}`);
  enqueue.cancel(`absence/${peer}`);
  enqueue.stopChild(`lease/${leaseId}`);
  release(args, participant);
  return part;
}

/** Another aggregator is not sought before the model has kept or refused what the former one sent. */
function settleResults({ context, self, enqueue }: TrainingArgs): void {
  const store = self.getSnapshot().children["model"];
  if (store === undefined || context.model === undefined) return;
  enqueue.assign({ model: { ...context.model, isSettling: true } });
  enqueue.sendTo(store, { type: "aggregator.gone" });
}

/** Whether this participant is the aggregator that sends the last result: its absence ends the wait for it. */
function isSendingLast({ aggregator }: Training, participant: Participant): boolean {
  return participant === aggregator && aggregator.state === "done" && !aggregator.ended;
}

/**
 * A participant's connection closed. The participant is lost at once where the trust in it changed, else after `absence_s`: where
 * a certificate ended, its owner may have another one of the same key. The aggregator that sends the last result is absent then,
 * and no more is waited for it.
 */
export function noteAbsence(
  { context, enqueue }: TrainingArgs,
  { peer, identity, reason }: Extract<TransportFact, { type: "peer.closed" }>,
): void {
  const participant = participantBy(context.training, { peer, member: memberOf(identity) });
  if (participant === undefined) return;
  const isLast = isSendingLast(context.training, participant);
  if (participant.state === "done" && !isLast) return;
  const isRefused = reason.type === "trust.changed";
  if (isRefused && isLast) enqueue.raise({ type: "absence.over", peer });
  else if (isRefused) {
    enqueue.raise({
      type: "participant.lost",
      peer,
      reason: `its certificate is not accepted: ${reason.refusal.code}`,
    });
  } else {
    const { absenceS = absenceSecondsDefault } = context.config.job.resources;
    enqueue.raise({ type: "absence.over", peer }, { delay: absenceS * 1_000, id: `absence/${peer}` });
  }
}

/** Acts of a participant without which it is none. */
const participating: ReadonlySet<Act> = new Set(["job.status", "progress", "data.ask", "file.push"]);

/** Changed rules deny a participant what its job is made of: it is lost at once. */
export function noteDenied(
  { context, enqueue }: TrainingArgs,
  { peer, identity, denied }: Extract<TransportFact, { type: "authorization.changed" }>,
): void {
  const participant = participantBy(context.training, { peer, member: memberOf(identity) });
  const lacks = denied.filter((act) => participating.has(act));
  if (participant === undefined || lacks.length === 0) return;
  if (isSendingLast(context.training, participant)) enqueue.raise({ type: "absence.over", peer });
  if (participant.state === "done") return;
  enqueue.raise({ type: "participant.lost", peer, reason: `the rules deny it ${lacks.join(", ")}` });
}

/** A participant reconnected in time. */
export function noteReturn(
  { context, enqueue }: TrainingArgs,
  { peer, identity }: Extract<TransportFact, { type: "peer.established" }>,
): void {
  const participant = participantBy(context.training, { peer, member: memberOf(identity) });
  if (participant !== undefined) enqueue.cancel(`absence/${peer}`);
}

/** Trainers that give no sign of life for too long are lost: their executors hang. */
export function loseSilent({ context, self, enqueue }: TrainingArgs): void {
  if (isKeeping(context)) return;
  const { silenceS = silenceSecondsDefault } = context.config.job.resources;
  const now = monotonicNow(context.ports), silenceMs = silenceS * 1_000;
  const { children } = self.getSnapshot();
  for (const { peer, leaseId } of silentTrainers(context.training, now, silenceMs)) {
    const lease = children[`lease/${leaseId}`] as ActorRefFrom<typeof heldLeaseMachine> | undefined;
    const usedAt = lease?.getSnapshot().context.usedAt ?? Number.NEGATIVE_INFINITY;
    if (now - usedAt <= silenceMs) continue;
    enqueue.raise({ type: "participant.lost", peer, reason: `it gave no sign of life for ${silenceS} s` });
  }
}

/** Whether trainers that are behind are not lost because the data node is away: for no longer than a training waits for members. */
function excusesBehind(context: TrainingContext): boolean {
  const { waitS = waitSecondsDefault } = context.config.job.resources;
  const awayMs = dataAwayMs(context);
  return awayMs > 0 && awayMs <= waitS * 1_000;
}

/**
 * The participants that a round waits for, and whether trainers hold it up that cannot go on because the data node is away: they are
 * behind, and are not waited for meanwhile, up to `wait_s`. While the disk is full it waits for none; a round that was reported waits for
 * the aggregator's result.
 */
function waitedNow(context: TrainingContext): { readonly peers: readonly Peer[]; readonly isWithoutData: boolean } {
  const { training, model } = context;
  if (isKeeping(context)) {
    const { aggregator } = training;
    return {
      peers: model?.isPaused === true || aggregator === undefined ? [] : [aggregator.peer],
      isWithoutData: false,
    };
  }
  const waited = waitedPeers(training);
  const notBehind = waited.filter((peer) => training.trainers[peer]?.waiting !== false);
  return {
    peers: excusesBehind(context) ? notBehind : waited,
    isWithoutData: dataAwayMs(context) > 0 && notBehind.length < waited.length,
  };
}

/** How long a newcomer has before it is lost, in milliseconds: as long as rounds wait for a trainer, and as one may be silent. */
export function newcomerMs({ config: { job: { aggregation, resources } } }: TrainingContext): number {
  return 1_000 * Math.max(2 * aggregation.roundDeadlineS, resources.silenceS ?? silenceSecondsDefault);
}

/** Counts the time of newcomers. One whose time is over before its aggregator takes it is lost; the others, by the results that they miss. */
function watchNewcomers({ context, enqueue }: TrainingArgs, training: Training): Training {
  if (isKeeping(context) || context.model?.isPaused === true || excusesBehind(context)) return training;
  const newcomers = waitedNewcomers(training);
  for (const { peer, state, waitedMs } of newcomers) {
    if (state !== "leased" || waitedMs <= newcomerMs(context)) continue;
    const reason = `its aggregator has not taken it for ${Math.round(waitedMs / 1_000)} s`;
    enqueue.raise({ type: "participant.lost", peer, reason });
  }
  return withWaited(training, newcomers.map(({ peer }) => peer), silenceCheckMs);
}

/**
 * Counts how long the round has waited for each participant. No round for too long: names the members that it waits for, and loses them
 * when the wait is twice as long. Foreign trainers are lost when they are named: what they do is not known here.
 */
export function watchRound(args: TrainingArgs): void {
  const { context, enqueue } = args;
  const { ports } = context;
  const { speakers } = context.workers();
  const deadlineMs = context.config.job.aggregation.roundDeadlineS * 1_000;
  const { peers, isWithoutData } = waitedNow(context);
  watchData(args, isWithoutData ? silenceCheckMs : 0);
  const training = watchNewcomers(args, withWaited(context.training, peers, silenceCheckMs));
  enqueue.assign({ training });
  const round = training.roundsDone + 1;
  for (const peer of peers) {
    const { waitedMs = 0, jobId } = participantOf(training, peer) ?? {};
    const part = training.trainers[peer] === undefined ? "aggregator" : "trainer";
    const patience = part === "trainer" && speakers[peer] === "foreign" ? 1 : 2;
    const seconds = Math.round(waitedMs / 1_000);
    if (waitedMs > patience * deadlineMs) {
      const reason = `round ${round} has waited ${seconds} s for it`;
      enqueue.raise({ type: "participant.lost", peer, reason });
    } else if (waitedMs > deadlineMs && waitedMs - silenceCheckMs <= deadlineMs) {
      enqueue(() =>
        ports.report({
          level: "warn",
          event: "round.stalled",
          message: `Round ${round} has waited ${seconds} s for ${part} ${peer}`,
          fields: { round, peer, part, job: jobId, waitedMs },
        })
      );
    }
  }
}

/** Participants that did not answer their dispatch are lost. */
export function loseUndispatched({ context, enqueue }: TrainingArgs): void {
  for (const { peer, state } of allParticipants(context.training)) {
    const isDue = state === "leased" &&
      (peer === context.training.aggregator?.peer || context.training.aggregator?.state !== "leased");
    if (isDue) enqueue.raise({ type: "participant.lost", peer, reason: "it did not answer the dispatch" });
  }
}

/** Releases all participants, none of which has a job yet, and allocates again with the other part first. */
export function regroup(args: TrainingArgs): void {
  const { context, self, enqueue } = args;
  const participants = allParticipants(context.training);
  const allocation = self.getSnapshot().children["allocation"] as ActorRefFrom<typeof allocationMachine> | undefined;
  const accepting = Object.values(allocation?.getSnapshot().context.accepting ?? {});
  // The answers to these come too late.
  for (const { from, offer } of accepting) release(args, { peer: from, leaseId: offer.id });
  for (const participant of participants) {
    enqueue.cancel(`absence/${participant.peer}`);
    enqueue.cancel(`dispatch/${participant.taskId}`);
    enqueue.stopChild(`lease/${participant.leaseId}`);
    release(args, participant);
  }
  const { rested, excluded } = restedWorkers(context);
  const first: TrainingContext["first"] = context.first === "trainers" ? "aggregator" : "trainers";
  enqueue.assign({
    training: {
      ...emptyTraining,
      roundsDone: context.training.roundsDone,
      divergence: context.training.divergence,
    },
    excluded,
    first,
  });
  const released = participants.map(({ peer }) => peer);
  if (released.length + rested.length === 0) return;
  enqueue(() =>
    context.ports.report({
      level: "warn",
      event: "allocation.regrouped",
      message: `Cannot fill all parts: looking for the ${first} first now; ` +
        `${released.length} workers were released, ${rested.length} lost ones may be leased again`,
      fields: { released, forgiven: rested, first },
    })
  );
}
