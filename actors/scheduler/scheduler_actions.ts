/**
 * The actions of the scheduler's machine, by name.
 *
 * @module
 */
import { assign, enqueueActions } from "xstate";
import { withConnected, withoutConnected } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { RoleOutcome } from "../runtime/role.ts";
import { trainingFolder } from "../training/checkpoints.ts";
import type { TrainingFound } from "./late_training.ts";
import type { LoadedTrainings } from "./load_trainings.ts";
import { answerLeaving, answerOperator } from "./operating.ts";
import { giveTurn, noteTurnOver, noteWanting } from "./queue.ts";
import { passFact, passSorted, routeRequest, routeStream, serveRequests, startSorting } from "./routing.ts";
import {
  endedTraining,
  journalActorId,
  type SchedulerArgs,
  schedulerSetup,
  type TrainingCrashed,
  type TrainingEnded,
} from "./scheduler_setup.ts";
import { endBygoneAt, noteAnswer, noteBegan, noteKnown, noteLeased, noteLeft, tellWorker } from "./telling.ts";
import {
  beginTraining,
  noteCrashed,
  noteEnded,
  noteRunning,
  passToTrainings,
  settleJournals,
  startConfigured,
  takeLoaded,
} from "./trainings.ts";

/** The turn of a training that is gone is over. */
function leaveQueue(args: SchedulerArgs, { type }: TrainingEnded | TrainingCrashed): void {
  const id = endedTraining(args.context, type);
  if (id !== undefined) noteTurnOver(args, { id, how: "served" });
}

/** Starts the status bridge where the configuration names one. */
function startStatusBridge({ context: { ports, config: { statusBridge: address } }, enqueue }: SchedulerArgs): void {
  if (address !== undefined) enqueue.spawnChild("statusBridge", { id: "statusBridge", input: { ports, address } });
}

/** Reads those trainings again whose files could not be read. */
function readAgain({ context: { ports, config }, self, enqueue }: SchedulerArgs, { broken }: LoadedTrainings): void {
  for (const { id } of broken.filter(({ isUnreadable }) => isUnreadable)) {
    const input = { ports, parent: self, stateDir: config.stateDir ?? "", id };
    enqueue.spawnChild("lateTraining", { id: `late/${id}`, input });
  }
}

/** A training is read at last: it goes on as it would have at the start. */
function takeFound(args: SchedulerArgs, { training }: TrainingFound): void {
  const { context, enqueue } = args;
  const { id, name, state, reason, since, queuedAt, watch } = training;
  if (state === "queued" || state === "running") {
    // What it left at workers is not taken for new work.
    if (watch.run !== null) enqueue.assign({ restarted: { ...context.restarted, [id]: watch.run + 1 } });
    beginTraining(args, training);
  } else {
    enqueue.assign({ trainings: { ...context.trainings, [id]: training } });
    const folder = trainingFolder(context.config.stateDir ?? "", id);
    const input = {
      ports: context.ports,
      id,
      folder,
      standing: { state, reason, since, queuedAt },
      watch,
      isKept: true,
    };
    enqueue.spawnChild("journal", { id: journalActorId(id), input });
  }
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "training.readable",
      message: `Training ${id} (${name}) can be read again: it is ${state}`,
      fields: { training: id, name, state },
    })
  );
}

/** The setup of the scheduler's machine, with its actions. */
export const scheduler = schedulerSetup.extend({
  actions: {
    serveRequests: enqueueActions(serveRequests),
    startStatusBridge: enqueueActions(startStatusBridge),
    startConfigured: enqueueActions(startConfigured),
    takeLoaded: enqueueActions(takeLoaded),
    readAgain: enqueueActions(readAgain),
    takeFound: enqueueActions(takeFound),
    answerOperator: enqueueActions(answerOperator),
    answerLeaving: enqueueActions(answerLeaving),
    routeRequest: enqueueActions(routeRequest),
    routeStream: enqueueActions(routeStream),
    startSorting: enqueueActions(startSorting),
    passSorted: enqueueActions(passSorted),
    passFact: enqueueActions(passFact),
    passToTrainings: enqueueActions(passToTrainings),
    noteHere: assign(({ context }, { identity }: { readonly identity: PeerIdentity }) => ({
      members: withConnected(context.members, identity),
    })),
    noteGone: assign(({ context }, { identity }: { readonly identity: PeerIdentity }) => ({
      members: withoutConnected(context.members, identity),
    })),
    noteBegan: enqueueActions(noteBegan),
    noteAnswer: enqueueActions(noteAnswer),
    noteKnown: enqueueActions(noteKnown),
    noteLeased: enqueueActions(noteLeased),
    noteLeft: enqueueActions(noteLeft),
    tellWorker: enqueueActions(tellWorker),
    endBygoneAt: enqueueActions(endBygoneAt),
    noteWanting: enqueueActions(noteWanting),
    noteTurnOver: enqueueActions(noteTurnOver),
    leaveQueue: enqueueActions(leaveQueue),
    giveTurn: enqueueActions(giveTurn),
    noteRunning: enqueueActions(noteRunning),
    noteEnded: enqueueActions(noteEnded),
    noteCrashed: enqueueActions(noteCrashed),
    settleJournals: enqueueActions(settleJournals),
    setOutcome: assign((_, outcome: RoleOutcome) => ({ outcome })),
  },
});
