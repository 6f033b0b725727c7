/**
 * A worker's actions around jobs, and around the peers that jobs depend on.
 *
 * @module
 */
import { isConnectedAs, type Member, memberOf, standsFor, withConnected, withoutConnected } from "../../pki/member.ts";
import type { RequestAnswer, TransportFact } from "../../transport/port.ts";
import type { JobDispatch, JobSpec, JobStatus, Peer, Uuid } from "../../transport/protocols/messages.ts";
import { type Web, webUnder } from "../job/bridge/web_request.ts";
import { jobCell } from "../job/cell/bounds.ts";
import { cellDefault, fetchDefault } from "../config/cell_config.ts";
import { openDigestCache } from "../files/digest_cache.ts";
import { cachePathOf } from "../job/cell/prepare.ts";
import { fileBytesOf } from "../job/limits.ts";
import type { JobOutcome, JobRef, JobStarted } from "../job/messages.ts";
import type { RequestWith } from "../runtime/requests.ts";
import { networkOf } from "../job/training_network.ts";
import type { LeaseRef } from "./lease.ts";
import { atOnceMs, pauseLeft, withFailure, withoutFailures } from "./failing.ts";
import { newerRunReason } from "./offering.ts";
import { ambiguousSender, hasBygoneJobs, isStale, noteRun } from "./runs.ts";
import { endBygone } from "./training_requests.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { answerAs } from "../runtime/role.ts";
import { instantFromMs } from "../runtime/instant.ts";
import { findExecutor } from "./requests.ts";
import {
  addJob,
  changeJob,
  endJob,
  hasEnded,
  leaseForJob,
  leasesOf,
  type RunningJob,
  sameJob,
  specWithout,
} from "./commitments.ts";
import {
  absenceMs,
  type ChildDied,
  jobDied,
  statusTimeoutMs,
  type WorkerArgs,
  type WorkerContext,
  type WorkerEvent,
} from "./worker_setup.ts";

/** A dispatch that waits for the end of jobs of lower runs. */
export type PostponedDispatch = RequestWith<JobDispatch>;

/** Dispatches that may wait; one more is refused. Each is over after the ten seconds of its exchange. */
const postponedMax = 64;

/**
 * `DispatchJob`: starts a job under a lease of the sender, or updates a running job. A dispatch of a higher run ends all work of lower
 * ones and is answered after that.
 */
export function answerDispatch(args: WorkerArgs, request: PostponedDispatch): void {
  const { context, self, enqueue } = args;
  const { exchange, peer, identity, message } = request;
  const { id, spec, training, dispatch = 0 } = message;
  const dispatched = (endsAt: number) =>
    enqueue.sendTo(context.transport, {
      type: "respond",
      exchange,
      message: { DispatchJob: { Dispatched: { id, timeout: instantFromMs(endsAt) } } },
    });
  const holder = memberOf(identity);
  if (training !== undefined && standsFor(identity.role, "scheduler") && !isStale(context.runs, holder, training)) {
    enqueue.assign({ runs: noteRun(context.runs, holder, training) });
    endBygone(args, { holder, training, runs: "lower" }, newerRunReason);
    if (hasBygoneJobs(context.book, { holder, training }) && context.postponed.length < postponedMax) {
      enqueue.assign({ postponed: [...context.postponed, request] });
      return;
    }
  }
  const running = sameJob(context.book, holder, spec);
  const lease = running === undefined ? undefined : context.book.leases[running.leaseId];
  if (running !== undefined && lease?.over === false) {
    if (dispatch >= running.dispatch) {
      // A peer that the job names again may be a worker that was started again: it connects when it has an update.
      for (const peer of namedFirst(running.spec, spec)) enqueue.cancel(`absence/${running.taskId}/${peer}`);
      enqueue.assign({ book: changeJob(context.book, running.taskId, { spec, dispatch }) });
      enqueue.sendTo<JobRef>(`job/${running.taskId}`, { type: "job.updated", spec });
    }
    return dispatched(lease.endsAt);
  }
  const refusal = standsFor(identity.role, "scheduler")
    ? begin(context, { ...message, peer, holder })
    : "its role may not dispatch";
  if (typeof refusal === "string") {
    enqueue.sendTo(context.transport, { type: "respond", exchange, message: { DispatchJob: "Failed" } });
    return enqueue(() => reportRefused(context, request, refusal));
  }
  const { job, executor, config, endsAt } = refusal;
  const key = training === undefined ? undefined : { scheduler: peer, ...training };
  enqueue.assign({ book: addJob(context.book, job) });
  enqueue.spawnChild("job", {
    id: `job/${id}`,
    input: {
      parent: self,
      ports: context.ports,
      taskId: id,
      spec,
      scheduler: peer,
      executor,
      network: networkOf(context.jobNetworkHost.network, key),
      workDir: context.config.workDir,
      limits: { fileBytesMax: fileBytesOf(config) },
      web: context.web,
      cell: context.cell === undefined ? undefined : { cell: context.cell, config },
    },
  });
  dispatched(endsAt);
  enqueue(() =>
    context.ports.report({
      level: "info",
      event: "job.dispatched",
      message: `Took ${spec.executor.class} job of ${peer}`,
      fields: dispatchFields(job, identity.name),
    })
  );
}

/** The peers whose updates a job of an aggregation waits for, and did not before. */
function namedFirst(before: JobSpec, now: JobSpec): readonly Peer[] {
  const peers = ({ executor }: JobSpec) => executor.class === "aggregate" ? executor.config.updates.peers : [];
  return peers(now).filter((peer) => !peers(before).includes(peer));
}

function reportRefused({ ports }: WorkerContext, { peer, identity, message }: PostponedDispatch, reason: string): void {
  const { id: task, spec: { job_id: job } } = message;
  ports.report({
    level: "warn",
    event: "job.refused",
    message: `Cannot take job of ${peer}: ${reason}`,
    fields: { peer, name: identity.name, task, job, reason },
  });
}

function dispatchFields({ scheduler, taskId, spec, leaseId, training }: RunningJob, name: string) {
  const { job_id: job, executor } = spec;
  const of = training === undefined ? {} : { training: training.id, run: training.run };
  return { peer: scheduler, name, task: taskId, job, class: executor.class, lease: leaseId, ...of };
}

/** The web of a worker's jobs; they share the files of the hub that one of them fetched. */
export function webOf({ config, ports }: Pick<WorkerContext, "config" | "ports">): Web {
  const fetch = config.fetch ?? fetchDefault;
  if (fetch.cacheBytes === 0) return webUnder(fetch);
  const path = cachePathOf(config.workDir);
  return webUnder(fetch, openDigestCache({ path, bytesMax: fetch.cacheBytes, uuid: ports.uuid, now: ports.now }));
}

/** The lease and executor of a new job, or why it cannot run. */
function begin(
  { book, config, cellProblem, runs, ports }: WorkerContext,
  { id, peer, holder, spec, training, dispatch = 0 }: JobDispatch & { readonly peer: Peer; readonly holder: Member },
) {
  if (training !== undefined && isStale(runs, holder, training)) {
    return `stale-run: a higher run of training ${training.id} began`;
  }
  const wanted = { class: spec.executor.class, name: spec.executor.descriptor.name };
  const executor = findExecutor(config.executors, wanted);
  if (executor === undefined) return `no executor ${wanted.class}/${wanted.name} here`;
  if (executor.runtime === "process" && cellProblem !== undefined) return cellProblem;
  if (executor.runtime === "parameter-server" && wanted.class !== "aggregate") return "its runtime only aggregates";
  if (book.jobs[id] !== undefined) return "a task of that id is running";
  if (hasEnded(book, holder, id)) return "a task of that id ended";
  const ambiguous = ambiguousSender(book, { holder, spec, training });
  if (ambiguous !== undefined) return `sender-ambiguous: another scheduler's job waits for ${ambiguous} too`;
  const lease = leaseForJob(book, holder, wanted, training);
  if (lease === undefined) return "its sender holds no free lease for such a job";
  const dispatchedAt = monotonicNow(ports);
  const of = { taskId: id, leaseId: lease.id, scheduler: peer, holder };
  const job: RunningJob = { ...of, spec, training, dispatch, dispatchedAt };
  return {
    job,
    executor,
    config: jobCell(config.cell ?? cellDefault, lease.resources, lease.gpus),
    endsAt: lease.endsAt,
  };
}

/** Reports that a job runs. */
export function reportStarted(
  { context }: { readonly context: WorkerContext },
  { task_id: task, job_id: job, pid }: JobStarted,
): void {
  context.ports.report({
    level: "info",
    event: "job.started",
    message: `Job ${job} runs`,
    fields: { task, job, class: context.book.jobs[task]?.spec.executor.class, ...(pid === undefined ? {} : { pid }) },
  });
}

/** Counts jobs that fail at once: their executor is not offered to their scheduler for a while after several in a row. */
function countFailure({ context, enqueue }: WorkerArgs, job: RunningJob, outcome: JobOutcome): void {
  const { failing, ports, config } = context;
  const { spec: { executor: { class: jobClass, descriptor } }, scheduler, dispatchedAt } = job;
  const wanted = { class: jobClass, name: descriptor.name };
  if (findExecutor(config.executors, wanted)?.runtime !== "process" || outcome.type === "cancelled") return;
  const now = monotonicNow(ports), of = { executor: wanted, scheduler };
  if (outcome.type === "finished" || now - dispatchedAt >= atOnceMs) {
    enqueue.assign({ failing: withoutFailures(failing, of) });
    return;
  }
  const after = withFailure(failing, of, now), seconds = pauseLeft(after, of, now) / 1_000;
  enqueue.assign({ failing: after });
  if (seconds === 0) return;
  enqueue(() =>
    ports.report({
      level: "error",
      event: "worker.executor",
      message: `Executor ${wanted.class}/${wanted.name} is not offered to ${scheduler} for ${seconds} s: ` +
        `its jobs fail at once: ${outcome.reason}`,
      fields: { ...wanted, peer: scheduler, seconds, reason: outcome.reason },
    })
  );
}

/** A job ended: notifies its scheduler. A failed job ends its lease. */
export function closeJob(
  args: WorkerArgs,
  { taskId, outcome }: { readonly taskId: Uuid; readonly outcome: JobOutcome },
): void {
  const { context, self, enqueue } = args;
  const job = context.book.jobs[taskId];
  enqueue.stopChild(`job/${taskId}`);
  if (job === undefined) return;
  enqueue.assign({ book: endJob(context.book, job.taskId), postponed: [] });
  countFailure(args, job, outcome);
  for (const request of context.postponed) enqueue.raise({ type: "dispatch.again", request });
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
    enqueue.sendTo<LeaseRef>(`lease/${job.leaseId}`, { type: "lease.end", reason: "its job failed" });
  }
  if (!context.members.some(({ member }) => member === job.holder)) return;
  enqueue.assign({ unacknowledged: context.unacknowledged + 1 });
  enqueue.sendTo(context.transport, {
    type: "request",
    id: `status/${job.taskId}`,
    peer: job.scheduler,
    to: { member: job.holder },
    protocol: "/hypha-api/0.0.1",
    message: { JobStatus: { task_id: job.taskId, status: statusOf(outcome) } },
    timeoutMs: statusTimeoutMs,
    replyTo: answerAs(self, (_: RequestAnswer): WorkerEvent => ({ type: "status.answered" })),
  });
}

/** The end of a job whose actor died of an error. */
export function endOfDeath({ type, error }: ChildDied): { readonly taskId: Uuid; readonly outcome: JobOutcome } {
  const reason = `the worker could not run it: ${error}`;
  return { taskId: type.slice(jobDied.length), outcome: { type: "failed", reason } };
}

function statusOf(outcome: JobOutcome): JobStatus {
  return outcome.type === "finished" ? { type: "Finished" } : { type: "Failed", reason: outcome.reason };
}

/**
 * A member's last connection closed. If the trust in it changed, its leases end at once, and aggregations continue
 * without its peer. Otherwise its leases lapse by themselves, and aggregations wait for it for a limited time: where a
 * certificate ended, its owner may have another one of the same key. A job names PeerIDs: aggregations notice nothing
 * while another member of the PeerID that may be a worker is connected.
 */
export function noteClosed(
  { context, enqueue }: WorkerArgs,
  { peer, identity, reason }: Extract<TransportFact, { type: "peer.closed" }>,
): void {
  const members = withoutConnected(context.members, identity);
  enqueue.assign({ members });
  const isUnwanted = reason.type === "trust.changed";
  const delay = isUnwanted ? 0 : absenceMs;
  if (standsFor(identity.role, "worker") && !isConnectedAs(members, peer, "worker")) {
    for (const taskId of waitingFor(context, peer)) {
      enqueue.raise({ type: "absence.over", peer, taskId }, { delay, id: `absence/${taskId}/${peer}` });
    }
  }
  if (!isUnwanted) return;
  for (const { id } of leasesOf(context.book, memberOf(identity))) {
    enqueue.sendTo<LeaseRef>(`lease/${id}`, {
      type: "lease.end",
      reason: `its holder's certificate is not accepted: ${reason.refusal.code}`,
    });
  }
}

/** Changed rules deny a member what its leases and jobs live by, or what aggregations wait for: they end at once. */
export function noteDenied(
  { context, enqueue }: WorkerArgs,
  { peer, identity, denied }: Extract<TransportFact, { type: "authorization.changed" }>,
): void {
  if (denied.includes("file.push") && waitingFor(context, peer).length > 0) {
    enqueue.raise({ type: "absence.over", peer });
  }
  if (!denied.includes("lease.renew") && !denied.includes("job.dispatch")) return;
  for (const { id } of leasesOf(context.book, memberOf(identity))) {
    enqueue.sendTo<LeaseRef>(`lease/${id}`, {
      type: "lease.end",
      reason: `the rules deny its holder ${denied.join(", ")}`,
    });
  }
}

/** A member connected, perhaps again. */
export function noteEstablished(
  { context, enqueue }: WorkerArgs,
  { peer, identity }: Extract<TransportFact, { type: "peer.established" }>,
): void {
  if (standsFor(identity.role, "worker")) {
    for (const taskId of waitingFor(context, peer)) enqueue.cancel(`absence/${taskId}/${peer}`);
  }
  enqueue.assign({ members: withConnected(context.members, identity) });
}

/** The aggregations that wait for updates of a peer. */
function waitingFor({ book }: WorkerContext, peer: Peer): readonly Uuid[] {
  return Object.values(book.jobs).flatMap(({ taskId, spec }) => specWithout(spec, peer) === undefined ? [] : [taskId]);
}

/** A peer stayed disconnected: the aggregations that waited for it when it went no longer do. */
export function goOnWithout(
  { context, enqueue }: WorkerArgs,
  { peer, taskId: only }: { readonly peer: Peer; readonly taskId?: Uuid },
): void {
  let { book } = context;
  for (const { taskId, spec } of Object.values(context.book.jobs)) {
    const left = only === undefined || only === taskId ? specWithout(spec, peer) : undefined;
    if (left === undefined) continue;
    book = changeJob(book, taskId, { spec: left });
    enqueue.sendTo<JobRef>(`job/${taskId}`, { type: "job.updated", spec: left, absent: peer });
    enqueue(() =>
      context.ports.report({
        level: "warn",
        event: "trainer.gone",
        message: `Job ${spec.job_id} no longer waits for ${peer}`,
        fields: { job: spec.job_id, peer },
      })
    );
  }
  enqueue.assign({ book });
}

/** The worker drains: ends every lease, and with it every job. */
export function endAll(
  { context, enqueue }: WorkerArgs,
  { reason = "the worker stops" }: { readonly reason?: string },
): void {
  for (const { id, over } of Object.values(context.book.leases)) {
    if (!over) enqueue.sendTo<LeaseRef>(`lease/${id}`, { type: "lease.end", reason });
  }
}
