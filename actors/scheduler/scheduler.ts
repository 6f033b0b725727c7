/**
 * A scheduler's machine: supervises its trainings, each an actor of its own (`training/training_machine.ts`). What arrives is passed on
 * to the training that it is for; what is known of workers is known for all trainings.
 *
 * ```
 *  running ── role.drain, role.retire: the trainings are told ──▶ leaving
 *     └────────────────── the configured training ended ──▶ ended ◀── none is left
 * ```
 *
 * With `[scheduler.job]` it has that one training, and ends with it.
 *
 * @module
 */
import { unknownWorkers } from "../training/workers.ts";
import { scheduler } from "./scheduler_actions.ts";

/** The role machine of a scheduler. */
export const schedulerMachine = scheduler.createMachine({
  id: "scheduler",
  context: ({ input }) => ({
    ...input,
    running: [],
    workers: unknownWorkers,
    startedAt: input.ports.now(),
    restarted: {},
    sorting: {},
    outcome: { type: "finished" },
  }),
  initial: "running",
  entry: ["serveRequests", "startConfigured"],
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
    "training.began": { actions: { type: "noteBegan", params: ({ event }) => event } },
    "training.answered": { actions: { type: "noteAnswer", params: ({ event }) => event } },
    "worker.known": { actions: { type: "noteKnown", params: ({ event }) => event } },
    "worker.leased": { actions: { type: "noteLeased", params: ({ event }) => event } },
    "worker.left": { actions: { type: "noteLeft", params: ({ event }) => event } },
    "worker.told": { actions: { type: "tellWorker", params: ({ event }) => event } },
    "xstate.done.actor.*": { actions: { type: "noteEnded", params: ({ event }) => event } },
  },
  states: {
    running: {
      always: { guard: "hasNoTraining", target: "ended" },
      on: {
        "role.drain": { target: "leaving", actions: { type: "passToTrainings", params: ({ event }) => event } },
        "role.retire": { target: "leaving", actions: { type: "passToTrainings", params: ({ event }) => event } },
      },
    },
    leaving: {
      always: { guard: "hasNoTraining", target: "ended" },
      on: {
        "role.drain": { actions: { type: "passToTrainings", params: ({ event }) => event } },
        "role.retire": { actions: { type: "passToTrainings", params: ({ event }) => event } },
      },
    },
    ended: { type: "final" },
  },
  output: ({ context }) => context.outcome,
});
