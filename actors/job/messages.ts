/**
 * What a job is born with, what it hears and what it says: the words between the worker's machine and `job.ts`.
 *
 * @module
 */
import type { ActorRef, Snapshot } from "xstate";
import type { Ports } from "../runtime/ports.ts";
import type { ExecutorConfig } from "../config/config.ts";
import type { JobSpec, Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { JobNetwork } from "./network.ts";
import type { WorkDirectory } from "../files/contained_files.ts";
import type { JobLimits } from "./limits.ts";
import type { CellOfWorker } from "./cell/assign.ts";
import type { Web } from "./bridge/web_request.ts";

/** How a job ended. A reason is at most 4,096 bytes of UTF-8. */
export type JobOutcome =
  | { readonly type: "finished" }
  | { readonly type: "failed"; readonly reason: string }
  | { readonly type: "cancelled"; readonly reason: string };

/** What the job's actor is born with. */
export interface JobInput {
  readonly ports: Ports;
  /** The task's id, from `DispatchJob`. */
  readonly taskId: Uuid;
  readonly spec: JobSpec;
  /** The peer that dispatched: progress goes there. */
  readonly scheduler: Peer;
  readonly executor: ExecutorConfig;
  readonly network: JobNetwork;
  /** The worker's `work_dir`: the job's own directory is made inside it. */
  readonly workDir: string;
  readonly limits?: Partial<JobLimits>;
  /** Confines the executor; as the worker's own process by default, which only tests and tools do. */
  readonly cell?: CellOfWorker | undefined;
  /** The web behind `uri` and `huggingface` references; under the default rules where undefined. */
  readonly web?: Web;
}

/** What a job hears. */
export type JobCommand =
  /** Its lease lapsed, its holder was revoked, or the worker drains. */
  | { readonly type: "job.cancel"; readonly reason: string }
  /** The same job dispatched again: for the parameter server (fewer `updates`); ignored by a process. */
  | { readonly type: "job.updated"; readonly spec: JobSpec };

/** Said to the parent, once, and the output of the finished actor (`xstate.done.actor.<id>`). */
export interface JobEnded {
  readonly type: "job.ended";
  readonly task_id: Uuid;
  readonly job_id: Uuid;
  readonly outcome: JobOutcome;
}

/** Said to the parent when the executor (or the parameter server) runs. */
export interface JobStarted {
  readonly type: "job.started";
  readonly task_id: Uuid;
  readonly job_id: Uuid;
  /** Of the executor process; absent for a parameter server. */
  readonly pid: number | undefined;
}

/**
 * What an aggregator (`runtime = "parameter-server"`) is born with: the logic is handed to the machine with
 * `jobMachine.provide({ actors: { aggregator } })`. Its output is a {@linkcode JobOutcome}; it hears `job.updated`.
 */
export interface AggregatorInput {
  readonly ports: Ports;
  readonly spec: JobSpec;
  readonly scheduler: Peer;
  readonly network: JobNetwork;
  readonly directory: WorkDirectory;
}

/** A job, seen from its parent. */
export type JobRef = ActorRef<Snapshot<unknown>, JobCommand>;
