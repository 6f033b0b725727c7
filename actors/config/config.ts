/**
 * The typed configuration of each role, as the actors see it. How it is read from TOML, environment and flags, and what
 * each key is called there, is in `schema.ts` and `load.ts`.
 *
 * @module
 */
import type { RotationPolicy, TransportLimits } from "../../transport/port.ts";
import type { KeyAlgorithm, Role } from "../../pki/certificate.ts";
import type { ListenPlace, LogsExporter, TelemetryProtocol, TelemetrySampler } from "./telemetry_values.ts";
import type { Decoded } from "./schema.ts";
import type { AuditConfig } from "./audit_schema.ts";
import type { MembershipConfig } from "./membership_schema.ts";
import type { Camelled, Settings } from "./settings.ts";
import type { CellSettings, FetchConfig } from "./cell_config.ts";
import type { ConfigWarning } from "./warnings.ts";
import type { RuleText } from "../../transport/authorization/rules.ts";
import type { Resources } from "../../transport/protocols/messages.ts";

/** Who vouches for the server of a bundle (SPIFFE Federation, "Endpoint Profiles"): a CA of the domain, or the web's PKI. */
export type BundleProfile = "https_ca" | "https_web";

/** Where a partner's CA serves its SPIFFE bundle. */
export interface BundleSource {
  /** `https://HOST[:PORT]/PATH`. */
  readonly url: string;
  /** SHA-256 of the SPKI of its root, lower-case hexadecimal; the server alone decides where undefined. */
  readonly pin: string | undefined;
  /** Who vouches for the server: the CA of the domain below the pinned root, or the web's roots and its host name. */
  readonly profile: BundleProfile;
}

/** A trust domain: an organisation whose certificates are valid for its own name only. */
export interface TrustDomainConfig {
  /** As in `spiffe://<name>/…`. */
  readonly name: string;
  /** Path of its CA certificates (PEM) or of its SPIFFE bundle (JSON); or where its bundle is fetched. */
  readonly trust: string | BundleSource;
  /** Path of its revocation lists. */
  readonly crlsPem: string | undefined;
  /** Roles that its certificates may claim; all of them where undefined. */
  readonly roles: readonly Role[] | undefined;
  /** What of the policy differs from the node's own; nothing where undefined. */
  readonly policy?: Partial<Pick<CommonConfig, "requireRoles" | "leafAlgorithms" | "caAlgorithms" | "crlGraceHours">>;
}

/** The configuration of every role. Paths are relative to the working directory. */
export interface CommonConfig {
  /** Paths of PEM files. */
  readonly certPem: string;
  /** Path of its private key (PKCS#8, PEM). */
  readonly keyPem: string;
  /** Path of the CA certificates that are trusted (PEM). */
  readonly trustPem: string;
  /** Path of the revocation lists (PEM); undefined where none is configured. */
  readonly crlsPem: string | undefined;
  /** This node's own trust domain, the only one that certificates of `trustPem` may claim; undefined: any but the others. */
  readonly trustDomain?: string | undefined;
  /** Other organisations that this node trusts, each for its own name; none where undefined. */
  readonly trustDomains?: readonly TrustDomainConfig[] | undefined;
  /** Multiaddrs to listen on. */
  readonly listenAddresses: readonly string[];
  /** Multiaddrs to announce in addition to the listen addresses. */
  readonly externalAddresses: readonly string[];
  /** Multiaddrs of the gateways to join by. */
  readonly gatewayAddresses: readonly string[];
  /** Networks whose addresses are neither dialled nor announced. */
  readonly excludeCidr: readonly string[];
  /** Whether to be reachable through a gateway. */
  readonly relayCircuit: boolean;
  /** From the first byte of a connection to its verdict, in milliseconds. */
  readonly handshakeTimeoutMs: number;
  /** `hybrid` prefers X25519MLKEM768 where the peer has it. */
  readonly keyExchange: "hybrid" | "classical";
  /** Whether a certificate without a role is refused. */
  readonly requireRoles: boolean;
  /** How the node renews its certificate by itself; it does not where undefined. */
  readonly membership?: MembershipConfig | undefined;
  /** Where the node keeps an audit log; nowhere where undefined. */
  readonly audit?: AuditConfig | undefined;
  /** Where the console is served, on loopback; nowhere where undefined. */
  readonly console?: ListenPlace | undefined;
  /** What members may do beyond or below the table of acts; nothing where undefined. */
  readonly authorization?: { readonly rules: readonly RuleText[] } | undefined;
  /** Key algorithms that a node's certificate may have. */
  readonly leafAlgorithms: readonly KeyAlgorithm[];
  /** Key algorithms that a CA's certificate may have. */
  readonly caAlgorithms: readonly KeyAlgorithm[];
  /** How long a revocation list counts after its next update, in hours. */
  readonly crlGraceHours: number;
  /** Limits on connections and handshakes. */
  readonly limits: TransportLimits;
  /** The defaults of `defaults.ts` where undefined. */
  readonly rotation?: RotationPolicy | undefined;
  /** How long a node that is told to end waits for what it began, in milliseconds. */
  readonly drainTimeoutMs: number;
  /** Directory of what the node remembers between two runs; undefined: it remembers nothing. */
  readonly stateDir?: string | undefined;
  /** Where traces and metrics go. */
  readonly telemetry: {
    readonly endpoint: string | undefined;
    readonly attributes: string | undefined;
    readonly headers: string | undefined;
    readonly protocol: TelemetryProtocol | undefined;
    /** Undefined: no traces are sent. */
    readonly sampler: TelemetrySampler | undefined;
    readonly sampleRatio: number | undefined;
    /** Whether lines of the log are sent; `none` where undefined. */
    readonly logs?: LogsExporter | undefined;
    readonly intervalMs?: number | undefined;
    /** Where Prometheus reads; nowhere where undefined. */
    readonly listen?: string | undefined;
  };
  /** Values that are used otherwise than written; none where undefined. */
  readonly warnings?: readonly ConfigWarning[] | undefined;
}

/** A gateway's configuration. */
export interface GatewayConfig extends CommonConfig {
  /** Tells the configurations of roles apart. */
  readonly role: "gateway";
}

/** A data node's configuration. */
export interface DataConfig extends CommonConfig {
  /** Tells the configurations of roles apart. */
  readonly role: "data";
  /** The directory whose files are the slices; its base name is the dataset's name. */
  readonly datasetPath: string;
  /** Whether a slice goes only to a member that shows a scheduler's grant for it; not so where undefined. */
  readonly requireGrant?: boolean | undefined;
}

/** A program that a worker runs jobs with. */
export interface ExecutorConfig {
  /** The kind of job that it runs. */
  readonly class: "train" | "aggregate";
  /** Its name, which a job may ask for. */
  readonly name: string;
  /** A process of its own, or the parameter server inside the worker. */
  readonly runtime: "process" | "parameter-server";
  /** Command and arguments of a `process`: started without a shell. */
  readonly cmd: string | undefined;
  /** Arguments of the command. */
  readonly args: readonly string[];
  /**
   * Whether the job bridge requires its bearer token; where undefined, `optional` in a cell that other processes cannot
   * look into (`full`, `root`) and `required` elsewhere.
   */
  readonly token?: "required" | "optional" | undefined;
}

/** A worker's configuration. */
export interface WorkerConfig extends CommonConfig {
  /** Tells the configurations of roles apart. */
  readonly role: "worker";
  /** Folder below which each job gets a directory of its own. */
  readonly workDir: string;
  /** What the worker has to lease. */
  readonly resources: Resources;
  /** What the worker asks for its resources. */
  readonly offer: {
    readonly price: number;
    readonly floor: number;
    readonly strategy: "whole" | "flexible";
  };
  /** The programs that it runs jobs with. */
  readonly executors: readonly ExecutorConfig[];
  /** The defaults of `cell_config.ts` where undefined. */
  readonly cell?: CellSettings | undefined;
  /** What jobs may fetch over HTTP; nothing where undefined. */
  readonly fetch?: FetchConfig | undefined;
}

type DecodedJob = NonNullable<NonNullable<Decoded<"scheduler">["scheduler"]>["job"]>;
type Job = Camelled<DecodedJob>;

/** Files of a model repository, as `[scheduler.job.model]` and `[scheduler.job.preprocessor]` name them. */
export type HuggingfaceModel =
  & Omit<Settings<NonNullable<DecodedJob["preprocessor"]>, "revision" | "token">, "type">
  & {
    /** The task: `causal-lm`, `image-classification`, … */
    readonly type: string;
    /** The scheduler fetches the weights too, and keeps the model. */
    readonly keep?: boolean | undefined;
  };

/** Weights of one's own: the scheduler keeps the model. */
export interface WeightsModel {
  /** Path of a safetensors file. */
  readonly weights: string;
  /** The task, as for a model of a repository. */
  readonly type: string;
  /** Names of its inputs. */
  readonly inputNames: readonly string[];
}

/** `[scheduler.job]`, `type = "diloco"`. What each key is for is in `job_schema.ts`. */
export interface DilocoJobConfig extends Pick<Job, "type" | "outerOptimizer" | "resources"> {
  /** The model to train. */
  readonly model: HuggingfaceModel | WeightsModel;
  /** The preprocessor of the inputs; none where undefined. */
  readonly preprocessor: HuggingfaceModel | undefined;
  /** Name of the data set, as its data node announces it. */
  readonly dataset: string;
  /** The trainers' own optimizer. */
  readonly innerOptimizer: Settings<DecodedJob["inner_optimizer"], "betas" | "epsilon">;
  /** How many rounds, and how many samples in each. */
  readonly rounds: Settings<DecodedJob["rounds"], "maxBatchSize">;
  /** How updates are judged and joined, and how long a round may take. */
  readonly aggregation: Settings<NonNullable<DecodedJob["aggregation"]>>;
  /** Names of the executors that are requested; the existing network's by default. */
  readonly executors: Settings<NonNullable<DecodedJob["executors"]>>;
  /** Held-out rows that the scheduler evaluates each round's model on (`docs/wire.md`, "Extensions"). */
  readonly evaluation: Job["evaluation"];
}

/** A scheduler's configuration. */
export interface SchedulerConfig extends CommonConfig {
  /** Tells the configurations of roles apart. */
  readonly role: "scheduler";
  /** The programs that evaluate models; none where undefined. */
  readonly executors?: readonly Pick<ExecutorConfig, "name" | "cmd" | "args">[] | undefined;
  /** How they are confined; the defaults of `cell_config.ts` where undefined. */
  readonly cell?: CellSettings | undefined;
  /** Host and port that trainers' metrics are posted to; none where undefined. */
  readonly statusBridge: string | undefined;
  /** The job to run and to end with; where undefined, the scheduler waits for jobs that are submitted. */
  readonly job: DilocoJobConfig | undefined;
}

/** The configuration of any role. */
export type RoleConfig = GatewayConfig | DataConfig | WorkerConfig | SchedulerConfig;
