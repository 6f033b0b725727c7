/**
 * The messages of this network, in the shape they have on the wire: keys as there, an enum's variant as a one-entry
 * object (`{ WorkerOffer: … }`) or its bare name. In memory a UUID is hyphenated lower-case text and a PeerID is
 * base58btc text; that is also how they stand in JSON.
 *
 * @module
 */
import type { AuditRequest, AuditResponse } from "./audit_messages.ts";
import type { CrlRequest, CrlResponse } from "./crl_messages.ts";
import type {
  AggregationRules,
  Receipt,
  RoundReport,
  TrainingRequest,
  TrainingResponse,
  TrainingRun,
  TrainingState,
} from "./training_messages.ts";

export type * from "./audit_messages.ts";
export type * from "./crl_messages.ts";
export type * from "./training_messages.ts";

export type Uuid = string;
export type Peer = string;

/** A point in time, to the nanosecond. */
export interface Instant {
  readonly secs_since_epoch: number;
  readonly nanos_since_epoch: number;
}

/** GB, and cores for `cpu`. */
export interface Resources {
  readonly gpu: number;
  readonly cpu: number;
  readonly storage: number;
  readonly memory: number;
}

/** Protocols with one request and one response on a stream of their own. */
export const messageProtocols = [
  "/hypha-health/0.0.1",
  "/hypha-api/0.0.1",
  "/hypha-progress/0.0.1",
  /** An extension of ours, which our workers and schedulers always serve. */
  "/hypha-training/1",
  /** An extension of ours, which our nodes always serve. */
  "/hypha-crl/1",
  /** An extension of ours, which nodes with an audit log and witnesses serve. */
  "/hypha-audit/1",
] as const;
/** One of {@linkcode messageProtocols}. */
export type MessageProtocol = (typeof messageProtocols)[number];

/** Whether a protocol carries requests and responses. */
export function isMessageProtocol(protocol: string): protocol is MessageProtocol {
  return messageProtocols.some((known) => known === protocol);
}

/** Any request or response. Which of them a protocol carries in which direction is in {@linkcode ProtocolMessages}. */
export type Message =
  | HealthRequest
  | HealthResponse
  | ApiRequest
  | ApiResponse
  | ProgressRequest
  | ProgressResponse
  | TrainingRequest
  | TrainingResponse
  | CrlRequest
  | CrlResponse
  | AuditRequest
  | AuditResponse;

/** Request and response of each protocol. */
export interface ProtocolMessages {
  readonly "/hypha-health/0.0.1": { readonly request: HealthRequest; readonly response: HealthResponse };
  readonly "/hypha-api/0.0.1": { readonly request: ApiRequest; readonly response: ApiResponse };
  readonly "/hypha-progress/0.0.1": { readonly request: ProgressRequest; readonly response: ProgressResponse };
  readonly "/hypha-training/1": { readonly request: TrainingRequest; readonly response: TrainingResponse };
  readonly "/hypha-crl/1": { readonly request: CrlRequest; readonly response: CrlResponse };
  readonly "/hypha-audit/1": { readonly request: AuditRequest; readonly response: AuditResponse };
}

// ── Health ──────────────────────────────────────────────────────────────────────────────────────────────────────────

export type HealthRequest = Readonly<Record<never, never>>;
export interface HealthResponse {
  /** At which level a worker confines its executors: an extension of ours, which the existing nodes ignore. */
  readonly cell?: string;
  readonly healthy: boolean;
}

// ── API ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

export interface WorkerOffer {
  /** Names the offer, and the lease it becomes. */
  readonly id: Uuid;
  readonly request_id: Uuid;
  readonly price: number;
  readonly resources: Resources;
  readonly timeout: Instant;
}

export type JobStatus =
  | { readonly type: "Running" }
  | { readonly type: "Finished" }
  /** `reason` (at most 4 kB) is an extension of ours, which the existing nodes ignore. */
  | { readonly type: "Failed"; readonly reason?: string }
  | { readonly type: "Unknown" };

/** `training` and `dispatch` are extensions of ours. */
export type ApiRequest =
  | { readonly WorkerOffer: WorkerOffer }
  | { readonly RenewLease: { readonly id: Uuid; readonly training?: TrainingRun } }
  | { readonly JobStatus: { readonly task_id: Uuid; readonly status: JobStatus } }
  | { readonly DispatchJob: JobDispatch }
  | { readonly Data: { readonly dataset: string; readonly training?: TrainingRun } };

/** A job, for the task `id`. */
export interface JobDispatch {
  readonly id: Uuid;
  readonly spec: JobSpec;
  readonly training?: TrainingRun;
  /** Grows with each dispatch of a job: a lower one arrived late, over another connection, and changes nothing. */
  readonly dispatch?: number;
}

/** A scheduler's word that a puller may have one slice: an extension of ours. */
export interface Grant {
  readonly dataset: string;
  readonly index: number;
  readonly peer: Peer;
  readonly job: Uuid;
  readonly expires: Instant;
  readonly signature: Uint8Array;
}

/** A lease after a renewal. */
export interface RenewedLease {
  readonly id: Uuid;
  readonly timeout: Instant;
  /**
   * Seconds since the executor of its job last used its bridge, 0 while it fetches or sends: an extension of ours. Missing where no
   * executor runs under the lease.
   */
  readonly idle?: number;
}

export type ApiResponse =
  | { readonly WorkerOffer: Readonly<Record<never, never>> }
  | {
    readonly RenewLease: { readonly Renewed: RenewedLease } | "Failed";
  }
  | { readonly JobStatus: Readonly<Record<never, never>> }
  | {
    readonly DispatchJob: { readonly Dispatched: { readonly id: Uuid; readonly timeout: Instant } } | "Failed";
  }
  | {
    readonly Data:
      | { readonly Success: { readonly data_provider: Peer; readonly index: number; readonly grant?: Grant } }
      | "NotFound"
      | { readonly Error: string };
  };

// ── Progress ────────────────────────────────────────────────────────────────────────────────────────────────────────

export type Progress =
  | { readonly status: { readonly batch_size: number } }
  | { readonly metrics: { readonly round: number; readonly metrics: Readonly<Record<string, number>> } }
  | "update"
  | "updated"
  | "update-received";

export interface ProgressRequest {
  readonly job_id: Uuid;
  readonly progress: Progress;
  /** An extension of ours. */
  readonly training?: TrainingRun;
  /** An extension of ours, beside `updated`. */
  readonly report?: RoundReport;
  /** An extension of ours, beside `update-received`. */
  readonly receipt?: Receipt;
}

export type ProgressResponse =
  | { readonly type: "Ok" }
  | { readonly type: "Continue" }
  | { readonly type: "ScheduleUpdate"; readonly counter: number }
  | { readonly type: "Done" }
  | { readonly type: "Error" };

// ── Gossip: `hypha/worker` ──────────────────────────────────────────────────────────────────────────────────────────

export interface Descriptor {
  readonly class: "train" | "aggregate";
  readonly name: string;
}

export interface WorkerRequest {
  readonly id: Uuid;
  readonly spec: { readonly resources: Resources; readonly executor: readonly Descriptor[] };
  readonly timeout: Instant;
  readonly bid: number;
}

/** The topic on which schedulers ask for workers. */
export const workerTopic = "hypha/worker";

// ── Jobs ────────────────────────────────────────────────────────────────────────────────────────────────────────────

export type Strategy = { readonly type: "All" } | { readonly type: "Random" } | { readonly type: "One" };

export interface UriReference {
  readonly type: "uri";
  readonly value: string;
}
export interface HuggingfaceReference {
  readonly type: "huggingface";
  readonly repository: string;
  readonly revision: string | null;
  readonly filenames: readonly string[];
  readonly token: string | null;
}
export interface PeersReference {
  readonly type: "peers";
  readonly peers: readonly Peer[];
  readonly strategy: Strategy;
  readonly resource: { readonly dataset: string; readonly index: number } | null;
}
export interface SchedulerReference {
  readonly type: "scheduler";
  readonly peer: Peer;
  readonly dataset: string;
}
export type Reference = UriReference | HuggingfaceReference | PeersReference | SchedulerReference;

export interface ModelReference {
  readonly task: string;
  readonly artifact: Reference;
  readonly "input-names": readonly string[];
}

export interface Adam {
  readonly "learning-rate": number;
  readonly betas: readonly [number, number] | null;
  readonly epsilon: number | null;
}
export interface Nesterov {
  readonly "learning-rate": number;
  readonly momentum: number;
}

export type LearningRateScheduler =
  | { readonly type: "cosine-with-warmup"; readonly warmup_steps: number; readonly training_steps: number }
  | { readonly type: "linear-with-warmup"; readonly warmup_steps: number; readonly training_steps: number }
  | { readonly type: "wsd"; readonly warmup_steps: number; readonly decay_steps: number };

export interface TrainConfig {
  readonly model: ModelReference;
  readonly data: Reference;
  /** Where the trainer sends its pseudo-gradients. */
  readonly updates: PeersReference;
  /** Whom the trainer receives outer updates from (strategy All). */
  readonly results: PeersReference;
  readonly optimizer: Adam;
  readonly batch_size: number;
  readonly preprocessor?: ModelReference | null;
  readonly scheduler?: LearningRateScheduler | null;
}

export interface AggregateConfig {
  /** Whom the aggregator receives pseudo-gradients from (strategy All). */
  readonly updates: PeersReference;
  /** Where it sends each outer update. */
  readonly results: PeersReference;
  readonly optimizer: Nesterov;
}

export type Executor =
  | { readonly class: "train"; readonly descriptor: { readonly name: string }; readonly config: TrainConfig }
  | { readonly class: "aggregate"; readonly descriptor: { readonly name: string }; readonly config: AggregateConfig };

export interface JobSpec {
  readonly job_id: Uuid;
  readonly executor: Executor;
  /** Where the training stands when the job begins: an extension of ours. */
  readonly training?: TrainingState;
  /** An extension of ours. */
  readonly aggregation?: AggregationRules;
}
