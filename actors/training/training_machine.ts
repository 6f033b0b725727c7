/**
 * One training of a scheduler: finds the data set, allocates workers, dispatches the jobs and answers their progress, round by
 * round until the last. When a trainer is lost, it continues with the others.
 *
 * ```
 *  preparing ──▶ finding ──▶ allocating ──▶ dispatching ──▶ running ──▶ measuring ──▶ concluding ──▶ finished
 *      │            ▲ │      (trainers ─▶    (aggregator ─▶      │
 *      │            └─┘       aggregator)     trainers)          ├── no trainer left, no aggregator ──▶ failed
 *      └── evaluation broken, no round yet ──▶ failed            │   (with a model: waiting, until there are others)
 *                                                                └── a member lost or new: the aggregator is dispatched again
 *
 *  role.drain, in every state ──▶ drained; role.retire ──▶ drained before rounds begin, or after a round that is kept
 * ```
 *
 * While one part cannot be filled, it releases the workers of the other and fills the parts in the other order
 * (`allocating.regrouping`): the only worker that can aggregate may have been leased as a trainer.
 *
 * With weights of its own it keeps the model (`training/model_store.ts`): a round is finished when it is on disk, and a
 * training that begins again goes on after the newest of its rounds. Lost members are replaced while the others train: a newcomer is
 * named to the aggregator for results, then gets its job and the parameters, and is counted when it has the newest result. Another
 * aggregator gets velocity and layout; the trainers' workers get a message, and send it what they have.
 *
 * A participant is lost when its connection was closed because of its certificate, or for longer than `absence_s`; when its worker
 * ends the lease or reports that the job failed; or when a trainer stays silent. Progress, data and offers are answered in
 * every state, other requests declined. Facts about peers that are no participants are ignored.
 *
 * @module
 */
import { and } from "xstate";
import {
  dispatchDeadlineMs,
  findAgainMs,
  findDeadlineMs,
  lingerMs,
  sendingMs,
  silenceCheckMs,
  tailMs,
} from "./training_setup.ts";
import { initialContext } from "./initial_context.ts";
import { aggregatorAllocation, trainerAllocation, trainersAtStart } from "./seeking.ts";
import { trainingWithActions } from "./training_actions.ts";

/** The machine of one training. */
export const trainingMachine = trainingWithActions.createMachine({
  id: "training",
  context: ({ input }) => initialContext(input),
  initial: "numbering",
  on: {
    "role.drain": { target: ".drained" },
    "role.retire": { target: ".drained" },
    "request.received": { actions: { type: "answerRequest", params: ({ event }) => event } },
    "stream.received": { actions: { type: "routeStream", params: ({ event }) => event } },
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
        { type: "noteSuccessor", params: ({ event }) => event },
        { type: "noteProvider", params: ({ event }) => event },
      ],
    },
    "authorization.changed": { actions: { type: "noteDenied", params: ({ event }) => event } },
    "member.connected": { actions: { type: "noteMember", params: ({ event }) => event } },
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
    "allocation.ungranted": { actions: { type: "noteUngranted", params: ({ event }) => event } },
    "dispatch.answered": { actions: { type: "noteDispatch", params: ({ event }) => event } },
    "round.evaluated": { actions: { type: "noteEvaluated", params: ({ event }) => event } },
    "evaluation.broken": { actions: { type: "noteEvaluation", params: "broken" } },
    "round.kept": { actions: { type: "noteKept", params: ({ event }) => event } },
    "model.paused": { actions: { type: "notePaused", params: ({ event }) => event } },
    "model.settled": { actions: "noteSettled" },
    "result.rejected": {
      actions: [
        { type: "bar", params: ({ event }) => event },
        {
          type: "raiseLost",
          params: ({ event: { peer, reason } }) => ({ peer, reason: `its result does not fit: ${reason}` }),
        },
      ],
    },
    "model.broken": {
      target: ".failed",
      actions: { type: "fail", params: ({ event }) => event.reason },
    },
  },
  states: {
    numbering: {
      always: { guard: "hasRun", target: "opening", actions: "announceRun" },
      invoke: {
        src: "takeRun",
        input: ({ context: { ports, config, id } }) => ({ ports, stateDir: config.stateDir ?? "", id }),
      },
      on: {
        "effect.done.run": { actions: { type: "noteRun", params: ({ event }) => event.value } },
        "effect.failed.run": {
          target: "failed",
          actions: { type: "fail", params: ({ event }) => event.error.message },
        },
      },
    },
    // Weights of the scheduler's own: its newest round, or the weights themselves.
    opening: {
      always: { guard: "keepsNoModel", target: "preparing" },
      entry: "startModel",
      on: {
        "model.opened": { target: "preparing", actions: { type: "takeModel", params: ({ event }) => event } },
        "model.paused": { actions: "noteUnopened" },
      },
    },
    // Where the last round is on disk already, it is measured, or nothing is left to do.
    preparing: {
      always: [
        { guard: and(["doesNotEvaluate", "isAllDone"]), target: "concluding" },
        { guard: "doesNotEvaluate", target: "finding" },
      ],
      entry: "startEvaluation",
      on: {
        "evaluation.ready": [
          { guard: "isAllDone", target: "measuring", actions: { type: "noteEvaluation", params: "on" } },
          { target: "finding", actions: { type: "noteEvaluation", params: "on" } },
        ],
        "evaluation.broken": [
          { guard: "isAllDone", target: "concluding", actions: { type: "noteEvaluation", params: "broken" } },
          { guard: "hasRounds", target: "finding", actions: { type: "noteEvaluation", params: "broken" } },
          { target: "failed", actions: { type: "fail", params: ({ event }) => event.reason } },
        ],
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
                target: "#training.allocating",
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
      initial: "queueing",
      states: {
        queueing: {
          entry: "askTurn",
          on: { "turn.granted": { target: "deciding", actions: "beginTurn" } },
        },
        trainers: {
          after: {
            regroup: [
              { guard: "canRegroup", target: "regrouping" },
              { guard: "takesTurns", target: "regrouping" },
              { target: "trainers", reenter: true },
            ],
          },
          invoke: {
            id: "allocation",
            src: "allocation",
            input: (args) => trainersAtStart(args),
          },
          on: { "allocation.served": "deciding" },
        },
        aggregator: {
          after: {
            regroup: [
              { guard: "canRegroup", target: "regrouping" },
              { guard: "takesTurns", target: "regrouping" },
              { target: "aggregator", reenter: true },
            ],
          },
          invoke: {
            id: "allocation",
            src: "allocation",
            input: (args) => aggregatorAllocation(args),
          },
          on: { "allocation.served": "deciding" },
        },
        regrouping: { entry: "regroup", always: [{ guard: "takesTurns", target: "resting" }, { target: "deciding" }] },
        resting: { entry: "tellResting", after: { rest: "queueing" } },
        // A participant may have been lost while another was allocated.
        deciding: {
          always: [
            { guard: "wantsAggregatorFirst", target: "aggregator" },
            { guard: "lacksTrainers", target: "trainers" },
            { guard: "hasNoAggregator", target: "aggregator" },
            { target: "#training.dispatching" },
          ],
        },
      },
    },
    dispatching: {
      entry: "tellRunning",
      initial: "aggregator",
      states: {
        // The aggregator first, so that it receives before any trainer sends.
        aggregator: {
          entry: "dispatchAggregator",
          always: [
            // Its turn is over: it holds nothing while it waits for the next one.
            { guard: "hasToQueue", target: "#training.allocating.regrouping" },
            { guard: "hasNoAggregator", target: "#training.allocating.deciding" },
            { guard: "isAggregatorRunning", target: "trainers" },
          ],
          after: { [dispatchDeadlineMs]: { actions: "loseUndispatched" } },
        },
        trainers: {
          entry: "dispatchTrainers",
          always: { guard: "isEveryTrainerDispatched", target: "#training.running" },
          after: { [dispatchDeadlineMs]: { actions: "loseUndispatched" } },
        },
      },
    },
    running: {
      type: "parallel",
      always: [
        { guard: "isConcluded", target: "measuring" },
        { guard: "isLeftWithModel", target: "measuring", actions: "reportUnconfirmed" },
        { guard: "isWithoutTrainers", target: "failed", actions: { type: "fail", params: "no trainer is left" } },
        { guard: "isWithoutAggregator", target: "failed", actions: { type: "fail", params: "the aggregator is lost" } },
        { guard: "isRetired", target: "drained" },
        { guard: "hasLeaver", actions: "letLeave" },
        { guard: "isAggregatorBehind", actions: "dispatchAggregator" },
        { guard: "hasEntered", actions: "dispatchTrainers" },
        { guard: "hasUntold", actions: "changeTrainers" },
      ],
      on: {
        // Without a model it goes on until its end, or for as long as the node waits.
        "role.retire": { actions: "noteRetired" },
        redispatch: { actions: "dispatchAggregator" },
        "change.answered": { actions: { type: "noteChange", params: ({ event }) => event } },
        "change.again": { actions: { type: "changeAgain", params: ({ event }) => event } },
      },
      states: {
        progress: {
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
            // The last round is counted. Its result is being sent: the aggregator's worker reports the end of the job after that. A
            // foreign aggregator has sent it by then, and its worker reports nothing.
            tail: {
              entry: "reportTail",
              initial: "sending",
              states: {
                sending: {
                  always: { guard: "isResultSent", target: "receiving" },
                  // The aggregator is gone: what it did not send does not come.
                  on: {
                    "absence.over": {
                      guard: { type: "isAggregator", params: ({ event }) => event },
                      target: "receiving",
                    },
                    "held.lost": {
                      guard: { type: "isAggregator", params: ({ event: { giver } }) => ({ peer: giver }) },
                      target: "receiving",
                    },
                  },
                  after: { [sendingMs]: { target: "#training.measuring", actions: "reportUnconfirmed" } },
                },
                // Trainers' receipts and the last evaluation are still missing.
                receiving: { after: { [tailMs]: { target: "#training.measuring", actions: "reportUnconfirmed" } } },
              },
            },
          },
        },
        // Where the scheduler keeps the model, others take the places of lost members: an aggregator first.
        members: {
          initial: "settled",
          states: {
            settled: {
              always: [
                { guard: "needsAggregator", target: "seekingAggregator" },
                { guard: "hasLeasedAggregator", target: "introducing" },
                { guard: "needsTrainer", target: "seekingTrainer" },
              ],
            },
            seekingAggregator: {
              always: { guard: "needsNoAggregator", target: "settled" },
              invoke: { id: "allocation", src: "allocation", input: (args) => aggregatorAllocation(args) },
              after: { seekAgain: { target: "seekingAggregator", reenter: true, actions: "forgive" } },
            },
            introducing: {
              entry: "dispatchAggregator",
              always: [
                { guard: "needsAggregator", target: "settled" },
                { guard: "isAggregatorRunning", target: "settled" },
              ],
              after: { [dispatchDeadlineMs]: { actions: "loseUndispatched" } },
            },
            seekingTrainer: {
              always: { guard: "needsNoTrainer", target: "settled" },
              invoke: { id: "allocation", src: "allocation", input: (args) => trainerAllocation(args, 1) },
              on: { "allocation.served": "settled" },
              after: { seekAgain: { target: "seekingTrainer", reenter: true, actions: "forgive" } },
            },
          },
        },
        strength: {
          initial: "enough",
          states: {
            enough: {
              always: { guard: "isTooFew", target: "waiting", actions: ["beginWait", "reportWaiting"] },
            },
            waiting: {
              always: [
                { guard: "isStrong", target: "enough", actions: "reportStrong" },
                { guard: "hasWaited", target: "#training.failed", actions: "failWaiting" },
              ],
              after: { wait: { target: "waiting", reenter: true } },
            },
          },
        },
      },
    },
    // The last round is on disk, and its evaluation takes longer than the members are needed.
    measuring: {
      always: { guard: "isMeasured", target: "concluding" },
      on: { "role.retire": {} },
      after: { [lingerMs]: { actions: "letGo" }, measuring: "concluding" },
    },
    concluding: {
      entry: ["reportDone", "reportModel"],
      exit: "releaseEnded",
      always: { guard: "isAllEnded", target: "finished" },
      on: { "role.retire": [{ guard: "keepsModel", target: "drained" }, {}] },
      after: { [lingerMs]: "finished" },
    },
    finished: { type: "final" },
    drained: { type: "final", entry: ["releaseAll", { type: "setOutcome", params: { type: "drained" } }] },
    failed: { type: "final", entry: "releaseAll" },
  },
  output: ({ context }) => context.outcome,
});
