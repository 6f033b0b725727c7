/**
 * From a decoded configuration, spelt as in TOML, to the actors' types, with defaults where the file is silent.
 *
 * @module
 */
import type { Role } from "../../pki/certificate.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import { canonicalAddress } from "./addresses.ts";
import { cellDefault, type CellSettings, evaluatingCellDefault, fetchDefault } from "./cell_config.ts";
import type {
  CommonConfig,
  DataConfig,
  DilocoJobConfig,
  GatewayConfig,
  HuggingfaceModel,
  RoleConfig,
  SchedulerConfig,
  WorkerConfig,
} from "./config.ts";
import {
  aggregationDefault,
  crlGraceHoursDefault,
  drainTimeoutMsDefault,
  excludeCidrDefault,
  executorsDefault,
  handshakeTimeoutMsDefault,
  innerOptimizerDefault,
  keyAlgorithmsDefault,
  keyExchangeDefault,
  modelDefault,
  offerDefault,
  relayCircuitDefault,
  requireGrantDefault,
  requireRolesDefault,
  rotationDefault,
  roundsDefault,
} from "./defaults.ts";
import { typeAudit } from "./audit_schema.ts";
import { typeConsole } from "./console_schema.ts";
import { typeMembership } from "./membership_schema.ts";
import type { Decoded } from "./schema.ts";
import { camelled } from "./settings.ts";
import type { Cell } from "./worker_schema.ts";
import { warningsOf, withoutQuic } from "./warnings.ts";

/** Gives a decoded configuration its type. */
export function typeConfig(role: Role, decoded: Decoded<Role>): RoleConfig {
  switch (role) {
    case "gateway":
      return typeGateway(decoded as Decoded<"gateway">);
    case "scheduler":
      return typeScheduler(decoded as Decoded<"scheduler">);
    case "worker":
      return typeWorker(decoded as Decoded<"worker">);
    case "data":
      return typeData(decoded as Decoded<"data">);
  }
}

const typeAddresses = (addresses: readonly string[]): readonly string[] => withoutQuic(addresses).map(canonicalAddress);

type AnyDecoded = Decoded<"gateway"> | Decoded<"scheduler"> | Decoded<"worker"> | Decoded<"data">;

function typeCommon(role: Role, decoded: AnyDecoded): CommonConfig {
  return {
    certPem: decoded.cert_pem,
    keyPem: decoded.key_pem,
    trustPem: decoded.trust_pem,
    crlsPem: decoded.crls_pem,
    trustDomain: decoded.trust_domain,
    trustDomains: decoded.trust_domains?.map((
      { name, trust_pem, bundle, bundle_url, bundle_pin, profile = "https_ca", crls_pem, roles, ...policy },
    ) => ({
      name,
      ...(bundle_url === undefined
        ? { trust: trust_pem ?? bundle ?? "" }
        : { trust: { url: bundle_url, pin: bundle_pin?.replace("sha256:", ""), profile } }),
      crlsPem: crls_pem,
      roles,
      ...(Object.keys(policy).length === 0 ? {} : { policy: camelled(policy) }),
    })),
    listenAddresses: typeAddresses(decoded.listen_addresses),
    externalAddresses: typeAddresses("external_addresses" in decoded ? decoded.external_addresses ?? [] : []),
    gatewayAddresses: typeAddresses("gateway_addresses" in decoded ? decoded.gateway_addresses : []),
    excludeCidr: decoded.exclude_cidr ?? excludeCidrDefault,
    relayCircuit: "gateway_addresses" in decoded &&
      (("relay_circuit" in decoded ? decoded.relay_circuit : undefined) ?? relayCircuitDefault),
    handshakeTimeoutMs: decoded.handshake_timeout_ms ?? handshakeTimeoutMsDefault,
    keyExchange: decoded.key_exchange ?? keyExchangeDefault,
    requireRoles: decoded.require_roles ?? requireRolesDefault,
    membership: decoded.membership && typeMembership(decoded.membership),
    audit: decoded.audit && typeAudit(decoded.audit),
    console: decoded.console && typeConsole(decoded.console),
    authorization: { rules: decoded.authorization?.rules ?? [] },
    leafAlgorithms: decoded.leaf_algorithms ?? keyAlgorithmsDefault,
    caAlgorithms: decoded.ca_algorithms ?? keyAlgorithmsDefault,
    crlGraceHours: decoded.crl_grace_hours ?? crlGraceHoursDefault,
    limits: { ...defaultLimits, ...camelled(decoded.limits ?? {}) },
    rotation: { ...rotationDefault, ...camelled(decoded.rotation ?? {}) },
    drainTimeoutMs: decoded.drain_timeout_ms ?? drainTimeoutMsDefault,
    stateDir: decoded.state_dir,
    telemetry: {
      endpoint: decoded.telemetry_endpoint,
      attributes: decoded.telemetry_attributes,
      headers: decoded.telemetry_headers,
      protocol: decoded.telemetry_protocol === "grpc" ? "http/protobuf" : decoded.telemetry_protocol,
      sampler: decoded.telemetry_sampler,
      sampleRatio: decoded.telemetry_sample_ratio,
      logs: decoded.telemetry_logs,
      intervalMs: decoded.telemetry_interval_ms,
      listen: decoded.metrics_listen_address,
    },
    warnings: warningsOf(role, decoded),
  };
}

function typeGateway(decoded: Decoded<"gateway">): GatewayConfig {
  return { ...typeCommon("gateway", decoded), role: "gateway" };
}

function typeData(decoded: Decoded<"data">): DataConfig {
  return {
    ...typeCommon("data", decoded),
    role: "data",
    datasetPath: decoded.dataset_path,
    requireGrant: decoded.require_grant ?? requireGrantDefault,
  };
}

function typeWorker(decoded: Decoded<"worker">): WorkerConfig {
  const { offer } = decoded;
  return {
    ...typeCommon("worker", decoded),
    role: "worker",
    workDir: decoded.work_dir,
    resources: decoded.resources,
    offer: {
      price: offer?.price ?? offerDefault.price,
      floor: offer?.floor ?? offerDefault.floor,
      strategy: offer?.strategy?.type ?? offerDefault.strategy,
    },
    executors: decoded.executors.map((executor) => ({
      class: executor.class,
      name: executor.name,
      runtime: executor.runtime,
      cmd: executor.cmd,
      args: executor.args ?? [],
      token: executor.token,
    })),
    cell: typeCell(decoded.cell ?? {}),
    fetch: { ...fetchDefault, ...camelled(decoded.fetch ?? {}) },
  };
}

function typeCell({ gpu_common, ...cell }: Cell, standard: CellSettings = cellDefault): CellSettings {
  const gpuCommon = { ...standard.gpuCommon, ...gpu_common };
  return { ...standard, ...camelled(cell), gpuCommon };
}

function typeScheduler(decoded: Decoded<"scheduler">): SchedulerConfig {
  return {
    ...typeCommon("scheduler", decoded),
    role: "scheduler",
    statusBridge: decoded.status_bridge,
    executors: (decoded.executors ?? []).map(({ name, cmd, args = [] }) => ({ name, cmd, args })),
    cell: typeCell(decoded.cell ?? {}, evaluatingCellDefault),
    job: decoded.scheduler?.job && typeJob(decoded.scheduler.job),
  };
}

type DecodedJob = NonNullable<NonNullable<Decoded<"scheduler">["scheduler"]>["job"]>;

const typePreprocessor = (model: NonNullable<DecodedJob["preprocessor"]>): HuggingfaceModel => ({
  ...modelDefault,
  ...camelled(model),
});

/** `rules.ts` has seen that it has weights, or a repository with files. */
function typeModel({ weights, keep = false, repository = "", filenames = [], ...model }: DecodedJob["model"]) {
  return weights === undefined
    ? { ...modelDefault, ...camelled({ ...model, repository, filenames }), ...(keep ? { keep } : {}) }
    : { weights, type: model.type, inputNames: model.input_names };
}

/** Gives a decoded job its type. */
export function typeJob({ dataset: { dataset }, model, preprocessor, ...job }: DecodedJob): DilocoJobConfig {
  const { innerOptimizer, rounds, aggregation, executors, evaluation, ...plain } = camelled(job);
  return {
    ...plain,
    model: typeModel(model),
    preprocessor: preprocessor && typePreprocessor(preprocessor),
    dataset,
    innerOptimizer: { ...innerOptimizerDefault, ...innerOptimizer },
    rounds: { ...roundsDefault, ...rounds },
    aggregation: { ...aggregationDefault, ...aggregation },
    executors: { ...executorsDefault, ...executors },
    evaluation,
  };
}
