/**
 * A scheduler's machine: finds the data set, allocates workers, dispatches the jobs and answers their progress, round by
 * round until the last. When a trainer is lost, it continues with the others.
 *
 * ```
 *  preparing ──▶ finding ──▶ allocating ──▶ dispatching ──▶ training ──▶ concluding ──▶ finished
 *      │            ▲ │      (trainers ─▶    (aggregator ─▶      │
 *      │            └─┘       aggregator)     trainers)          ├── no trainer left, no aggregator ──▶ failed
 *      └── held-out rows unreadable ──▶ failed                   └── a trainer lost: the aggregator is dispatched again
 *
 *  role.drain, in every state ──▶ drained; role.retire, without participants ──▶ drained, else the training continues
 * ```
 *
 * While one part cannot be filled, the scheduler releases the workers of the other and fills the parts in the other order
 * (`allocating.regrouping`): the only worker that can aggregate may have been leased as a trainer.
 *
 * A participant is lost when its connection was closed because of its certificate, or for longer than `absenceMs`; when its worker
 * ends the lease or reports that the job failed; or when a trainer stays silent. Progress, data and offers are answered in
 * every state, other requests declined. Facts about peers that are no participants are ignored.
 *
 * @module
 */
import { assign, enqueueActions, raise } from "xstate";
import { withConnected, withoutConnected } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Peer } from "../../transport/protocols/messages.ts";
import type { RoleOutcome } from "../runtime/role.ts";
import { answerRequest, routePush, serveRequests } from "./answering.ts";
import { reportDone, reportTail, reportUnconfirmed } from "./ending.ts";
import { dispatchAggregator, dispatchTrainers, noteDispatch, takeLease } from "./dispatching.ts";
import {
  loseParticipant,
  loseSilent,
  loseUndispatched,
  noteAbsence,
  noteDenied,
  noteReturn,
  regroup,
  watchRound,
} from "./participants.ts";
import { find, noteLookup, noteProvider, noteProviderGone, seek, takeProvider } from "./provider.ts";
import {
  dispatchDeadlineMs,
  findAgainMs,
  findDeadlineMs,
  lingerMs,
  type SchedulerArgs,
  type SchedulerContext,
  schedulerSetup,
  sendingMs,
  silenceCheckMs,
  tailMs,
  takenPeers,
} from "./scheduler_setup.ts";
import { takeRunMs, trainingIdOf, unrememberedRun } from "./run_number.ts";
import {
  endBygone,
  endBygoneAt,
  noteNoRun,
  noteRun,
  noteSpeaker,
  releaseAll,
  releaseEnded,
  releaseUnanswered,
} from "./releasing.ts";
import { firstSlice } from "./slices.ts";
import { emptyTraining, trainersOf } from "./training.ts";

/** Starts the evaluation where the job has one. */
function startEvaluation({ context, self, enqueue }: SchedulerArgs): void {
  const { ports, transport, evaluator, config: { job } } = context;
  if (job.evaluation === undefined) return;
  const training = context.run === undefined ? undefined : { scheduler: context.self, ...context.run };
  enqueue.spawnChild("evaluation", {
    id: "evaluation",
    input: { ports, transport, parent: self, heldOut: job.evaluation.heldOut, model: job.model, evaluator, training },
  });
}

const scheduler = schedulerSetup.extend({
  actions: {
    serveRequests: enqueueActions(serveRequests),
    answerRequest: enqueueActions(answerRequest),
    routePush: enqueueActions(routePush),
    startEvaluation: enqueueActions(startEvaluation),
    noteRun: enqueueActions(noteRun),
    noteNoRun: enqueueActions(noteNoRun),
    noteSpeaker: enqueueActions(noteSpeaker),
    endBygone: enqueueActions(endBygone),
    endBygoneAt: enqueueActions(endBygoneAt),
    releaseEnded: enqueueActions(releaseEnded),
    releaseAll: enqueueActions(releaseAll),
    releaseUnanswered: enqueueActions(releaseUnanswered),
    noteHere: assign(({ context }, { identity }: { readonly identity: PeerIdentity }) => ({
      members: withConnected(context.members, identity),
    })),
    noteGone: assign(({ context }, { identity }: { readonly identity: PeerIdentity }) => ({
      members: withoutConnected(context.members, identity),
    })),
    noteAbsence: enqueueActions(noteAbsence),
    noteReturn: enqueueActions(noteReturn),
    noteDenied: enqueueActions(noteDenied),
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
    raiseLost: raise((_, { peer, reason }: { readonly peer: Peer; readonly reason: string }) => ({
      type: "participant.lost",
      peer,
      reason,
    })),
    noteEvaluated: assign((_, { round, accuracy }: { readonly round: number; readonly accuracy: number }) => ({
      roundsEvaluated: round,
      accuracy,
    })),
    noteEvaluation: assign((_, evaluation: SchedulerContext["evaluation"]) => ({ evaluation })),
    setOutcome: assign((_, outcome: RoleOutcome) => ({ outcome })),
    reportTail,
    reportUnconfirmed,
    reportDone,
  },
});

/** The role machine of a scheduler. */
export const schedulerMachine = scheduler.createMachine({
  id: "scheduler",
  context: ({ input }) => ({
    ...input,
    dataset: undefined,
    slices: firstSlice(1),
    training: emptyTraining,
    run: input.config.stateDir === undefined
      ? { id: trainingIdOf(input.config.job), run: unrememberedRun(input.ports.now()) }
      : undefined,
    isRestart: false,
    speakers: {},
    heldUntil: {},
    unaccepted: [],
    startedAt: input.ports.now(),
    first: "trainers",
    excluded: [],
    evaluation: "none",
    roundsEvaluated: 0,
    accuracy: undefined,
    lookups: 0,
    seeks: 0,
    dispatches: 0,
    stalledAt: undefined,
    outcome: { type: "finished" },
  }),
  initial: "numbering",
  entry: "serveRequests",
  on: {
    "role.drain": { target: ".drained" },
    "role.retire": { guard: "hasNoParticipants", target: ".drained" },
    "request.received": { actions: { type: "answerRequest", params: ({ event }) => event } },
    "stream.received": { actions: { type: "routePush", params: ({ event }) => event } },
    "peer.closed": {
      actions: [
        { type: "noteGone", params: ({ event }) => event },
        { type: "noteAbsence", params: ({ event }) => event },
        { type: "noteProviderGone", params: ({ event }) => event },
      ],
    },
    "peer.established": {
      actions: [
        { type: "noteHere", params: ({ event }) => event },
        { type: "noteReturn", params: ({ event }) => event },
        { type: "endBygoneAt", params: ({ event }) => event },
        { type: "noteProvider", params: ({ event }) => event },
      ],
    },
    "authorization.changed": { actions: { type: "noteDenied", params: ({ event }) => event } },
    "training.answered": { actions: { type: "noteSpeaker", params: ({ event }) => event } },
    "dataset.seek": { actions: "seek" },
    "dataset.answered": { actions: { type: "takeProvider", params: ({ event }) => event } },
    "absence.over": {
      guard: { type: "isParticipant", params: ({ event }) => event },
      actions: {
        type: "raiseLost",
        params: ({ event }) => ({ peer: event.peer, reason: "its connection was gone for too long" }),
      },
    },
    "held.lost": {
      guard: { type: "isParticipant", params: ({ event }) => ({ peer: event.giver }) },
      actions: {
        type: "raiseLost",
        params: ({ event }) => ({ peer: event.giver, reason: `its lease is over: ${event.reason}` }),
      },
    },
    "participant.lost": { actions: { type: "loseParticipant", params: ({ event }) => event } },
    "allocation.granted": { actions: { type: "takeLease", params: ({ event }) => event } },
    "allocation.unanswered": { actions: { type: "releaseUnanswered", params: ({ event }) => event } },
    "dispatch.answered": { actions: { type: "noteDispatch", params: ({ event }) => event } },
    "round.evaluated": { actions: { type: "noteEvaluated", params: ({ event }) => event } },
    "evaluation.broken": { actions: { type: "noteEvaluation", params: "broken" } },
  },
  states: {
    numbering: {
      always: { guard: "hasRun", target: "preparing" },
      invoke: {
        src: "takeRun",
        input: ({ context: { ports, config } }) => ({
          ports,
          stateDir: config.stateDir ?? "",
          id: trainingIdOf(config.job),
        }),
      },
      on: {
        "effect.done.run": { actions: { type: "noteRun", params: ({ event }) => event.value } },
        "effect.failed.run": {
          actions: { type: "noteNoRun", params: ({ event }) => ({ problem: event.error.message }) },
        },
      },
      after: { [takeRunMs]: { actions: { type: "noteNoRun", params: { problem: "the file system is too slow" } } } },
    },
    preparing: {
      always: { guard: "doesNotEvaluate", target: "finding" },
      entry: "startEvaluation",
      on: {
        "evaluation.ready": { target: "finding", actions: { type: "noteEvaluation", params: "on" } },
        "evaluation.broken": {
          target: "failed",
          actions: { type: "setOutcome", params: ({ event }) => ({ type: "failed", reason: event.reason }) },
        },
      },
    },
    finding: {
      initial: "asking",
      states: {
        asking: {
          entry: "find",
          on: {
            "dataset.answered": [
              { guard: { type: "isStaleLookup", params: ({ event }) => event } },
              {
                guard: { type: "isFound", params: ({ event }) => event },
                target: "#scheduler.allocating",
                actions: { type: "noteLookup", params: ({ event }) => event },
              },
              { target: "waiting", actions: { type: "noteLookup", params: ({ event }) => event } },
            ],
          },
          after: { [findDeadlineMs]: "waiting" },
        },
        waiting: { after: { [findAgainMs]: "asking" } },
      },
    },
    allocating: {
      entry: "endBygone",
      initial: "deciding",
      states: {
        trainers: {
          after: {
            regroup: [{ guard: "canRegroup", target: "regrouping" }, { target: "trainers", reenter: true }],
          },
          invoke: {
            id: "allocation",
            src: "allocation",
            input: ({ context, self }) => ({
              descriptor: { class: "train" as const, name: context.config.job.executors.train },
              count: Math.max(
                0,
                context.config.job.resources.numWorkers - trainersOf(context.training).length,
              ),
              resources: context.config.job.resources.worker,
              price: context.config.job.resources.workerPrice,
              excluded: takenPeers(context),
              training: context.run,
              transport: context.transport,
              ports: context.ports,
              parent: self,
            }),
          },
          on: { "allocation.served": "deciding" },
        },
        aggregator: {
          after: {
            regroup: [{ guard: "canRegroup", target: "regrouping" }, { target: "aggregator", reenter: true }],
          },
          invoke: {
            id: "allocation",
            src: "allocation",
            input: ({ context, self }) => ({
              descriptor: { class: "aggregate" as const, name: context.config.job.executors.aggregate },
              count: 1,
              resources: context.config.job.resources.parameterServer,
              price: context.config.job.resources.parameterServerPrice,
              excluded: takenPeers(context),
              training: context.run,
              transport: context.transport,
              ports: context.ports,
              parent: self,
            }),
          },
          on: { "allocation.served": "deciding" },
        },
        regrouping: { entry: "regroup", always: "deciding" },
        // A participant may have been lost while another was allocated.
        deciding: {
          always: [
            { guard: "wantsAggregatorFirst", target: "aggregator" },
            { guard: "lacksTrainers", target: "trainers" },
            { guard: "hasNoAggregator", target: "aggregator" },
            { target: "#scheduler.dispatching" },
          ],
        },
      },
    },
    dispatching: {
      initial: "aggregator",
      states: {
        // The aggregator first, so that it receives before any trainer sends.
        aggregator: {
          entry: "dispatchAggregator",
          always: [
            { guard: "hasNoAggregator", target: "#scheduler.allocating.deciding" },
            { guard: "isAggregatorRunning", target: "trainers" },
          ],
          after: { [dispatchDeadlineMs]: { actions: "loseUndispatched" } },
        },
        trainers: {
          entry: "dispatchTrainers",
          always: { guard: "isEveryTrainerDispatched", target: "#scheduler.training" },
          after: { [dispatchDeadlineMs]: { actions: "loseUndispatched" } },
        },
      },
    },
    training: {
      always: [
        { guard: "isConcluded", target: "concluding" },
        {
          guard: "hasNoTrainers",
          target: "failed",
          actions: { type: "setOutcome", params: { type: "failed", reason: "no trainer is left" } },
        },
        {
          guard: "hasNoAggregator",
          target: "failed",
          actions: { type: "setOutcome", params: { type: "failed", reason: "the aggregator is lost" } },
        },
        { guard: "isAggregatorBehind", actions: "dispatchAggregator" },
      ],
      on: { redispatch: { actions: "dispatchAggregator" } },
      initial: "rounds",
      states: {
        rounds: {
          always: { guard: "isAggregated", target: "tail" },
          initial: "listening",
          states: {
            listening: {
              after: {
                [silenceCheckMs]: { target: "listening", reenter: true, actions: ["loseSilent", "watchRound"] },
              },
            },
          },
        },
        // The last round is counted. Its result is being sent: the aggregator's worker reports the end of the job after that. A foreign
        // aggregator has sent it by then, and its worker reports nothing.
        tail: {
          entry: "reportTail",
          initial: "sending",
          states: {
            sending: {
              always: { guard: "isResultSent", target: "receiving" },
              after: { [sendingMs]: { target: "#scheduler.concluding", actions: "reportUnconfirmed" } },
            },
            // Trainers' receipts and the last evaluation are still missing.
            receiving: { after: { [tailMs]: { target: "#scheduler.concluding", actions: "reportUnconfirmed" } } },
          },
        },
      },
    },
    concluding: {
      entry: "reportDone",
      exit: "releaseEnded",
      always: { guard: "isAllEnded", target: "finished" },
      after: { [lingerMs]: "finished" },
    },
    finished: { type: "final" },
    drained: { type: "final", entry: ["releaseAll", { type: "setOutcome", params: { type: "drained" } }] },
    failed: { type: "final", entry: "releaseAll" },
  },
  output: ({ context }) => context.outcome,
});
