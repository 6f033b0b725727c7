/**
 * The interface between the worker's machine and `job.ts`: a job's input, its events and its output.
 *
 * @module
 */
import type { ActorRef, Snapshot } from "xstate";
import type { ParentRef } from "../runtime/parent.ts";
import type { Ports } from "../runtime/ports.ts";
import type { ExecutorConfig } from "../config/config.ts";
import type { JobSpec, Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { JobNetwork } from "./network.ts";
import type { WorkDirectory } from "../files/contained_files.ts";
import type { JobLimits } from "./limits.ts";
import type { CellOfJob } from "./cell/assign.ts";
import type { Web } from "./bridge/web_request.ts";
import type { TrainerRoles } from "./trainer_link.ts";

/** How a job ended. A reason is at most 4,096 bytes of UTF-8. */
export type JobOutcome =
  | { readonly type: "finished" }
  | { readonly type: "failed"; readonly reason: string }
  | { readonly type: "cancelled"; readonly reason: string };

/** The input of a job. */
export interface JobInput {
  /** The worker; undefined where a test or a tool runs a job without one. */
  readonly parent?: ParentRef<JobEvent> | undefined;
  readonly ports: Ports;
  /** The task's id, from `DispatchJob`. */
  readonly taskId: Uuid;
  readonly spec: JobSpec;
  /** The peer that dispatched the job, and receives its progress. */
  readonly scheduler: Peer;
  readonly executor: ExecutorConfig;
  readonly network: JobNetwork;
  /** The worker's `work_dir`: the job's own directory is made inside it. */
  readonly workDir: string;
  readonly limits?: Partial<JobLimits>;
  /** Confines the executor. Without it the executor runs as the worker's own process: in tests and tools only. */
  readonly cell?: CellOfJob | undefined;
  /** The web behind `uri` and `huggingface` references; under the default rules where undefined. */
  readonly web?: Web;
}

/** The events that a job receives. */
export type JobCommand =
  /** Its lease lapsed, its holder was revoked, or the worker drains. */
  | { readonly type: "job.cancel"; readonly reason: string }
  | JobUpdated
  | JobChanged;

/** Another member aggregates for a trainer's job; ignored by an aggregation. */
export interface JobChanged {
  readonly type: "job.changed";
  readonly roles: TrainerRoles;
}

/** The same job dispatched again, or a trainer of it is gone: for the parameter server (other `updates`); ignored by a process. */
export interface JobUpdated {
  readonly type: "job.updated";
  readonly spec: JobSpec;
  /** The trainer that is gone, where the scheduler did not decide it. */
  readonly absent?: Peer;
}

/** Sent to the parent once, and the output of the finished actor (`xstate.done.actor.<id>`). */
export interface JobEnded {
  readonly type: "job.ended";
  readonly task_id: Uuid;
  readonly job_id: Uuid;
  readonly outcome: JobOutcome;
}

/** Sent to the parent when the executor or the parameter server runs. */
export interface JobStarted {
  readonly type: "job.started";
  readonly task_id: Uuid;
  readonly job_id: Uuid;
  /** Of the executor process; absent for a parameter server. */
  readonly pid: number | undefined;
}

/** The events that a job sends to its parent. */
export type JobEvent = JobStarted | JobEnded;

/**
 * The input of an aggregator (`runtime = "parameter-server"`). Its output is a {@linkcode JobOutcome}; it receives
 * `job.updated`.
 */
export interface AggregatorInput {
  readonly ports: Ports;
  readonly spec: JobSpec;
  readonly scheduler: Peer;
  readonly network: JobNetwork;
  readonly directory: WorkDirectory;
  /** The defaults where undefined. */
  readonly limits?: JobLimits;
  /** Size of the work directory; unbounded where undefined. */
  readonly diskBytes?: number | undefined;
}

/** A job as its parent sees it. */
export type JobRef = ActorRef<Snapshot<unknown>, JobCommand>;
