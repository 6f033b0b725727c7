/**
 * From a decoded configuration, spelt as in TOML, to the actors' types, with defaults where the file is silent.
 *
 * @module
 */
import type { Role } from "../../pki/certificate.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import { type CellConfig, cellDefault, type FetchConfig, fetchDefault } from "./cell_config.ts";
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
  crlGraceHoursDefault,
  drainTimeoutMsDefault,
  excludeCidrDefault,
  executorsDefault,
  handshakeTimeoutMsDefault,
  keyAlgorithmsDefault,
  offerDefault,
  rotationDefault,
} from "./defaults.ts";
import type { Decoded } from "./schema.ts";
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

type AnyDecoded = Decoded<"gateway"> | Decoded<"scheduler"> | Decoded<"worker"> | Decoded<"data">;

function typeCommon(role: Role, decoded: AnyDecoded): CommonConfig {
  return {
    certPem: decoded.cert_pem,
    keyPem: decoded.key_pem,
    trustPem: decoded.trust_pem,
    crlsPem: decoded.crls_pem,
    trustDomains: decoded.trust_domains?.map(({ name, trust_pem, bundle, crls_pem, roles }) => ({
      name,
      trust: trust_pem ?? bundle ?? "",
      crlsPem: crls_pem,
      roles,
    })),
    listenAddresses: withoutQuic(decoded.listen_addresses),
    externalAddresses: withoutQuic("external_addresses" in decoded ? decoded.external_addresses ?? [] : []),
    gatewayAddresses: withoutQuic("gateway_addresses" in decoded ? decoded.gateway_addresses : []),
    excludeCidr: decoded.exclude_cidr ?? excludeCidrDefault,
    relayCircuit: "gateway_addresses" in decoded &&
      ("relay_circuit" in decoded ? decoded.relay_circuit ?? true : true),
    handshakeTimeoutMs: decoded.handshake_timeout_ms ?? handshakeTimeoutMsDefault,
    keyExchange: decoded.key_exchange ?? "hybrid",
    requireRoles: decoded.require_roles ?? false,
    leafAlgorithms: decoded.leaf_algorithms ?? keyAlgorithmsDefault,
    caAlgorithms: decoded.ca_algorithms ?? keyAlgorithmsDefault,
    crlGraceHours: decoded.crl_grace_hours ?? crlGraceHoursDefault,
    limits: typeLimits(decoded.limits ?? {}),
    rotation: {
      drain: decoded.rotation?.drain ?? rotationDefault.drain,
      drainMs: decoded.rotation?.drain_ms ?? rotationDefault.drainMs,
    },
    drainTimeoutMs: decoded.drain_timeout_ms ?? drainTimeoutMsDefault,
    stateDir: decoded.state_dir,
    telemetry: {
      endpoint: decoded.telemetry_endpoint,
      attributes: decoded.telemetry_attributes,
      headers: decoded.telemetry_headers,
      protocol: decoded.telemetry_protocol === "grpc" ? "http/protobuf" : decoded.telemetry_protocol,
      sampler: decoded.telemetry_sampler,
      sampleRatio: decoded.telemetry_sample_ratio,
      intervalMs: decoded.telemetry_interval_ms,
      listen: decoded.metrics_listen_address,
    },
    warnings: warningsOf(role, decoded),
  };
}

function typeLimits(limits: NonNullable<AnyDecoded["limits"]>): CommonConfig["limits"] {
  return {
    pendingMax: limits.pending_max ?? defaultLimits.pendingMax,
    pendingPerAddressMax: limits.pending_per_address_max ?? defaultLimits.pendingPerAddressMax,
    connectionsMax: limits.connections_max ?? defaultLimits.connectionsMax,
    connectionsPerAddressMax: limits.connections_per_address_max ?? defaultLimits.connectionsPerAddressMax,
    connectionsPerPeerMax: limits.connections_per_peer_max ?? defaultLimits.connectionsPerPeerMax,
    handshakesPerSecond: limits.handshakes_per_second ?? defaultLimits.handshakesPerSecond,
    handshakesBurst: limits.handshakes_burst ?? defaultLimits.handshakesBurst,
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
    requireGrant: decoded.require_grant ?? false,
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
    fetch: typeFetch(decoded.fetch ?? {}),
  };
}

function typeCell(cell: NonNullable<Decoded<"worker">["cell"]>): CellConfig {
  return {
    level: cell.level ?? cellDefault.level,
    allowUnconfined: cell.allow_unconfined ?? cellDefault.allowUnconfined,
    memoryBytes: cell.memory_bytes ?? cellDefault.memoryBytes,
    pidsMax: cell.pids_max ?? cellDefault.pidsMax,
    cpuSeconds: cell.cpu_seconds ?? cellDefault.cpuSeconds,
    openFilesMax: cell.open_files_max ?? cellDefault.openFilesMax,
    diskBytes: cell.disk_bytes ?? cellDefault.diskBytes,
    inodesMax: cell.inodes_max ?? cellDefault.inodesMax,
    wallSeconds: cell.wall_seconds ?? cellDefault.wallSeconds,
    environment: cell.environment ?? cellDefault.environment,
    readOnly: cell.read_only ?? cellDefault.readOnly,
  };
}

function typeFetch(fetch: NonNullable<Decoded<"worker">["fetch"]>): FetchConfig {
  return {
    schemes: fetch.schemes ?? fetchDefault.schemes,
    hosts: fetch.hosts ?? fetchDefault.hosts,
    denyCidr: fetch.deny_cidr ?? fetchDefault.denyCidr,
    fileBytesMax: fetch.file_bytes_max ?? fetchDefault.fileBytesMax,
    redirectsMax: fetch.redirects_max ?? fetchDefault.redirectsMax,
    timeoutMs: fetch.timeout_ms ?? fetchDefault.timeoutMs,
  };
}

function typeScheduler(decoded: Decoded<"scheduler">): SchedulerConfig {
  return {
    ...typeCommon("scheduler", decoded),
    role: "scheduler",
    statusBridge: decoded.status_bridge,
    job: typeJob(decoded.scheduler.job),
  };
}

type DecodedJob = Decoded<"scheduler">["scheduler"]["job"];

function typeModel(model: DecodedJob["model"] | NonNullable<DecodedJob["preprocessor"]>): HuggingfaceModel {
  return {
    repository: model.repository,
    revision: model.revision,
    filenames: model.filenames,
    token: model.token,
    type: model.type,
    inputNames: model.input_names,
  };
}

function typeJob(job: DecodedJob): DilocoJobConfig {
  const { resources, rounds, inner_optimizer: inner, outer_optimizer: outer } = job;
  return {
    type: job.type,
    model: typeModel(job.model),
    preprocessor: job.preprocessor === undefined ? undefined : typeModel(job.preprocessor),
    dataset: job.dataset.dataset,
    innerOptimizer: { learningRate: inner["learning-rate"], betas: inner.betas, epsilon: inner.epsilon },
    outerOptimizer: { learningRate: outer["learning-rate"], momentum: outer.momentum },
    resources: {
      numWorkers: resources.num_workers,
      worker: resources.worker,
      parameterServer: resources.parameter_server,
      workerPrice: resources.worker_price,
      parameterServerPrice: resources.parameter_server_price,
    },
    rounds: {
      updateRounds: rounds.update_rounds,
      avgSamplesBetweenUpdates: rounds.avg_samples_between_updates,
      maxBatchSize: rounds.max_batch_size,
    },
    executors: {
      train: job.executors?.train ?? executorsDefault.train,
      aggregate: job.executors?.aggregate ?? executorsDefault.aggregate,
    },
    evaluation: job.evaluation === undefined ? undefined : { heldOut: job.evaluation.held_out },
  };
}
