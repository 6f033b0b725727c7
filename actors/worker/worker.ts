/**
 * A worker's machine: offers its resources, leases them to one holder at a time, and runs the jobs that are dispatched under
 * its leases.
 *
 * ```
 *  sweeping ──▶ serving ── role.drain ──▶ draining ── jobs ended, or time over ──▶ drained
 *               resting ⇄ collecting         ▲
 *                  └── role.retire ─▶ retiring ── no lease and no job left ──▶ drained
 *  (each) ── its directory is another worker's, or its preparation failed ──▶ failed
 *               (a request opens a window of 200 ms, then offers go out)
 * ```
 *
 * Each lease and each job is a child of its own. Resources are reserved from the offer on, until the offer lapses, or the lease
 * is over and its last job has ended; an offer to a scheduler that left one unaccepted reserves none (`unaccepted.ts`). `draining` takes no requests and grants no leases. `retiring` makes no new offers and
 * keeps the existing leases. The job network host (`job/job_network.ts`) hands a push to the job that receives from its sender.
 * Facts about peers that no lease or job depends on are ignored.
 *
 * @module
 */
import { assign, enqueueActions, sendTo } from "xstate";
import type { TransportFact } from "../../transport/port.ts";
import type { TriedGpus } from "../job/cell/gpus.ts";
import type { PreparedWorker } from "../job/cell/prepare.ts";
import type { ExecutorProblem } from "../job/cell/try_executors.ts";
import type { EffectDone } from "../runtime/effect_actor.ts";
import { handleRequest, type ReceivedRequest, type RequestTable } from "../runtime/requests.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { makeJobNetworkHost } from "../job/job_network.ts";
import { cellDefault } from "../config/cell_config.ts";
import type { WorkerConfig } from "../config/config.ts";
import { cellRefusal, describeCell, isConfined } from "../job/cell/cell.ts";
import { reportSwept } from "../job/sweep.ts";
import { workerTopic } from "../../transport/protocols/messages.ts";
import { answerRefused, answerRenewal, answerRenewed, closeLease, offer, withdrawOffer } from "./offering.ts";
import { requestWindowMs } from "./requests.ts";
import { noCommitments } from "./commitments.ts";
import { gpuMemory } from "./gpus.ts";
import { answerTraining } from "./training_requests.ts";
import { drainMs, sweepMs, type WorkerArgs, type WorkerContext, workerSetup } from "./worker_setup.ts";
import {
  answerDispatch,
  closeJob,
  endAll,
  endOfDeath,
  goOnWithout,
  noteClosed,
  noteDenied,
  noteEstablished,
  reportStarted,
  webOf,
} from "./working.ts";

/** The requests that a worker answers, by protocol and variant. It declines the others. */
const requests: RequestTable<WorkerArgs> = {
  "/hypha-health/0.0.1": decline,
  "/hypha-progress/0.0.1": decline,
  "/hypha-training/1": answerTraining,
  "/hypha-api/0.0.1": {
    RenewLease: answerRenewal,
    DispatchJob: answerDispatch,
    WorkerOffer: decline,
    JobStatus: decline,
    Data: decline,
  },
};

function answerRequest(args: WorkerArgs, request: ReceivedRequest): void {
  if (!handleRequest(requests, args, request)) decline(args, request);
}

function decline({ context, enqueue }: WorkerArgs, { exchange }: { readonly exchange: string }): void {
  enqueue.sendTo(context.transport, { type: "decline", exchange });
}

function serve({ context, enqueue }: WorkerArgs): void {
  enqueue.sendTo(context.transport, { type: "serve", protocol: "/hypha-api/0.0.1" });
  enqueue.sendTo(context.transport, { type: "serve", protocol: "/hypha-training/1" });
  enqueue.sendTo(context.transport, { type: "subscribe", topic: workerTopic });
}

/** The node tells the level to peers that probe it. */
function sendCell({ context: { cell, parent }, enqueue }: WorkerArgs): void {
  if (cell !== undefined && parent !== undefined) enqueue.sendTo(parent, { type: "role.cell", level: cell.level });
}

function reportCell({ context }: { readonly context: WorkerContext }): void {
  const { cell, cellProblem, config, ports } = context;
  if (cell === undefined) return;
  const { level, user, cgroups, disk, notes } = cell;
  const refused = cellProblem !== undefined && config.executors.some(({ runtime }) => runtime === "process");
  ports.report({
    level: refused ? "error" : isConfined(cell) ? "info" : "warn",
    event: "worker.cell",
    message: refused ? `Executors that are programs are not offered: ${cellProblem}` : describeCell(cell),
    fields: { cell: level, user, cgroups: cgroups.length, disk, confined: isConfined(cell), notes },
  });
}

/** From now on the worker offers the GPU memory that jobs can use. */
function takeGpus(config: WorkerConfig, { usable }: TriedGpus): Pick<WorkerContext, "config" | "gpus"> {
  const { gpu: tables } = config.cell ?? cellDefault;
  const gpus = new Map(usable.map((index) => [index, tables[index]?.memory ?? 0]));
  const gpu = Math.min(config.resources.gpu, gpuMemory(gpus, usable));
  return { gpus, config: { ...config, resources: { ...config.resources, gpu } } };
}

/** Reports the GPUs that are not offered. */
function reportGpus({ context }: { readonly context: WorkerContext }, { gpus }: PreparedWorker): void {
  if (gpus === undefined) return;
  const { config, ports } = context;
  const isWithout = config.resources.gpu > 0 && (config.cell ?? cellDefault).gpu.length === 0;
  const problems = [
    ...gpus.problems,
    ...(isWithout ? ["no table [[cell.gpu]] names the devices that jobs get"] : []),
  ];
  for (const reason of problems) {
    ports.report({
      level: "error",
      event: "worker.gpu",
      message: `GPU memory is not offered: ${reason}`,
      fields: { reason },
    });
  }
}

/** Reports the executors that are not offered, and those that may miss a file. */
function reportExecutors({ context }: { readonly context: WorkerContext }, { executors }: PreparedWorker): void {
  const report = (level: "error" | "warn", verdict: string, { executor, reason }: ExecutorProblem) =>
    context.ports.report({
      level,
      event: "worker.executor",
      message: `Executor ${executor.class}/${executor.name} ${verdict}: ${reason}`,
      fields: { class: executor.class, name: executor.name, reason },
    });
  for (const problem of executors?.missing ?? []) report("error", "is not offered", problem);
  for (const problem of executors?.unread ?? []) report("warn", "may miss a file", problem);
}

const worker = workerSetup.extend({
  actions: {
    serve: enqueueActions(serve),
    unsubscribe: sendTo(({ context }) => context.transport, { type: "unsubscribe", topic: workerTopic }),
    decline: enqueueActions(decline),
    answerRequest: enqueueActions(answerRequest),
    passStream: ({ context }, fact: Extract<TransportFact, { type: "stream.received" }>) =>
      context.jobNetworkHost.offer(fact),
    stopJobNetworkHost: ({ context }) => context.jobNetworkHost.stop(),
    takeCell: assign(({ context: { config } }, { cell, gpus, executors: tried }: PreparedWorker) => {
      const missing = tried?.missing ?? [];
      const executors = config.executors.filter((each) => !missing.some(({ executor }) => executor === each));
      const startable = missing.length === 0 ? config : { ...config, executors };
      return {
        cell,
        cellProblem: cell === undefined ? undefined : cellRefusal(cell, config.cell ?? cellDefault),
        ...(gpus === undefined ? { config: startable } : takeGpus(startable, gpus)),
      };
    }),
    sendCell: enqueueActions(sendCell),
    reportCell,
    reportSwept: ({ context: { ports } }, swept: PreparedWorker) => reportSwept(ports.report, "worker", swept),
    reportGpus,
    reportExecutors,
    keepRequest: assign(({ context }, { from, message }: Extract<TransportFact, { type: "published" }>) => ({
      window: [...context.window, { from, request: message, at: monotonicNow(context.ports) }],
    })),
    offer: enqueueActions(offer),
    withdrawOffer: enqueueActions(withdrawOffer),
    answerRenewed: enqueueActions(answerRenewed),
    answerRefused: enqueueActions(answerRefused),
    closeLease: enqueueActions(closeLease),
    reportStarted,
    answerDispatch: enqueueActions(answerDispatch),
    closeJob: enqueueActions(closeJob),
    noteStatus: assign({ unacknowledged: ({ context }) => Math.max(0, context.unacknowledged - 1) }),
    noteClosed: enqueueActions(noteClosed),
    noteEstablished: enqueueActions(noteEstablished),
    noteDenied: enqueueActions(noteDenied),
    goOnWithout: enqueueActions(goOnWithout),
    endAll: enqueueActions(endAll),
    setFailed: assign((_, { error }: { readonly error: Error }) => ({
      outcome: { type: "failed", reason: error.message },
    })),
  },
});

/** Takes the cell that was found, and reports the cell, the GPUs and the swept directories. */
const takePrepared = [
  { type: "reportGpus", params: prepared },
  { type: "reportExecutors", params: prepared },
  { type: "takeCell", params: prepared },
  "reportCell",
  "sendCell",
  { type: "reportSwept", params: prepared },
] as const;

function prepared({ event }: { readonly event: EffectDone<"sweep", PreparedWorker> }): PreparedWorker {
  return event.value;
}

/** The role machine of a worker. */
export const workerMachine = worker.createMachine({
  id: "worker",
  context: ({ input }) => ({
    ...input,
    book: noCommitments,
    runs: {},
    postponed: [],
    window: [],
    waiting: [],
    unaccepted: new Map(),
    failing: new Map(),
    jobNetworkHost: makeJobNetworkHost(input.transport, input.ports),
    web: webOf(input),
    cell: undefined,
    gpus: undefined,
    cellProblem: "it has not found out yet how to confine executors",
    unacknowledged: 0,
    outcome: { type: "drained" },
  }),
  initial: "sweeping",
  // For as long as the worker lives: it holds the lock on the directory.
  invoke: { src: "sweep", input: ({ context: { ports, config } }) => ({ ports, config }) },
  on: {
    "effect.done.sweep": { actions: takePrepared },
    // Also after it began to serve: the lock on the directory is released then.
    "effect.failed.sweep": { target: ".failed", actions: { type: "setFailed", params: ({ event }) => event } },
    "request.received": { actions: { type: "decline", params: ({ event }) => event } },
    "stream.received": { actions: { type: "passStream", params: ({ event }) => event } },
    "peer.closed": { actions: { type: "noteClosed", params: ({ event }) => event } },
    "peer.established": { actions: { type: "noteEstablished", params: ({ event }) => event } },
    "authorization.changed": { actions: { type: "noteDenied", params: ({ event }) => event } },
    "absence.over": { actions: { type: "goOnWithout", params: ({ event }) => event } },
    "offer.answered": {
      guard: { type: "isUndelivered", params: ({ event }) => event },
      actions: { type: "withdrawOffer", params: ({ event }) => event },
    },
    "offer.lapsed": { actions: { type: "withdrawOffer", params: ({ event }) => event } },
    "lease.renewed": { actions: { type: "answerRenewed", params: ({ event }) => event } },
    "lease.refused": { actions: { type: "answerRefused", params: ({ event }) => event } },
    "lease.over": { actions: { type: "closeLease", params: ({ event }) => event } },
    "job.started": { actions: { type: "reportStarted", params: ({ event }) => event } },
    "job.ended": {
      actions: { type: "closeJob", params: ({ event }) => ({ taskId: event.task_id, outcome: event.outcome }) },
    },
    "status.answered": { actions: "noteStatus" },
    "dispatch.again": { actions: { type: "answerDispatch", params: ({ event }) => event.request } },
    // Without a transition for it, the error of a child would end the worker.
    "xstate.error.actor.*": [
      {
        guard: { type: "isJobDeath", params: ({ event }) => event },
        actions: { type: "closeJob", params: ({ event }) => endOfDeath(event) },
      },
      {},
    ],
  },
  states: {
    sweeping: {
      on: {
        "effect.done.sweep": { target: "serving", actions: takePrepared },
        "role.drain": "drained",
        "role.retire": "drained",
      },
      after: { [sweepMs]: "serving" },
    },
    serving: {
      entry: "serve",
      on: {
        "request.received": { actions: { type: "answerRequest", params: ({ event }) => event } },
        "role.drain": { target: "draining", actions: { type: "endAll", params: ({ event }) => event } },
        "role.retire": "retiring",
      },
      initial: "resting",
      states: {
        resting: {
          on: {
            published: { target: "collecting", actions: { type: "keepRequest", params: ({ event }) => event } },
            "offer.over": { actions: "offer" },
          },
        },
        collecting: {
          on: {
            published: { guard: "isForWindow", actions: { type: "keepRequest", params: ({ event }) => event } },
          },
          after: { [requestWindowMs]: { target: "resting", actions: "offer" } },
        },
      },
    },
    retiring: {
      entry: "unsubscribe",
      always: { guard: "isUnbound", target: "drained" },
      on: {
        "request.received": { actions: { type: "answerRequest", params: ({ event }) => event } },
        "role.drain": { target: "draining", actions: { type: "endAll", params: ({ event }) => event } },
      },
    },
    draining: {
      entry: "unsubscribe",
      always: { guard: "isAllOver", target: "drained" },
      after: { [drainMs]: "drained" },
    },
    drained: { type: "final", entry: "stopJobNetworkHost" },
    failed: { type: "final", entry: "stopJobNetworkHost" },
  },
  output: ({ context }) => context.outcome,
});
