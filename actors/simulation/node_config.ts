/**
 * The options of a simulated node, and the configuration that its processes start with.
 *
 * @module
 */
import type { UpdateOf } from "./executor.ts";
import type { Resources } from "../../transport/protocols/messages.ts";
import type { CommonConfig, DilocoJobConfig, RoleConfig, TrustDomainConfig, WorkerConfig } from "../config/config.ts";
import { executorsDefault } from "../config/defaults.ts";
import type { MembershipConfig } from "../config/membership_schema.ts";
import type { HardwareKey } from "../enrolment/identity_key.ts";
import type { HttpGet } from "../crl_exchange/http_get.ts";
import type { AskHttps } from "../enrolment/ask_https.ts";
import type { Credential } from "./authority.ts";
import { configOf, type Knobs } from "./knobs.ts";
import type { NodeClock } from "./node_clock.ts";
import { partnerName, partnerRoles } from "./partner_domain.ts";

/** Roles of nodes. */
export type NodeRole = "gateway" | "scheduler" | "worker" | "data";

/** The options of a node. */
export interface NodeOptions {
  readonly name: string;
  readonly role: NodeRole;
  /** None: it joins by a token. */
  readonly credential?: Credential | undefined;
  /** A key that does not belong to the certificate. */
  readonly keyPem?: string;
  readonly trustPem: string;
  readonly crlsPem: string | undefined;
  /** A second trust domain, with its files. */
  readonly partner?: { readonly trustPem: string; readonly crls: readonly string[] } | undefined;
  readonly gateways: readonly string[];
  readonly job?: DilocoJobConfig;
  /** A scheduler without a job of its own: it waits for those that are submitted. */
  readonly waitsForJobs?: boolean | undefined;
  /** Whether the weights that the job names have an integer tensor. */
  readonly hasIntegers?: boolean | undefined;
  readonly executors?: readonly ("train" | "aggregate")[];
  readonly resources?: Resources;
  readonly slices?: number;
  readonly batchMs?: number;
  /** The updates of its executors. */
  readonly updateOf?: UpdateOf;
  readonly relayClient?: boolean;
  /** False: peers reach it through a gateway's relay only. */
  readonly isDialable?: boolean;
  /** Its operator writes rules: they lie on its disk, and its processes read them again. */
  readonly hasRules?: boolean;
  /** It renews its certificate by itself, and fetches lists. */
  readonly membership?: SimulatedMembership | undefined;
  /** Limits and times in place of the defaults. */
  readonly knobs?: Knobs | undefined;
}

/** How a node that renews its certificate is configured, and how it reaches its CA. */
export interface SimulatedMembership {
  readonly config: MembershipConfig;
  /** The HTTPS of one process. */
  readonly webOf: (host: string, clock: NodeClock) => ProcessWeb;
  /** The key of its identity as one process has it, where that is in a token. */
  readonly hardwareOf?: ((clock: NodeClock) => HardwareKey) | undefined;
}

/** Requests of one process. */
export interface ProcessWeb {
  readonly ask: AskHttps;
  readonly get: HttpGet;
}

/** An operator whose copy of a file found no room copies it again after this, in milliseconds. */
export const copyAgainMs = 1_000;

/** Where a node's files lie. */
export const nodePaths = {
  cert: "/etc/hypha/cert.pem",
  key: "/etc/hypha/key.pem",
  trust: "/etc/hypha/trust.pem",
  crls: "/etc/hypha/crls.pem",
  partnerTrust: "/etc/hypha/partner-trust.pem",
  partnerCrls: "/etc/hypha/partner-crls.pem",
  dataset: "/data/digits",
  config: "/etc/hypha/node.toml",
  state: "/var/lib/hypha/state",
  identity: "/etc/hypha/identity.pem",
  weights: "/etc/hypha/init.safetensors",
} as const;

/** The configuration of a node's processes. */
export function nodeConfig(options: NodeOptions): RoleConfig {
  const common = commonConfig(options);
  switch (options.role) {
    case "gateway":
      return { ...common, role: "gateway" };
    case "data":
      return { ...common, role: "data", datasetPath: nodePaths.dataset, requireGrant: true };
    case "scheduler":
      if (options.job === undefined && options.waitsForJobs !== true) {
        throw new Error(`Cannot start scheduler ${options.name}: it has no job`);
      }
      return { ...common, role: "scheduler", statusBridge: undefined, job: options.job };
    case "worker":
      return { ...common, ...workerConfig(options) };
  }
}

const partnerDomain: TrustDomainConfig = {
  name: partnerName,
  trust: nodePaths.partnerTrust,
  crlsPem: nodePaths.partnerCrls,
  roles: partnerRoles,
};

function commonConfig(options: NodeOptions): CommonConfig {
  const { gateways, crlsPem, partner, relayClient = true, membership, knobs = {} } = options;
  return {
    certPem: nodePaths.cert,
    keyPem: nodePaths.key,
    trustPem: nodePaths.trust,
    crlsPem: crlsPem === undefined ? undefined : nodePaths.crls,
    ...(partner === undefined ? {} : { trustDomains: [partnerDomain] }),
    ...(membership === undefined ? {} : { membership: membership.config }),
    listenAddresses: [],
    externalAddresses: [],
    gatewayAddresses: gateways,
    excludeCidr: [],
    relayCircuit: relayClient,
    keyExchange: "classical",
    requireRoles: false,
    leafAlgorithms: ["ed25519"],
    caAlgorithms: ["ed25519"],
    ...configOf(knobs),
    stateDir: nodePaths.state,
    telemetry: {
      endpoint: undefined,
      attributes: undefined,
      headers: undefined,
      protocol: undefined,
      sampler: undefined,
      sampleRatio: undefined,
    },
  };
}

function workerConfig(options: NodeOptions): Omit<WorkerConfig, keyof CommonConfig> {
  const wanted = options.executors ?? ["train"];
  return {
    role: "worker",
    workDir: "/var/hypha",
    resources: options.resources ?? { gpu: 0, cpu: 4, storage: 10, memory: 12 },
    offer: { price: 1, floor: 0, strategy: "flexible" },
    executors: wanted.map((jobClass) => ({
      class: jobClass,
      name: executorsDefault[jobClass],
      runtime: jobClass === "train" ? "process" : "parameter-server",
      cmd: jobClass === "train" ? "simulated" : undefined,
      args: [],
    })),
  };
}
