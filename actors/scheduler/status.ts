/**
 * What a scheduler's operator is shown of its trainings.
 *
 * @module
 */
import type { StateValue } from "xstate";
import type { Member } from "../../pki/member.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import { isWithoutData } from "../training/provider.ts";
import { keptWeights } from "../training/repository_weights.ts";
import { allParticipants, type Participant, type Trainer, type Training } from "../training/training.ts";
import type { TrainingContext } from "../training/training_setup.ts";
import { type TrainingWatch, watchedMember } from "../training/watch.ts";
import { journalOf, type RunningTraining, type SchedulerArgs, trainingOf } from "./scheduler_setup.ts";
import type { KnownTraining } from "./training_record.ts";

/** A member as it is shown. */
export interface ShownMember {
  readonly name: string;
  readonly part: "trainer" | "aggregator";
  /** What it does, or did last. */
  readonly last: string;
  readonly at: string | null;
  readonly loss: number | null;
}

/** A training in one line. */
export interface ShownTraining {
  readonly id: string;
  readonly name: string;
  /** As it was submitted or went on: `queued`, `allocating`, `running`, `waiting`, `paused`, `done`, `failed`, `cancelled`. */
  readonly state: string;
  readonly reason: string | null;
  readonly round: number;
  readonly rounds: number;
  /** The scheduler keeps its model: it goes on after its newest round. */
  readonly keepsModel: boolean;
  readonly loss: number | null;
  /** Members that are in. */
  readonly members: number;
  readonly submitted: string;
  readonly since: string;
  /** The state of its machine; null where nothing of it runs. */
  readonly machine: StateValue | null;
}

/** All of a training. */
export interface ShownStatus extends Omit<ShownTraining, "members"> {
  readonly run: number | null;
  readonly members: readonly ShownMember[];
  /** Those that left, and why. */
  readonly out: readonly ShownMember[];
  readonly losses: TrainingWatch["losses"];
  readonly accuracy: number | null;
  /** The round of the accuracy. */
  readonly accuracyRound: number | null;
  readonly rejections: TrainingWatch["rejections"];
  readonly bytes: TrainingWatch["bytes"];
  readonly roundSeconds: number | null;
}

/**
 * The name in a member's certificate: the last part of its SPIFFE name, else its common name. Of a member of another trust domain than the
 * scheduler's the whole name: a partner's CA chooses its names, and may have given one that is here too.
 */
export function nameOfMember(member: Member, own: string | undefined): string {
  const [peer = "", domain = "", , named = ""] = JSON.parse(member) as readonly string[];
  if (domain !== "" && domain !== own) {
    return named.startsWith("URI:") ? named.slice("URI:".length) : `${named || peer} of ${domain}`;
  }
  const spiffe = /^URI:spiffe:\/\/[^/]+\/[^/]+\/(.+)$/.exec(named)?.[1];
  return spiffe ?? /(?:^|,\s*)CN=([^,]+)/.exec(named)?.[1] ?? (named === "" ? peer : named);
}

/** The name of a peer that a training reports. */
export function nameOfPeer(
  { self }: Pick<SchedulerArgs, "self">,
  { id, peer }: { readonly id: string; readonly peer: unknown },
): string | undefined {
  const { members, domain } = self.getSnapshot().context;
  const training = trainingOf(self, id)?.snapshot.context.training;
  const participants = training === undefined ? [] : allParticipants(training);
  const member = [...participants, ...members].find((each) => each.peer === peer)?.member;
  return member === undefined ? undefined : nameOfMember(member, domain);
}

/** The state of a training now. */
export function stateNow({ state }: KnownTraining, running: RunningTraining | undefined): string {
  if (running === undefined) return state;
  const { value, context: { training, model, isUnopened } } = running.snapshot;
  const phase = typeof value === "string" ? value : Object.keys(value)[0] ?? "";
  // Members are sought while there are too few (`running`, below).
  if (phase === "running" && JSON.stringify(value).includes('"waiting"')) return "waiting";
  if (model?.isPaused ?? isUnopened) return "paused";
  if (phase === "running" && isWithoutData(running.snapshot.context)) return "paused";
  if (["dispatching", "running", "measuring", "concluding"].includes(phase)) return "running";
  return allParticipants(training).length > 0 ? "allocating" : "queued";
}

const timeOf = (ms: number): string => new Date(ms).toISOString();

/** The date of a time by the clock without steps; to the second, so that two looks give the same. */
function dateOf({ ports }: { readonly ports: Ports }, at: number): string {
  return timeOf(at + 1_000 * Math.round((ports.now() - monotonicNow(ports)) / 1_000));
}

/** A training in one line. */
export function showTraining(args: Pick<SchedulerArgs, "self">, known: KnownTraining): ShownTraining {
  const { members, ...rest } = showStatus(args, known);
  const { id, name, state, reason, round, rounds, keepsModel, loss, submitted, since, machine } = rest;
  const line = { id, name, state, reason, round, rounds, keepsModel, loss, submitted, since, machine };
  return { ...line, members: members.length };
}

/** All of a training. */
export function showStatus({ self }: Pick<SchedulerArgs, "self">, known: KnownTraining): ShownStatus {
  const running = trainingOf(self, known.id);
  const watch = journalOf(self, known.id)?.getSnapshot().context.watch ?? known.watch;
  const training = running?.snapshot.context.training;
  const members = running === undefined
    ? []
    : membersOf(running.snapshot.context, watch, self.getSnapshot().context.domain);
  const names = new Set(members.map(({ name }) => name));
  const out = Object.entries(watch.members).filter(([name, { is }]) =>
    !names.has(name) && (is === "out" || training === undefined)
  );
  return {
    id: known.id,
    name: known.name,
    state: stateNow(known, running),
    reason: known.reason,
    run: running?.snapshot.context.run?.run ?? watch.run,
    round: roundOf(running, watch),
    rounds: known.job.rounds.updateRounds,
    keepsModel: keptWeights(known.job) !== undefined,
    loss: watch.losses.at(-1)?.loss ?? null,
    members,
    out: out.map(([name, { part, last, at, loss }]) => ({ name, part, last, at: timeOf(at), loss })),
    losses: watch.losses,
    accuracy: watch.accuracy,
    accuracyRound: watch.accuracyRound ?? null,
    rejections: watch.rejections,
    bytes: watch.bytes,
    roundSeconds: watch.roundSeconds,
    submitted: timeOf(known.submittedAt),
    since: timeOf(known.since),
    machine: running?.snapshot.value ?? null,
  };
}

/** Finished rounds: those on disk, where the scheduler keeps the model; until it is open, those that were reported. */
function roundOf(running: RunningTraining | undefined, watch: TrainingWatch): number {
  if (running === undefined) return watch.round;
  const { model, training, config: { job } } = running.snapshot.context;
  if (model !== undefined) return model.checkpoint.record.round;
  return keptWeights(job) === undefined ? training.roundsDone : watch.round;
}

function membersOf(
  context: TrainingContext,
  watch: TrainingWatch,
  domain: string | undefined,
): readonly ShownMember[] {
  const { training } = context;
  return allParticipants(training).map((participant) => {
    const name = nameOfMember(participant.member, domain);
    const watched = watchedMember(watch, name);
    const trainer = training.trainers[participant.peer];
    return {
      name,
      part: trainer === undefined ? "aggregator" : "trainer",
      last: trainer === undefined ? aggregates(participant, training) : trains(trainer, training.roundsDone),
      at: trainer === undefined
        ? watched === undefined ? null : timeOf(watched.at)
        : dateOf(context, trainer.lastMessageAt),
      loss: watched?.loss ?? null,
    };
  });
}

function trains({ state, waiting, pace }: Trainer, roundsDone: number): string {
  if (state === "leased") return "leased, has no job yet";
  if (state === "done") return "has the last result";
  const round = Math.max(pace.roundsDone, roundsDone) + 1;
  return waiting ? `sent its update of round ${round}` : `trains round ${round}: ${pace.samples} samples so far`;
}

function aggregates({ state }: Participant, { roundsDone, trainers }: Training): string {
  if (state === "leased") return "leased, has no job yet";
  if (state === "done") return "sent the last result";
  const sent = Object.values(trainers).filter(({ waiting }) => waiting).length;
  return `waits for updates of round ${roundsDone + 1}: ${sent} of ${Object.keys(trainers).length} sent`;
}
