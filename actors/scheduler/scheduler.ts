/**
 * A scheduler's machine: supervises its trainings, each an actor of its own (`training/training_machine.ts`). What arrives is passed on
 * to the training that it is for; what is known of workers is known for all trainings.
 *
 * ```
 *  starting ──▶ configured: the one training of [scheduler.job] ── it ended ──▶ ended
 *     │             └────────── role.drain, role.retire ──▶ leaving ────────────▲
 *     └──▶ loading ──▶ serving: trainings that are submitted ──▶ leaving ── none is left
 *             └── no state directory ──▶ failed
 * ```
 *
 * Without `[scheduler.job]` it is a daemon: it keeps the trainings in its state directory, takes more over its admin socket, and gives those
 * that look for workers their turns (`queue.ts`). It remembers what became of each (`journal.ts`); those that ran when it ended go on.
 *
 * @module
 */
import { monotonicNow } from "../runtime/ports.ts";
import { unknownWorkers } from "../training/workers.ts";
import { settleMs } from "./journal.ts";
import { loadMs } from "./load_trainings.ts";
import { scheduler } from "./scheduler_actions.ts";

/** The role machine of a scheduler. */
export const schedulerMachine = scheduler.createMachine({
  id: "scheduler",
  context: ({ input }) => ({
    ...input,
    trainings: {},
    running: [],
    wanting: {},
    queue: [],
    turn: undefined,
    workers: unknownWorkers,
    startedAt: monotonicNow(input.ports),
    restarted: {},
    sorting: {},
    outcome: { type: "finished" },
  }),
  initial: "starting",
  entry: ["serveRequests", "startStatusBridge"],
  on: {
    "request.received": { actions: { type: "routeRequest", params: ({ event }) => event } },
    "stream.received": { actions: { type: "routeStream", params: ({ event }) => event } },
    "stream.accepted": { actions: { type: "startSorting", params: ({ event }) => event } },
    "effect.done.sorted": { actions: { type: "passSorted", params: ({ event }) => event.value } },
    "peer.closed": {
      actions: [
        { type: "noteGone", params: ({ event }) => event },
        { type: "passFact", params: ({ event }) => event },
      ],
    },
    "peer.established": {
      actions: [
        { type: "noteHere", params: ({ event }) => event },
        { type: "endBygoneAt", params: ({ event }) => event },
        { type: "passFact", params: ({ event }) => event },
      ],
    },
    "authorization.changed": { actions: { type: "passFact", params: ({ event }) => event } },
    "member.connected": { actions: { type: "passFact", params: ({ event }) => event } },
    "training.began": { actions: { type: "noteBegan", params: ({ event }) => event } },
    "training.answered": { actions: { type: "noteAnswer", params: ({ event }) => event } },
    "training.queued": { actions: [{ type: "noteWanting", params: ({ event }) => event }, "giveTurn"] },
    "training.resting": {
      actions: [{ type: "noteTurnOver", params: ({ event: { id } }) => ({ id, how: "resting" }) }, "giveTurn"],
    },
    "training.running": {
      actions: [
        { type: "noteTurnOver", params: ({ event: { id } }) => ({ id, how: "served" }) },
        { type: "noteRunning", params: ({ event }) => event },
        "giveTurn",
      ],
    },
    "worker.known": { actions: { type: "noteKnown", params: ({ event }) => event } },
    "worker.leased": { actions: { type: "noteLeased", params: ({ event }) => event } },
    "worker.left": { actions: { type: "noteLeft", params: ({ event }) => event } },
    "worker.told": { actions: { type: "tellWorker", params: ({ event }) => event } },
    "xstate.done.actor.*": {
      actions: [
        { type: "leaveQueue", params: ({ event }) => event },
        { type: "noteEnded", params: ({ event }) => event },
        "giveTurn",
      ],
    },
  },
  states: {
    starting: { always: [{ guard: "hasJob", target: "configured" }, { target: "loading" }] },
    configured: {
      entry: "startConfigured",
      always: { guard: "hasNoTraining", target: "ended" },
      on: {
        "admin.asked": { actions: { type: "answerOperator", params: ({ event }) => event } },
        "role.drain": { target: "leaving", actions: { type: "passToTrainings", params: ({ event }) => event } },
        "role.retire": { target: "leaving", actions: { type: "passToTrainings", params: ({ event }) => event } },
      },
    },
    loading: {
      invoke: {
        src: "loaded",
        input: ({ context: { ports, config, receiving } }) => ({ ports, stateDir: config.stateDir ?? "", receiving }),
      },
      on: {
        "effect.done.loaded": {
          target: "serving",
          actions: [
            { type: "takeLoaded", params: ({ event }) => event.value },
            { type: "readAgain", params: ({ event }) => event.value },
          ],
        },
        "effect.failed.loaded": {
          target: "failed",
          actions: {
            type: "setOutcome",
            params: ({ event }) => ({ type: "failed", reason: `its state_dir cannot be read: ${event.error.message}` }),
          },
        },
        "role.drain": "drained",
        "role.retire": "drained",
      },
      after: {
        [loadMs]: {
          target: "failed",
          actions: { type: "setOutcome", params: { type: "failed", reason: "its state_dir is too slow" } },
        },
      },
    },
    serving: {
      on: {
        "training.found": { actions: { type: "takeFound", params: ({ event }) => event } },
        "admin.asked": { actions: { type: "answerOperator", params: ({ event }) => event } },
        "xstate.error.actor.*": {
          guard: { type: "isSubmitted", params: ({ event }) => event },
          actions: [
            { type: "leaveQueue", params: ({ event }) => event },
            { type: "noteCrashed", params: ({ event }) => event },
            "giveTurn",
          ],
        },
        "role.drain": { target: "leaving", actions: { type: "passToTrainings", params: ({ event }) => event } },
        "role.retire": { target: "leaving", actions: { type: "passToTrainings", params: ({ event }) => event } },
      },
    },
    // Trainings that are under way may go on for as long as the node waits.
    leaving: {
      always: [{ guard: "isConfiguredOver", target: "ended" }, { guard: "hasNoTraining", target: "settling" }],
      on: {
        "admin.asked": { actions: { type: "answerLeaving", params: ({ event }) => event } },
        "role.drain": { actions: { type: "passToTrainings", params: ({ event }) => event } },
        "role.retire": { actions: { type: "passToTrainings", params: ({ event }) => event } },
      },
    },
    // What became of the trainings is written.
    settling: {
      entry: "settleJournals",
      on: { "admin.asked": { actions: { type: "answerLeaving", params: ({ event }) => event } } },
      after: { [settleMs]: "drained" },
    },
    drained: { type: "final", entry: { type: "setOutcome", params: { type: "drained" } } },
    ended: { type: "final" },
    failed: { type: "final" },
  },
  output: ({ context }) => context.outcome,
});
