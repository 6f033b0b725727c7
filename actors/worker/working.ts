/**
 * A worker's actions around jobs, and around the peers they depend on.
 *
 * @module
 */
import type { RequestAnswer } from "../../transport/port.ts";
import type { ApiRequest, JobSpec, JobStatus, Peer, Uuid } from "../../transport/protocols/messages.ts";
import { webUnder } from "../job/bridge/web_request.ts";
import { cellDefault, fetchDefault } from "../config/cell_config.ts";
import type { JobOutcome } from "../job/messages.ts";
import { answerAs } from "../runtime/role.ts";
import { instantFromMs } from "../runtime/instant.ts";
import { mayHold } from "./offering.ts";
import { findExecutor } from "./requests.ts";
import {
  addJob,
  endJob,
  leaseForJob,
  leasesOf,
  replaceSpec,
  type RunningJob,
  sameJob,
  specWithout,
} from "./worker_book.ts";
import { absenceMs, statusTimeoutMs, type WorkerContext, type WorkerEvent, workerSetup } from "./worker_setup.ts";

/** `DispatchJob`: starts a job under a lease of the sender's, or tells a running one what changed. */
export const answerDispatch = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "request.received" || !("DispatchJob" in (event.message as ApiRequest))) return;
  const { exchange, peer, identity } = event;
  const { id, spec } = (event.message as { readonly DispatchJob: { readonly id: Uuid; readonly spec: JobSpec } })
    .DispatchJob;
  const dispatched = (endsAt: number) =>
    enqueue.sendTo(context.transport, {
      type: "respond",
      exchange,
      message: { DispatchJob: { Dispatched: { id, timeout: instantFromMs(endsAt) } } },
    });
  const running = sameJob(context.book, peer, spec);
  const lease = running === undefined ? undefined : context.book.leases[running.leaseId];
  if (running !== undefined && lease?.over === false) {
    enqueue.assign({ book: replaceSpec(context.book, running.taskId, spec) });
    enqueue.sendTo(`job/${running.taskId}`, { type: "job.updated", spec });
    return dispatched(lease.endsAt);
  }
  const refusal = mayHold(identity.role) ? begin(context, { id, peer, spec }) : "its role may not dispatch";
  if (typeof refusal === "string") {
    enqueue.sendTo(context.transport, { type: "respond", exchange, message: { DispatchJob: "Failed" } });
    enqueue(() =>
      context.ports.report({
        level: "warn",
        event: "job.refused",
        message: `Cannot take job of ${peer}: ${refusal}`,
        fields: { peer, task: id, job: spec.job_id, reason: refusal },
      })
    );
    return;
  }
  const { job, executor, endsAt } = refusal;
  enqueue.assign({ book: addJob(context.book, job) });
  enqueue.spawnChild("job", {
    id: `job/${id}`,
    input: {
      ports: context.ports,
      taskId: id,
      spec,
      scheduler: peer,
      executor,
      network: context.desk.network,
      workDir: context.config.workDir,
      web: webUnder(context.config.fetch ?? fetchDefault),
      cell: context.cell === undefined ? undefined : { cell: context.cell, config: context.config.cell ?? cellDefault },
    },
  });
  dispatched(endsAt);
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "job.dispatched",
      message: `Took ${spec.executor.class} job of ${peer}`,
      fields: { peer, task: id, job: spec.job_id, class: spec.executor.class, lease: job.leaseId },
    })
  );
});

/** What a new job runs with, or why it can't. */
function begin(
  { book, config, cellProblem }: WorkerContext,
  { id, peer, spec }: { readonly id: Uuid; readonly peer: Peer; readonly spec: JobSpec },
) {
  const wanted = { class: spec.executor.class, name: spec.executor.descriptor.name };
  const executor = findExecutor(config.executors, wanted);
  if (executor === undefined) return `no executor ${wanted.class}/${wanted.name} here`;
  if (executor.runtime === "process" && cellProblem !== undefined) return cellProblem;
  if (executor.runtime === "parameter-server" && wanted.class !== "aggregate") return "its runtime only aggregates";
  if (book.jobs[id] !== undefined) return "a task of that id is running";
  const lease = leaseForJob(book, peer, wanted);
  if (lease === undefined) return "its sender holds no free lease for such a job";
  const job: RunningJob = { taskId: id, leaseId: lease.id, scheduler: peer, spec };
  return { job, executor, endsAt: lease.endsAt };
}

/** A job runs. */
export const reportStarted = workerSetup.createAction(({ context, event }) => {
  if (event.type !== "job.started") return;
  const { task_id: task, job_id: job, pid } = event;
  context.ports.report({
    level: "info",
    event: "job.started",
    message: `Job ${job} runs`,
    fields: { task, job, class: context.book.jobs[task]?.spec.executor.class, ...(pid === undefined ? {} : { pid }) },
  });
});

/** A job ended: its scheduler is told, and one that failed frees its lease. */
export const closeJob = workerSetup.enqueueActions(({ context, event, self, enqueue }) => {
  const ended = endedOf(event);
  if (ended === undefined) return;
  const job = context.book.jobs[ended.taskId];
  enqueue.stopChild(`job/${ended.taskId}`);
  if (job === undefined) return;
  const { outcome } = ended;
  enqueue.assign({ book: endJob(context.book, job.taskId) });
  enqueue(() =>
    context.ports.report({
      level: outcome.type === "failed" ? "warn" : "info",
      event: "job.ended",
      message: `Job ${job.spec.job_id} ended: ${outcome.type}`,
      fields: {
        task: job.taskId,
        job: job.spec.job_id,
        class: job.spec.executor.class,
        outcome: outcome.type,
        reason: outcome.type === "finished" ? null : outcome.reason,
      },
    })
  );
  if (outcome.type === "failed" && context.book.leases[job.leaseId]?.over === false) {
    enqueue.sendTo(`lease/${job.leaseId}`, { type: "lease.end", reason: "its job failed" });
  }
  if (!context.connected.includes(job.scheduler)) return;
  enqueue.assign({ untold: context.untold + 1 });
  enqueue.sendTo(context.transport, {
    type: "request",
    id: `status/${job.taskId}`,
    peer: job.scheduler,
    protocol: "/hypha-api/0.0.1",
    message: { JobStatus: { task_id: job.taskId, status: statusOf(outcome) } },
    timeoutMs: statusTimeoutMs,
    replyTo: answerAs(self, (_: RequestAnswer): WorkerEvent => ({ type: "status.answered" })),
  });
});

/** A job's end: its own word, or that its actor died of an error. */
function endedOf(
  event: WorkerEvent | { readonly type: string; readonly error?: unknown },
): { readonly taskId: Uuid; readonly outcome: JobOutcome } | undefined {
  if (event.type === "job.ended") {
    const { task_id: taskId, outcome } = event as Extract<WorkerEvent, { type: "job.ended" }>;
    return { taskId, outcome };
  }
  const died = "xstate.error.actor.job/";
  if (!event.type.startsWith(died)) return undefined;
  const reason = `the worker could not run it: ${"error" in event ? String(event.error) : "unknown"}`;
  return { taskId: event.type.slice(died.length), outcome: { type: "failed", reason } };
}

function statusOf(outcome: JobOutcome): JobStatus {
  return outcome.type === "finished" ? { type: "Finished" } : { type: "Failed", reason: outcome.reason };
}

/**
 * A peer's last connection closed. Because of its certificate: its leases end at once, and aggregations go on without it. Else
 * its leases lapse by themselves, and aggregations wait for it a while.
 */
export const noteClosed = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "peer.closed") return;
  const { peer, reason } = event;
  enqueue.assign({ connected: context.connected.filter((other) => other !== peer) });
  const isUnwanted = reason.type === "trust.changed" || reason.type === "expired";
  const delay = isUnwanted ? 0 : absenceMs;
  const isWaitedFor = Object.values(context.book.jobs).some(({ spec }) => specWithout(spec, peer) !== undefined);
  if (isWaitedFor) enqueue.raise({ type: "absence.over", peer }, { delay, id: `absence/${peer}` });
  if (!isUnwanted) return;
  for (const { id } of leasesOf(context.book, peer)) {
    enqueue.sendTo(`lease/${id}`, {
      type: "lease.end",
      reason: `its holder's certificate is not accepted: ${reason.refusal.code}`,
    });
  }
});

/** A peer is here, perhaps again. */
export const noteEstablished = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "peer.established") return;
  enqueue.cancel(`absence/${event.peer}`);
  enqueue.assign({ connected: [...context.connected.filter((other) => other !== event.peer), event.peer] });
});

/** A peer stayed away: aggregations no longer wait for it. */
export const goOnWithout = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "absence.over") return;
  let { book } = context;
  for (const { taskId, spec } of Object.values(context.book.jobs)) {
    const left = specWithout(spec, event.peer);
    if (left === undefined) continue;
    book = replaceSpec(book, taskId, left);
    enqueue.sendTo(`job/${taskId}`, { type: "job.updated", spec: left });
    enqueue(() =>
      context.ports.report({
        level: "warn",
        event: "trainer.gone",
        message: `Job ${spec.job_id} no longer waits for ${event.peer}`,
        fields: { job: spec.job_id, peer: event.peer },
      })
    );
  }
  enqueue.assign({ book });
});

/** The worker takes leave: every lease ends, and with it every job. */
export const endAll = workerSetup.enqueueActions(({ context, event, enqueue }) => {
  const reason = event.type === "role.drain" ? event.reason ?? "the worker stops" : "the worker stops";
  for (const { id, over } of Object.values(context.book.leases)) {
    if (!over) enqueue.sendTo(`lease/${id}`, { type: "lease.end", reason });
  }
});
