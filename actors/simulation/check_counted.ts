/**
 * Checks that who is counted is a member everywhere: for the aggregator, for the scheduler, and for the trainer itself; and that the
 * scheduler is told exactly of those that were counted.
 *
 * Lists of different nodes agree only after a while: a member that the scheduler lost, or whose job ended, counts as one for as long as
 * the aggregator may not have heard of it.
 *
 * @module
 */
import type { TransportFact } from "../../transport/port.ts";
import type { JobSpec, Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import type { CollectedRound } from "./executor_watch.ts";
import { type CheckInit, contextsOf, type Findings, trainingContextsOf } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import type { Simulation } from "./simulation.ts";

/** Lists agree after this, in milliseconds: a lease's life, the end of a job, and a dispatch. */
const agreeMs = 45_000;
/** Rounds of one job whose updates are remembered: a report may be repeated. */
const roundsKept = 2;

/** Checks the members whose updates count. */
export class CountedChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  /** When a training last had a trainer, and a worker a job of it: `scheduler/training/peer`. */
  readonly #trainers = new Map<string, number>();
  readonly #jobs = new Map<string, number>();
  /** The peers whose updates went into the newest means of a job. */
  readonly #counted = new Map<Uuid, string[]>();

  constructor({ sim, findings }: CheckInit) {
    this.#sim = sim;
    this.#findings = findings;
  }

  /** Every quarter of a second, and when a round is collected. */
  look(node: SimulatedNode): void {
    const { now } = this.#sim;
    if (node.role === "scheduler") {
      for (const { self, run, training } of trainingContextsOf(node)) {
        for (const peer of Object.keys(training.trainers)) this.#trainers.set(`${self}/${run?.id}/${peer}`, now);
      }
    } else if (node.role === "worker") {
      for (const { self, book } of contextsOf<WorkerContext>(node)) {
        for (const { scheduler, training } of Object.values(book.jobs)) {
          this.#jobs.set(`${scheduler}/${training?.id}/${self}`, now);
        }
      }
    }
  }

  /** An aggregator begins to compute a mean of these peers' updates. */
  collected({ spec, scheduler, training, peers }: CollectedRound): void {
    for (const node of this.#sim.nodes.values()) this.look(node);
    const named = this.#namedBy(spec);
    for (const peer of peers) {
      const key = `${scheduler}/${training}/${peer}`;
      if (named !== undefined && !named.includes(peer)) this.#violate(`${peer} counts, which its job does not name`);
      if (!this.#isLate(this.#trainers.get(key))) {
        this.#violate(`${peer} counts, which ${scheduler} does not train with`);
      }
      if (!this.#isLate(this.#jobs.get(key))) this.#violate(`${peer} counts, which has no job of ${scheduler}`);
    }
  }

  #isLate(at: number | undefined): boolean {
    return at !== undefined && this.#sim.now - at < agreeMs;
  }

  /** The peers that the newest job of the aggregator names. */
  #namedBy({ job_id: id }: JobSpec): readonly Peer[] | undefined {
    for (const node of this.#sim.nodes.values()) {
      const books = node.role === "worker" ? contextsOf<WorkerContext>(node).map(({ book }) => book) : [];
      for (const { spec } of books.flatMap(({ jobs }) => Object.values(jobs))) {
        if (spec.job_id === id && spec.executor.class === "aggregate") return spec.executor.config.updates.peers;
      }
    }
    return undefined;
  }

  /** A mean was written. */
  averaged(jobId: Uuid, peers: Iterable<Peer>): void {
    const rounds = [...this.#counted.get(jobId) ?? [], [...peers].toSorted().join(", ")];
    this.#counted.set(jobId, rounds.slice(-roundsKept));
  }

  /** A scheduler is told of a round. */
  fact(node: SimulatedNode, fact: TransportFact): void {
    if (node.role !== "scheduler" || fact.type !== "request.received") return;
    const { message } = fact;
    if (!("report" in message) || message.report === undefined) return;
    // Whose updates a round still waits for is a report too.
    if (message.progress !== "updated") return;
    const rounds = this.#counted.get(message.job_id);
    if (rounds === undefined) return;
    const counted = message.report.members.filter(({ outcome }) => outcome === "counted" || outcome === "clipped");
    const said = counted.map(({ peer }) => peer).toSorted().join(", ");
    if (!rounds.includes(said)) this.#violate(`${node.name} is told that ${said} counted, and ${rounds.at(-1)} did`);
  }

  #violate(detail: string): void {
    this.#findings.violate("counted-everywhere", "aggregator", detail);
  }
}
