/**
 * The typed configuration of each role, as the actors see it. How it is read from TOML, environment and flags, and what
 * each key is called there, is in `schema.ts` and `load.ts`.
 *
 * @module
 */
import type { RotationPolicy, TransportLimits } from "../../transport/port.ts";
import type { KeyAlgorithm, Role } from "../../pki/certificate.ts";
import type { TelemetryProtocol, TelemetrySampler } from "./telemetry_values.ts";
import type { CellConfig, FetchConfig } from "./cell_config.ts";
import type { Resources } from "../../transport/protocols/messages.ts";

/** A trust domain: an organisation whose certificates speak for its own name only. */
export interface TrustDomainConfig {
  /** As in `spiffe://<name>/…`. */
  readonly name: string;
  /** Path of its CA certificates (PEM) or of its SPIFFE bundle (JSON). */
  readonly trust: string;
  readonly crlsPem: string | undefined;
  /** Roles that its certificates may claim; all of them where undefined. */
  readonly roles: readonly Role[] | undefined;
}

/** What all roles have. Paths are relative to the working directory. */
export interface CommonConfig {
  /** Paths of PEM files. */
  readonly certPem: string;
  readonly keyPem: string;
  readonly trustPem: string;
  readonly crlsPem: string | undefined;
  /** Other organisations that this node trusts, each for its own name; none where undefined. */
  readonly trustDomains?: readonly TrustDomainConfig[] | undefined;
  readonly listenAddresses: readonly string[];
  readonly externalAddresses: readonly string[];
  readonly gatewayAddresses: readonly string[];
  readonly excludeCidr: readonly string[];
  readonly relayCircuit: boolean;
  readonly handshakeTimeoutMs: number;
  readonly keyExchange: "hybrid" | "classical";
  readonly requireRoles: boolean;
  readonly leafAlgorithms: readonly KeyAlgorithm[];
  readonly caAlgorithms: readonly KeyAlgorithm[];
  readonly crlGraceHours: number;
  readonly limits: TransportLimits;
  /** The defaults of `defaults.ts` where undefined. */
  readonly rotation?: RotationPolicy | undefined;
  readonly drainTimeoutMs: number;
  /** Directory of what the node remembers between two runs; undefined: it remembers nothing. */
  readonly stateDir?: string | undefined;
  readonly telemetry: {
    readonly endpoint: string | undefined;
    readonly attributes: string | undefined;
    readonly headers: string | undefined;
    readonly protocol: TelemetryProtocol | undefined;
    /** Of traces, of which none are sent. */
    readonly sampler: TelemetrySampler | undefined;
    readonly sampleRatio: number | undefined;
    readonly intervalMs?: number | undefined;
    /** Where Prometheus reads; nowhere where undefined. */
    readonly listen?: string | undefined;
  };
}

export interface GatewayConfig extends CommonConfig {
  readonly role: "gateway";
}

export interface DataConfig extends CommonConfig {
  readonly role: "data";
  /** The directory whose files are the slices; its base name is the dataset's name. */
  readonly datasetPath: string;
  /** Whether a slice goes only to a peer that shows a scheduler's grant for it; not so where undefined. */
  readonly requireGrant?: boolean | undefined;
}

export interface ExecutorConfig {
  readonly class: "train" | "aggregate";
  readonly name: string;
  readonly runtime: "process" | "parameter-server";
  /** Command and arguments of a `process`: started without a shell. */
  readonly cmd: string | undefined;
  readonly args: readonly string[];
  /**
   * Whether the job bridge insists on its bearer token; where nothing is said, `optional` in a cell that nobody else can
   * look into (`full`, `root`) and `required` elsewhere.
   */
  readonly token?: "required" | "optional" | undefined;
}

export interface WorkerConfig extends CommonConfig {
  readonly role: "worker";
  readonly workDir: string;
  readonly resources: Resources;
  readonly offer: {
    readonly price: number;
    readonly floor: number;
    readonly strategy: "whole" | "flexible";
  };
  readonly executors: readonly ExecutorConfig[];
  /** The defaults of `cell_config.ts` where undefined. */
  readonly cell?: CellConfig | undefined;
  readonly fetch?: FetchConfig | undefined;
}

export interface HuggingfaceModel {
  readonly repository: string;
  readonly revision: string | undefined;
  readonly filenames: readonly string[];
  readonly token: string | undefined;
  /** The task: `causal-lm`, `image-classification`, … */
  readonly type: string;
  readonly inputNames: readonly string[];
}

/** `[scheduler.job]`, `type = "diloco"`. */
export interface DilocoJobConfig {
  readonly type: "diloco";
  readonly model: HuggingfaceModel;
  readonly preprocessor: HuggingfaceModel | undefined;
  readonly dataset: string;
  readonly innerOptimizer: {
    readonly learningRate: number;
    readonly betas: readonly [number, number] | undefined;
    readonly epsilon: number | undefined;
  };
  readonly outerOptimizer: { readonly learningRate: number; readonly momentum: number };
  readonly resources: {
    readonly numWorkers: number;
    readonly worker: Resources;
    readonly parameterServer: Resources;
    readonly workerPrice: { readonly bid: number; readonly max: number };
    readonly parameterServerPrice: { readonly bid: number; readonly max: number };
  };
  readonly rounds: {
    readonly updateRounds: number;
    readonly avgSamplesBetweenUpdates: number;
    readonly maxBatchSize: number | undefined;
  };
  /** Names of the executors asked for; the existing network's by default. */
  readonly executors: { readonly train: string; readonly aggregate: string };
  /** Held-out rows that the scheduler evaluates each round's model on (`contracts.md`, "Extensions"): ours. */
  readonly evaluation: { readonly heldOut: string } | undefined;
}

export interface SchedulerConfig extends CommonConfig {
  readonly role: "scheduler";
  readonly statusBridge: string | undefined;
  readonly job: DilocoJobConfig;
}

export type RoleConfig = GatewayConfig | DataConfig | WorkerConfig | SchedulerConfig;
