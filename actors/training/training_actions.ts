/**
 * The actions of a training's machine.
 *
 * @module
 */
import { type ActorRefFrom, assign, enqueueActions, raise, sendTo } from "xstate";
import { withConnected, withoutConnected } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import type { RoleOutcome } from "../runtime/role.ts";
import { answerRequest, routeStream } from "./answering.ts";
import { reportDone, reportTail, reportUnconfirmed } from "./ending.ts";
import { dispatchAggregator, dispatchTrainers, noteDispatch, takeLease } from "./dispatching.ts";
import { noteKept, notePaused, noteSettled, reportModel, startModel, takeModel } from "./keeping.ts";
import { isRetired, letLeave, nextLeaver, noteMember, noteRetired, noteSuccessor } from "./leaving.ts";
import {
  loseParticipant,
  loseSilent,
  loseUndispatched,
  noteAbsence,
  noteDenied,
  noteReturn,
  noteUngranted,
  regroup,
  watchRound,
  withBarred,
} from "./participants.ts";
import { find, noteLookup, noteProvider, noteProviderGone, seek, takeProvider } from "./provider.ts";
import type { evaluationMachine } from "./evaluation.ts";
import type { Sender } from "./training.ts";
import { keptWeights } from "./repository_weights.ts";
import {
  changeAgain,
  changeTrainers,
  failedWaiting,
  forgive,
  noteChange,
  reportStrong,
  reportWaiting,
  waitEnd,
} from "./replacing.ts";
import {
  isAllDone,
  type LostParticipant,
  type TrainingArgs,
  type TrainingContext,
  trainingSetup,
} from "./training_setup.ts";
import { announceRun, letGo, noteRun, releaseAll, releaseEnded } from "./releasing.ts";

/** Starts the evaluation where the job has one. */
function startEvaluation({ context, self, enqueue }: TrainingArgs): void {
  const { ports, transport, evaluator, config: { job } } = context;
  if (job.evaluation === undefined) return;
  const training = context.run === undefined ? undefined : { scheduler: context.self, ...context.run };
  const model = keptWeights(job) === undefined && !("weights" in job.model)
    ? job.model
    : { parameters: present(context.model, "the model").checkpoint.parameters };
  enqueue.spawnChild("evaluation", {
    id: "evaluation",
    input: {
      ...{ ...job.evaluation, ports, transport, parent: self, model, evaluator, training },
      lastRound: job.rounds.updateRounds,
    },
  });
  // The last round was kept by an earlier run, which did not end: it may not have measured it.
  if (context.model === undefined || !isAllDone(context)) return;
  const { record: { round }, parameters: path } = context.model.checkpoint;
  enqueue.sendTo<ActorRefFrom<typeof evaluationMachine>>("evaluation", { type: "parameters.kept", round, path });
}

/** The setup of a training's machine, with its actions and the guards on leaving. */
export const trainingWithActions = trainingSetup.extend({
  guards: {
    hasLeaver: ({ context }) => nextLeaver(context) !== undefined,
    isRetired: ({ context }) => isRetired(context),
  },
  actions: {
    answerRequest: enqueueActions(answerRequest),
    routeStream: enqueueActions(routeStream),
    startEvaluation: enqueueActions(startEvaluation),
    startModel: enqueueActions(startModel),
    takeModel: enqueueActions(takeModel),
    noteKept: enqueueActions(noteKept),
    notePaused: enqueueActions(notePaused),
    noteSettled: enqueueActions(noteSettled),
    reportModel,
    noteRun: enqueueActions(noteRun),
    announceRun: sendTo(({ context }) => context.parent, announceRun),
    askTurn: sendTo(({ context }) => context.parent, ({ context: { id } }) => ({ type: "training.queued", id })),
    beginTurn: assign({
      turnEndsAt: ({ context: { ports, patience } }) => monotonicNow(ports) + (patience?.holdMs ?? 0),
    }),
    tellResting: sendTo(({ context }) => context.parent, ({ context: { id } }) => ({ type: "training.resting", id })),
    tellRunning: sendTo(({ context }) => context.parent, ({ context: { id } }) => ({ type: "training.running", id })),
    releaseEnded: enqueueActions(releaseEnded),
    letGo: enqueueActions(letGo),
    releaseAll: enqueueActions(releaseAll),
    noteHere: assign(({ context }, { identity }: { readonly identity: PeerIdentity }) => ({
      members: withConnected(context.members, identity),
    })),
    noteGone: assign(({ context }, { identity }: { readonly identity: PeerIdentity }) => ({
      members: withoutConnected(context.members, identity),
    })),
    noteAbsence: enqueueActions(noteAbsence),
    noteReturn: enqueueActions(noteReturn),
    noteSuccessor: enqueueActions(noteSuccessor),
    noteMember: enqueueActions(noteMember),
    letLeave: enqueueActions(letLeave),
    noteRetired: enqueueActions(noteRetired),
    noteDenied: enqueueActions(noteDenied),
    noteUngranted: enqueueActions(noteUngranted),
    loseParticipant: enqueueActions(loseParticipant),
    loseSilent: enqueueActions(loseSilent),
    watchRound: enqueueActions(watchRound),
    loseUndispatched: enqueueActions(loseUndispatched),
    regroup: enqueueActions(regroup),
    find: enqueueActions(find),
    noteLookup: enqueueActions(noteLookup),
    noteProvider: enqueueActions(noteProvider),
    noteProviderGone: enqueueActions(noteProviderGone),
    seek: enqueueActions(seek),
    takeProvider: enqueueActions(takeProvider),
    takeLease: enqueueActions(takeLease),
    dispatchAggregator: enqueueActions(dispatchAggregator),
    dispatchTrainers: enqueueActions(dispatchTrainers),
    noteDispatch: enqueueActions(noteDispatch),
    changeTrainers: enqueueActions(changeTrainers),
    noteChange: enqueueActions(noteChange),
    changeAgain: enqueueActions(changeAgain),
    forgive: enqueueActions(forgive),
    beginWait: assign(({ context }) => ({ waitEndsAt: waitEnd(context) })),
    reportWaiting,
    reportStrong,
    failWaiting: assign(({ context }) => ({ outcome: failedWaiting(context) })),
    /** Also where it is no participant any more. */
    bar: assign({ barred: ({ context }, { member }: Sender) => withBarred(context, member) }),
    raiseLost: raise((_, lost: LostParticipant) => ({ type: "participant.lost", ...lost })),
    noteEvaluated: assign((
      _,
      { round, accuracy }: { readonly round: number; readonly accuracy: number | undefined },
    ) => ({
      roundsEvaluated: round,
      accuracy,
    })),
    noteEvaluation: assign((_, evaluation: TrainingContext["evaluation"]) => ({ evaluation })),
    noteUnopened: assign({ isUnopened: true }),
    setOutcome: assign((_, outcome: RoleOutcome) => ({ outcome })),
    fail: assign((_, reason: string) => ({ outcome: { type: "failed" as const, reason } })),
    reportTail,
    reportUnconfirmed,
    reportDone,
  },
});
