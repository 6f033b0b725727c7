/**
 * A worker's machine: offers what it has, leases it to one holder at a time, runs the jobs that are dispatched under its leases.
 *
 * ```
 *  sweeping ──▶ serving ── role.drain ──▶ draining ── jobs ended, or time over ──▶ drained
 *     │         resting ⇄ collecting         ▲
 *     │            └── role.retire ─▶ retiring ── no lease and no job left ──▶ drained
 *     └── its directory is another worker's ──▶ failed
 *               (a request opens a window of 200 ms, then offers go out)
 * ```
 *
 * Each lease and each job is a child of its own. Resources are reserved from the offer on and come back when the offer lapses, or
 * when the lease is over and its last job has ended. `draining` takes no requests and grants nothing;
 * `retiring` makes no new offers, and lets leases that stand go on. A push is handed to the job
 * that receives from its sender, by the desk of `job/ask.ts`; facts about peers that no lease or job depends on change nothing.
 *
 * @module
 */
import { assign } from "xstate";
import { makeJobNetwork } from "../job/ask.ts";
import { cellDefault } from "../config/cell_config.ts";
import { cellRefusal, describeCell, isConfined } from "../job/cell/cell.ts";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { answerRenewal, closeLease, offer, passRenewal, withdrawOffer } from "./offering.ts";
import { requestWindowMs } from "./requests.ts";
import { emptyBook } from "./worker_book.ts";
import { drainMs, sweepMs, workerSetup } from "./worker_setup.ts";
import {
  answerDispatch,
  closeJob,
  endAll,
  goOnWithout,
  noteClosed,
  noteEstablished,
  reportStarted,
} from "./working.ts";

const decline = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "request.received") return;
  enqueue.sendTo(context.transport, { type: "decline", exchange: event.exchange });
});

const declineOthers = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "request.received") return;
  if ("RenewLease" in event.message || "DispatchJob" in event.message) return;
  enqueue.sendTo(context.transport, { type: "decline", exchange: event.exchange });
});

const keepRequest = workerSetup.assign({
  window: ({ context, event }) =>
    event.type === "published" ? [...context.window, { from: event.from, request: event.message }] : context.window,
});

const keepCell = workerSetup.assign(({ context, event }) => {
  if (event.type !== "effect.done.sweep") return {};
  const { cell } = event.value;
  const refusal = cell === undefined ? undefined : cellRefusal(cell, context.config.cell ?? cellDefault);
  return { cell, cellProblem: refusal };
});

/** The node tells the level to whoever probes. */
const tellCell = workerSetup.enqueueActions(({ context, self, enqueue }) => {
  if (context.cell !== undefined && self._parent !== undefined) {
    enqueue.sendParent({ type: "role.cell", level: context.cell.level } as never);
  }
});

const reportCell = workerSetup.createAction(({ context }) => {
  const { cell, cellProblem, config, ports } = context;
  if (cell === undefined) return;
  const { level, user, cgroups, disk, notes } = cell;
  const refused = cellProblem !== undefined && config.executors.some(({ runtime }) => runtime === "process");
  ports.report({
    level: refused ? "error" : isConfined(cell) ? "info" : "warn",
    event: "worker.cell",
    message: refused ? `Jobs with executors will be refused: ${cellProblem}` : describeCell(cell),
    fields: { cell: level, user, cgroups: cgroups.length, disk, confined: isConfined(cell), notes },
  });
});

const reportSwept = workerSetup.createAction(({ context, event }) => {
  if (event.type !== "effect.done.sweep") return;
  const { removed, failed, unswept } = event.value;
  if (unswept !== undefined) {
    context.ports.report({
      level: "warn",
      event: "worker.unswept",
      message: `Cannot sweep left-over work directories: ${unswept}`,
    });
  }
  if (removed.length + failed.length === 0) return;
  context.ports.report({
    level: failed.length > 0 ? "warn" : "info",
    event: "worker.swept",
    message: `Removed ${removed.length} left-over work directories, ${failed.length} could not be removed`,
    fields: { removed, failed: failed.map(({ message }) => message) },
  });
});

/** The role machine of a worker. */
export const workerMachine = workerSetup.createMachine({
  id: "worker",
  context: ({ input }) => ({
    ...input,
    book: emptyBook,
    window: [],
    desk: makeJobNetwork(input.transport, input.ports),
    connected: input.peers,
    cell: undefined,
    cellProblem: "it has not found out yet how to confine executors",
    untold: 0,
    outcome: { type: "drained" },
  }),
  initial: "sweeping",
  // For as long as the worker lives: it holds the lock on the directory.
  invoke: { src: "sweep", input: ({ context: { ports, config } }) => ({ ports, config }) },
  on: {
    "effect.done.sweep": { actions: [keepCell, reportCell, tellCell, reportSwept] },
    "request.received": { actions: decline },
    "stream.received": { actions: ({ context, event }) => context.desk.offer(event) },
    "peer.closed": { actions: noteClosed },
    "peer.established": { actions: noteEstablished },
    "absence.over": { actions: goOnWithout },
    "offer.answered": { actions: withdrawOffer },
    "offer.lapsed": { actions: withdrawOffer },
    "lease.renewed": { actions: passRenewal },
    "lease.refused": { actions: passRenewal },
    "lease.over": { actions: closeLease },
    "job.started": { actions: reportStarted },
    "job.ended": { actions: closeJob },
    "status.answered": { actions: assign({ untold: ({ context }) => Math.max(0, context.untold - 1) }) },
    // A job whose actor died of an error; the wildcard also keeps it from taking the worker with it.
    "xstate.error.actor.*": { actions: closeJob },
  },
  states: {
    sweeping: {
      on: {
        "effect.done.sweep": { target: "serving", actions: [keepCell, reportCell, tellCell, reportSwept] },
        "effect.failed.sweep": {
          target: "failed",
          actions: assign({ outcome: ({ event }) => ({ type: "failed", reason: event.error.message }) }),
        },
        "role.drain": "drained",
        "role.retire": "drained",
      },
      after: { [sweepMs]: "serving" },
    },
    serving: {
      entry: [
        workerSetup.sendTo(({ context }) => context.transport, { type: "serve", protocol: "/hypha-api/0.0.1" }),
        workerSetup.sendTo(({ context }) => context.transport, { type: "subscribe", topic: workerTopic }),
      ],
      on: {
        "request.received": [
          {
            guard: { type: "isApi", params: ({ event }) => event },
            actions: [answerRenewal, answerDispatch, declineOthers],
          },
          { actions: decline },
        ],
        "role.drain": "draining",
        "role.retire": "retiring",
      },
      initial: "resting",
      states: {
        resting: { on: { published: { target: "collecting", actions: keepRequest } } },
        collecting: {
          on: { published: { guard: "isForWindow", actions: keepRequest } },
          after: { [requestWindowMs]: { target: "resting", actions: offer } },
        },
      },
    },
    retiring: {
      entry: workerSetup.sendTo(({ context }) => context.transport, { type: "unsubscribe", topic: workerTopic }),
      always: { guard: "isUnbound", target: "drained" },
      on: {
        "request.received": [
          {
            guard: { type: "isApi", params: ({ event }) => event },
            actions: [answerRenewal, answerDispatch, declineOthers],
          },
          { actions: decline },
        ],
        "role.drain": "draining",
      },
    },
    draining: {
      entry: [
        workerSetup.sendTo(({ context }) => context.transport, { type: "unsubscribe", topic: workerTopic }),
        endAll,
      ],
      always: { guard: "isAllOver", target: "drained" },
      after: { [drainMs]: "drained" },
    },
    drained: { type: "final", entry: ({ context }) => context.desk.stop() },
    failed: { type: "final", entry: ({ context }) => context.desk.stop() },
  },
  output: ({ context }) => context.outcome,
});
