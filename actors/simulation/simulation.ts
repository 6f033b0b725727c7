/**
 * A whole network in one process, in virtual time: nodes with the production machines on simulated disks, links and clocks.
 *
 * ```ts
 * const sim = await Simulation.create({ seed: 1 });
 * const gateway = await sim.addNode({ name: "gw", role: "gateway" });
 * sim.run(10_000);
 * ```
 *
 * @module
 */
import type { InspectionEvent } from "xstate";
import type { DilocoJobConfig } from "../config/config.ts";
import { aggregationDefault, executorsDefault } from "../config/defaults.ts";
import type { AuditEntry } from "../trust/audit.ts";
import type { Report } from "../runtime/ports.ts";
import type { Session } from "../../transport/core/session.ts";
import type { TransportFact } from "../../transport/port.ts";
import type { Message } from "../../transport/protocols/messages.ts";
import type { SimulatedConnection } from "../../transport/simulated/connection.ts";
import { Directory } from "../../transport/simulated/directory.ts";
import { VirtualNetwork } from "../../transport/simulated/network.ts";
import type { WireWork } from "../../transport/simulated/wire.ts";
import { type Authority, type Credential, organisationOf } from "./authority.ts";
import type { AveragedRound, CollectedRound } from "./executor_watch.ts";
import type { JobInput } from "../job/messages.ts";
import { addressOf, SimulatedNode } from "./node.ts";
import { weightsOf } from "./trainer_model.ts";
import { type NodeOptions, nodePaths, type NodeRole } from "./node_config.ts";
import { randomOf } from "../runtime/random.ts";
import { Trace } from "./trace.ts";
import { VirtualTime } from "./virtual_time.ts";

/** Every run starts at this instant, in milliseconds since the epoch: 2026-01-01T00:00:00Z. */
export const startsAt = 1_767_225_600_000;
const dayMs = 86_400_000;
/** Nodes of one run. */
export const nodesMax = 16_384;

/** The options of a simulation. */
export interface SimulationOptions {
  /** Decides all random choices. */
  readonly seed: number | string;
  /** Keeps the trace's lines. */
  readonly keepTrace?: boolean;
  /** Sees every event of every machine. */
  readonly inspect?: (event: InspectionEvent) => void;
  /** What the trace has of a text; the text itself by default. */
  readonly plain?: (text: string) => string;
}

/** The options of a node; the simulation adds the rest. */
export interface AddNode extends Partial<Omit<NodeOptions, "name" | "role" | "gateways" | "credential">> {
  readonly name: string;
  readonly role: NodeRole;
  /** Names of the gateways that it joins by. */
  readonly gateways?: readonly string[];
  /** Instead of a certificate for a year. */
  readonly credential?: Credential;
}

/** Observes a run. */
export interface SimulationWatch {
  report?(node: SimulatedNode, report: Report): void;
  refusal?(node: SimulatedNode, entry: AuditEntry): void;
  /** Bytes of a stream or of gossip are handed over above the gates. */
  bytes?(node: SimulatedNode, from: SimulatedConnection, protocol: string, bytes: Uint8Array): void;
  /** A peer made a node do something. */
  worked?(node: SimulatedNode, work: WireWork): void;
  /** `session` is that of the transport that sends the answer. */
  answer?(node: SimulatedNode, message: Message, session: Session): void;
  /** `session` is that of the transport that tells it. */
  fact?(node: SimulatedNode, fact: TransportFact, session: Session | undefined): void;
  /** An ask of the node's roles is answered by its transport. */
  asked?(node: SimulatedNode, answer: unknown): void;
  crash?(node: SimulatedNode, error: unknown): void;
  sliceGiven?(job: JobInput, index: number): void;
  pushed?(job: JobInput, values: readonly number[]): void;
  collected?(round: CollectedRound): void;
  averaged?(round: AveragedRound): void;
  resultTaken?(job: JobInput, round: number): void;
  processStarted?(job: JobInput): void;
  processEnded?(job: JobInput): void;
}

/** A network, its authorities and its time. */
export class Simulation {
  readonly seed: number | string;
  readonly time: VirtualTime;
  readonly network: VirtualNetwork;
  readonly directory = new Directory();
  readonly authority: Authority;
  readonly trace: Trace;
  readonly nodes = new Map<string, SimulatedNode>();
  readonly watches: SimulationWatch[] = [];
  readonly #inspect: ((event: InspectionEvent) => void) | undefined;
  readonly #plain: (text: string) => string;
  #crls: string;
  #crlNumber = 1;
  readonly #revoked: Credential[] = [];

  private constructor(options: SimulationOptions, authority: Authority, crls: string) {
    const { seed, keepTrace = false, inspect, plain = (text: string) => text } = options;
    this.#plain = plain;
    this.seed = seed;
    this.time = new VirtualTime(startsAt);
    this.network = new VirtualNetwork({ time: this.time, random: randomOf(seed, "links").next });
    this.authority = authority;
    this.trace = new Trace(keepTrace);
    this.#inspect = inspect;
    this.#crls = crls;
  }

  /** Makes the authorities and an empty network. */
  static async create(options: SimulationOptions): Promise<Simulation> {
    const period = { from: new Date(startsAt - dayMs), to: new Date(startsAt + 3_650 * dayMs) };
    const authority = await organisationOf(options.seed, period);
    const crls = await authority.crls({ number: 1, ...Simulation.#listPeriod, revoked: [] });
    return new Simulation(options, authority, crls);
  }

  static readonly #listPeriod = {
    thisUpdate: new Date(startsAt - dayMs),
    nextUpdate: new Date(startsAt + 30 * dayMs),
  };

  /** The newest lists. */
  get crls(): string {
    return this.#crls;
  }

  /** Milliseconds since the start. */
  get now(): number {
    return this.time.now - startsAt;
  }

  /** A certificate of a year, from the intermediate. */
  issue(name: string, role?: NodeRole, edition = 1): Promise<Credential> {
    return this.authority.node(name, {
      ...(role === undefined ? {} : { role }),
      edition,
      notBefore: new Date(startsAt - dayMs),
      notAfter: new Date(startsAt + 365 * dayMs),
    });
  }

  /** Makes a node and starts it. */
  async addNode(options: AddNode): Promise<SimulatedNode> {
    const node = this.makeNode({
      ...options,
      credential: options.credential ?? await this.issue(options.name, options.role),
    });
    node.start();
    return node;
  }

  /** Makes a node that does not run yet. */
  makeNode(options: AddNode): SimulatedNode {
    if (this.nodes.has(options.name) || this.nodes.size >= nodesMax) {
      throw new RangeError(`Cannot add node ${options.name}: there is one, or there are too many`);
    }
    const gateways = (options.gateways ?? []).map((name) => this.nodes.get(name)?.address).filter((found) =>
      found !== undefined
    );
    const node = new SimulatedNode(
      {
        seed: this.seed,
        time: this.time,
        network: this.network,
        directory: this.directory,
        inspect: this.#inspect,
        onReport: (of, report) => {
          this.note("report", of.name, `${report.level} ${report.event} ${report.message}`);
          for (const watch of this.watches) watch.report?.(of, report);
        },
        onRefusal: (of, entry) => {
          for (const watch of this.watches) watch.refusal?.(of, entry);
        },
        onBytes: (of, from, protocol, bytes) => {
          const text = `${protocol} ${bytes.length}`;
          this.trace.add({ at: this.now, node: of.name, kind: "frame", from: from.remoteHost, text });
          for (const watch of this.watches) watch.bytes?.(of, from, protocol, bytes);
        },
        onWork: (of, work) => {
          for (const watch of this.watches) watch.worked?.(of, work);
        },
        onAnswer: (of, message, session) => {
          for (const watch of this.watches) watch.answer?.(of, message, session);
        },
        onFact: (of, fact, session) => {
          for (const watch of this.watches) watch.fact?.(of, fact, session);
        },
        onAsked: (of, answer) => {
          for (const watch of this.watches) watch.asked?.(of, answer);
        },
        onCrash: (of, error) => {
          this.note("report", of.name, `crash ${String(error)}`);
          for (const watch of this.watches) watch.crash?.(of, error);
        },
        executors: {
          pushed: (job, values) => this.watches.forEach((watch) => watch.pushed?.(job, values)),
          sliceGiven: (job, index) => this.watches.forEach((watch) => watch.sliceGiven?.(job, index)),
          collected: (round) => this.watches.forEach((watch) => watch.collected?.(round)),
          averaged: (round) => this.watches.forEach((watch) => watch.averaged?.(round)),
          resultTaken: (job, round) => this.watches.forEach((watch) => watch.resultTaken?.(job, round)),
          processStarted: (job) => this.watches.forEach((watch) => watch.processStarted?.(job)),
          processEnded: (job) => this.watches.forEach((watch) => watch.processEnded?.(job)),
        },
      },
      addressOf(this.nodes.size + 1),
      { trustPem: this.authority.trustPem, crlsPem: this.#crls, ...options, gateways },
    );
    this.nodes.set(options.name, node);
    if (options.job !== undefined && "weights" in options.job.model) {
      node.disk.put(nodePaths.weights, weightsOf(node.peer, options.hasIntegers));
    }
    return node;
  }

  /** Makes lists that revoke these certificates too; they reach a node by {@linkcode publish}. */
  async revoke(...credentials: readonly Credential[]): Promise<string> {
    this.#revoked.push(...credentials);
    this.#crlNumber += 1;
    const number = this.#crlNumber;
    this.#crls = await this.authority.crls({ number, ...Simulation.#listPeriod, revoked: this.#revoked });
    return this.#crls;
  }

  /** Puts lists on the disks of nodes, of all by default. */
  publish(crls: string, nodes: Iterable<SimulatedNode> = this.nodes.values()): void {
    for (const node of nodes) node.disk.put(nodePaths.crls, crls, 0o644);
  }

  /** Whether two nodes are established with each other, seen from both. */
  areConnected(one: SimulatedNode, other: SimulatedNode): boolean {
    return one.isRunning && other.isRunning && one.peers.includes(other.peer) && other.peers.includes(one.peer);
  }

  /** Runs a task later. */
  after(delayMs: number, task: () => void): void {
    this.time.schedule(delayMs, task);
  }

  /** Lets time pass, in milliseconds. */
  run(forMs: number): void {
    this.time.runTo(this.time.now + forMs);
  }

  note(kind: "report" | "fault" | "violation", node: string, text: string): void {
    this.trace.add({ at: this.now, node, kind, text: this.#plain(text) });
  }
}

/** A job for a simulated scheduler: DiLoCo over the data set of {@linkcode nodePaths}. */
export function simulatedJob(
  options: {
    readonly workers: number;
    readonly rounds: number;
    readonly keeps?: boolean;
    readonly quorum?: number;
  },
): DilocoJobConfig {
  const kind = { type: "image-classification", inputNames: ["x"] };
  const model = options.keeps === true ? { weights: nodePaths.weights, ...kind } : {
    repository: "simulated/model",
    revision: undefined,
    filenames: ["model.safetensors"],
    token: undefined,
    ...kind,
  };
  return {
    type: "diloco",
    model,
    preprocessor: undefined,
    dataset: "digits",
    innerOptimizer: { learningRate: 0.001, betas: undefined, epsilon: undefined },
    outerOptimizer: { learningRate: 0.7, momentum: 0.9 },
    resources: {
      numWorkers: options.workers,
      // Memory is what a worker has for one trainer. GPU memory would make a batch of each row.
      worker: { gpu: 0, cpu: 1, storage: 1, memory: 8 },
      parameterServer: { gpu: 0, cpu: 1, storage: 1, memory: 1 },
      workerPrice: { bid: 10, max: 20 },
      parameterServerPrice: { bid: 10, max: 20 },
      waitS: 60,
      silenceS: 300,
    },
    rounds: {
      updateRounds: options.rounds,
      avgSamplesBetweenUpdates: 32 * options.workers,
      maxBatchSize: 8,
      keepRounds: 3,
    },
    executors: { ...executorsDefault },
    aggregation: {
      ...aggregationDefault,
      ...(options.quorum === undefined ? { roundDeadlineS: 60 } : { roundDeadlineS: 20, quorum: options.quorum }),
    },
    evaluation: undefined,
  };
}
