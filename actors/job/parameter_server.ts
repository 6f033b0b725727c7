/**
 * The parameter server: collects one update of each trainer, takes the outer step, reports the round to the scheduler and sends
 * the result to all trainers, until the scheduler has answered `Done`.
 *
 * ```
 *  opening ──▶ restoring (the velocity of a training that goes on) ──▶ working
 *                collecting ── all there ──▶ aggregating ──▶ reporting ──▶ distributing ── was the last ──▶ finished
 *                   ▲  ▲                         │                             │
 *                   │  └── an update is rejected ┘                             │
 *                   └──────────────────────── the next round ──────────────────┘
 *                taking ── a push ──▶ (saving, a child of its own) ──▶ taking
 *
 *  no trainer left, file system or scheduler gone ──▶ failed
 * ```
 *
 * A scheduler that keeps the model is handed the result before the trainers get it, and again until it has acknowledged the round: the
 * next round's result is never on its way before that.
 *
 * It waits for exactly the peers that the job's `updates` names; `job.updated` replaces them. A peer that is left out is
 * out for good; its running push is reset, and so is the result that goes to it. A peer pushes once a round; a push that is
 * ahead of the others counts for the next round, and ends the copy of the result to its sender. Three kinds of trainer are dropped:
 *
 * - one whose update does not fit the model;
 * - one whose push broke off and was not repeated within {@linkcode brokenPatienceMs}: it may believe that its update was
 *   taken, and would wait for a result that waits for it;
 * - one that did not receive a result, for the same reason.
 *
 * One that takes over from another fetches the velocity, and sends the newest result to the trainers that the job names as late.
 *
 * The parameter server knows nothing of leases: the worker ends it with its job.
 *
 * @module
 */
import { assign, enqueueActions } from "xstate";
import { present } from "../runtime/present.ts";
import type { PushReceiver } from "./network.ts";
import {
  allow,
  closeRound,
  leaveOverdue,
  leaveUnsent,
  messageOf,
  nameMissing,
  noteAggregated,
  noteSaved,
  putOut,
  repeatResult,
  replaceExpected,
  reportUnhanded,
  reportUnrepeated,
  save,
  setDeadline,
} from "./parameter_server/actions.ts";
import { aggregateConfig, AveragingSteps, firstRound, ResultCopies } from "./parameter_server/effects.ts";
import { type ParameterServerContext, serverSetup } from "./parameter_server/setup.ts";

export { brokenPatienceMs } from "./parameter_server/actions.ts";
export { reportTriesMax } from "./parameter_server/setup.ts";

/** Between two reports of a round to the scheduler, in milliseconds. */
export const reportAgainMs = 1_000;
/** Between two reports of whose updates a round misses, in milliseconds. */
export const missingMs = 60_000;
/** Between two tries of handing a result to a scheduler that keeps the model, in milliseconds. */
export const handAgainMs = 5_000;
/** Averaging that makes no step for so long stands still, in milliseconds: the sync of a large result is one step. */
export const aggregateStepMs = 600_000;

const resultFile = ({ round }: ParameterServerContext): string => `outer/${round}.safetensors`;

const server = serverSetup.extend({
  actions: {
    allow,
    save: enqueueActions(save),
    noteSaved: enqueueActions(noteSaved),
    replaceExpected: enqueueActions(replaceExpected),
    repeatResult: enqueueActions(repeatResult),
    reportUnrepeated,
    noteAggregated: enqueueActions(noteAggregated),
    putOut: enqueueActions(putOut),
    leaveOverdue: enqueueActions(leaveOverdue),
    leaveUnsent: enqueueActions(leaveUnsent),
    nameMissing: enqueueActions(nameMissing),
    takeReceiver: assign({ receiver: (_, { value }: { readonly value: PushReceiver }) => value }),
    /** From here on a push counts for the next round. */
    beginRound: assign({ batch: ({ context }) => context.received, received: {} }),
    closeRound: enqueueActions(closeRound),
    setDeadline: enqueueActions(setDeadline),
    noteInTime: assign({ lateness: {} }),
    noteDue: assign((_, { round }: { readonly round: number }) => ({ due: round })),
    endRound: assign({ batch: {}, tries: 0, handings: 0, verdicts: [], round: ({ context }) => context.round + 1 }),
    noteLast: assign({ isLast: true }),
    countTry: assign({ tries: ({ context }) => context.tries + 1 }),
    countHanding: assign({ handings: ({ context }) => context.handings + 1 }),
    reportUnhanded,
    noteSteps: assign({ stepsSeen: ({ context }) => context.averaging.steps }),
    failOf: assign((_, reason: string) => ({ outcome: { type: "failed", reason } })),
    failOfError: assign((_, { error }: { readonly error: unknown }) => ({
      outcome: { type: "failed", reason: messageOf(error) },
    })),
  },
});

/** The machine of runtime `parameter-server`: the `aggregator` of `jobMachine`. */
export const parameterServerMachine = server.createMachine({
  id: "parameterServer",
  context: ({ input }) => ({
    job: input,
    receiver: undefined,
    copies: new ResultCopies(),
    averaging: new AveragingSteps(),
    stepsSeen: 0,
    expected: aggregateConfig(input.spec).updates.peers,
    results: aggregateConfig(input.spec).results.peers,
    rejected: [],
    received: {},
    saving: [],
    batch: {},
    round: firstRound(input.spec),
    pushes: 0,
    tries: 0,
    handings: 0,
    due: undefined,
    lateness: {},
    isLast: false,
    verdicts: [],
    outcome: { type: "finished" },
  }),
  initial: "open",
  on: {
    "job.updated": { actions: { type: "replaceExpected", params: ({ event }) => event } },
  },
  states: {
    open: {
      invoke: {
        src: "receiver",
        input: ({ context }) => ({ ports: context.job.ports, job: context.job, peers: context.expected }),
      },
      on: {
        "effect.failed.receiver": {
          target: "failed",
          actions: { type: "failOfError", params: ({ event }) => event },
        },
        "effect.done.saved": {
          actions: [{ type: "noteSaved", params: ({ event }) => event.value }, "allow"],
        },
        "effect.failed.saved": {
          target: "failed",
          actions: { type: "failOfError", params: ({ event }) => event },
        },
        "effect.failed.repeated": {
          actions: { type: "reportUnrepeated", params: ({ event }) => event },
        },
        "round.due": { actions: { type: "noteDue", params: ({ event }) => event } },
        "update.overdue": {
          guard: { type: "isOverdue", params: ({ event }) => event },
          actions: { type: "leaveOverdue", params: ({ event }) => event },
        },
      },
      initial: "opening",
      states: {
        opening: {
          on: {
            "effect.done.receiver": [
              {
                guard: "goesOn",
                target: "restoring",
                actions: [{ type: "takeReceiver", params: ({ event }) => event }, "allow"],
              },
              {
                target: "working",
                actions: [{ type: "takeReceiver", params: ({ event }) => event }, "allow"],
              },
            ],
          },
        },
        restoring: {
          invoke: { src: "restored", input: ({ context: { job } }) => ({ ports: job.ports, job }) },
          on: {
            "effect.done.restored": "working",
            "effect.failed.restored": {
              target: "#parameterServer.failed",
              actions: { type: "failOfError", params: ({ event }) => event },
            },
          },
        },
        working: {
          entry: ["repeatResult", "setDeadline"],
          type: "parallel",
          states: {
            pushes: {
              initial: "taking",
              states: {
                taking: {
                  invoke: {
                    src: "push",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      receiver: present(context.receiver, "the receiver"),
                    }),
                  },
                  on: {
                    "effect.done.push": {
                      target: "taking",
                      reenter: true,
                      actions: [{ type: "save", params: ({ event }) => ({ stream: event.value }) }, "allow"],
                    },
                    "effect.failed.push": {
                      target: "#parameterServer.failed",
                      actions: { type: "failOfError", params: ({ event }) => event },
                    },
                  },
                },
              },
            },
            rounds: {
              initial: "collecting",
              states: {
                collecting: {
                  after: { [missingMs]: { target: "collecting", reenter: true, actions: "nameMissing" } },
                  always: [
                    {
                      guard: "hasNoTrainers",
                      target: "#parameterServer.failed",
                      actions: { type: "failOf", params: "no trainer is left to wait for" },
                    },
                    {
                      guard: "isAllThere",
                      target: "aggregating",
                      actions: ["noteInTime", "beginRound", "allow"],
                    },
                    {
                      guard: "hasQuorum",
                      target: "aggregating",
                      actions: ["closeRound", "beginRound", "allow"],
                    },
                  ],
                },
                aggregating: {
                  entry: "noteSteps",
                  initial: "averaging",
                  states: {
                    averaging: {
                      after: {
                        [aggregateStepMs]: [
                          { guard: "hasStepped", target: "averaging", reenter: true, actions: "noteSteps" },
                          {
                            target: "#parameterServer.failed",
                            actions: { type: "failOf", params: "averaging stands still" },
                          },
                        ],
                      },
                    },
                  },
                  invoke: {
                    src: "aggregated",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      job: context.job,
                      batch: context.batch,
                      out: resultFile(context),
                      averaging: context.averaging,
                    }),
                  },
                  on: {
                    "effect.done.aggregated": {
                      target: "reporting",
                      actions: { type: "noteAggregated", params: ({ event }) => event.value },
                    },
                    "effect.failed.aggregated": [
                      {
                        guard: { type: "hasCulprit", params: ({ event }) => event },
                        target: "collecting",
                        actions: { type: "putOut", params: ({ event }) => event },
                      },
                      {
                        target: "#parameterServer.failed",
                        actions: { type: "failOfError", params: ({ event }) => event },
                      },
                    ],
                  },
                },
                // Before the result is sent: a scheduler of the existing network that hears of receipts first waits for ever.
                reporting: {
                  entry: "countTry",
                  invoke: {
                    src: "reported",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      job: context.job,
                      round: context.round,
                      members: context.verdicts,
                    }),
                  },
                  on: {
                    "effect.done.reported": [
                      {
                        guard: { type: "isDone", params: ({ event }) => ({ answer: event.value }) },
                        target: "sending",
                        actions: "noteLast",
                      },
                      {
                        guard: { type: "isOk", params: ({ event }) => ({ answer: event.value }) },
                        target: "sending",
                      },
                      {
                        target: "#parameterServer.failed",
                        actions: { type: "failOf", params: "the scheduler cannot place the round" },
                      },
                    ],
                    "effect.failed.reported": [
                      { guard: "isWorthRetrying", target: "waiting" },
                      {
                        target: "#parameterServer.failed",
                        actions: { type: "failOfError", params: ({ event }) => event },
                      },
                    ],
                  },
                },
                waiting: { after: { [reportAgainMs]: "reporting" } },
                sending: { always: [{ guard: "keepsModel", target: "handing" }, { target: "distributing" }] },
                // The training waits here while its scheduler has no room for the model.
                handing: {
                  entry: "countHanding",
                  invoke: {
                    src: "handed",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      job: context.job,
                      round: context.round,
                      out: resultFile(context),
                    }),
                  },
                  on: {
                    "effect.done.handed": "distributing",
                    "effect.failed.handed": {
                      target: "handingAgain",
                      actions: { type: "reportUnhanded", params: ({ event }) => event },
                    },
                  },
                },
                handingAgain: { after: { [handAgainMs]: "handing" } },
                // Bounded by the copies' own limits: a receiver that takes nothing, or takes it too slowly, is given up. A large
                // result may take longer than the scheduler waits: a receiver that says it has the result already is named.
                distributing: {
                  initial: "copying",
                  states: {
                    copying: {
                      after: { [missingMs]: { target: "copying", reenter: true, actions: "nameMissing" } },
                    },
                  },
                  invoke: {
                    src: "distributed",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      job: context.job,
                      copies: context.copies,
                      round: context.round,
                      peers: context.results,
                      out: resultFile(context),
                      spent: Object.values(context.batch),
                    }),
                  },
                  on: {
                    "effect.done.distributed": [
                      {
                        guard: "isLast",
                        target: "#parameterServer.finished",
                        actions: { type: "leaveUnsent", params: ({ event }) => event.value },
                      },
                      {
                        target: "collecting",
                        actions: [
                          { type: "leaveUnsent", params: ({ event }) => event.value },
                          "endRound",
                          "setDeadline",
                          "allow",
                        ],
                      },
                    ],
                    "effect.failed.distributed": {
                      target: "#parameterServer.failed",
                      actions: { type: "failOfError", params: ({ event }) => event },
                    },
                  },
                },
              },
            },
          },
        },
      },
    },
    finished: { type: "final" },
    failed: { type: "final" },
  },
  output: ({ context }) => context.outcome,
});
