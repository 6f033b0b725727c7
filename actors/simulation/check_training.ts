/**
 * Checks a training: slices, updates, the mean of each round, and that the scheduler comes to an end.
 *
 * @module
 */
import type { Session } from "../../transport/core/session.ts";
import type { Message, Peer, Uuid } from "../../transport/protocols/messages.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import type { JobInput } from "../job/messages.ts";
import { roundOfIndex } from "../learning/model_references.ts";
import { peerOfCredential } from "./authority.ts";
import type { AveragedRound, CollectedRound } from "./executor_watch.ts";
import type { CheckInit, Findings } from "./findings.ts";
import { contextsOf, keyOf, trainingContextsOf, trainingsOf } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import type { Simulation } from "./simulation.ts";
import type { SubmittedChecks } from "./check_submitted.ts";

/** Names a run of a training. */
function runOf(
  scheduler: Peer,
  training: { readonly id: string; readonly run: number | undefined } | undefined,
): string {
  return training === undefined ? `${scheduler} alone` : `${scheduler} ${training.id} run ${training.run}`;
}

/** From three updates on, one over twice the lower median length is scaled down to that (`docs/wire.md`, "Judged updates"). */
function scaledDown(lists: readonly (readonly number[])[]): readonly (readonly number[])[] {
  if (lists.length < 3) return lists;
  const lengths = lists.map((list) => Math.hypot(...list));
  const bound = 2 * (lengths.toSorted((a, b) => a - b)[Math.ceil(lists.length / 2) - 1] ?? 0);
  return lists.map((list, at) => {
    const length = lengths[at] ?? 0;
    return length > bound ? list.map((value) => value * bound / length) : list;
  });
}

/** Numbers of f32 arithmetic that are equal differ by less than this. */
const tolerance = 1e-5;

/** Checks the trainings of all schedulers. */
export class TrainingChecks {
  /** Trainers that dropped out of a job: `job/peer`. */
  readonly rejected = new Set<string>();
  /** How a scheduler's training ended, by the node's name. */
  readonly outcomes = new Map<string, string>();
  readonly #sim: Simulation;
  readonly #findings: Findings;
  /**
   * How often each slice was given, by run of a training: each session has one role, and a PeerID may have several sessions in turn. A run
   * goes on after a checkpoint, and gives what was given after it again.
   */
  readonly #slices = new WeakMap<Session, Map<string, number[]>>();
  /** By training and round: a round may be repeated. */
  /** After each round of a training, by the job that made it: an aggregator that was lost may make a round that does not count. */
  readonly #velocity = new Map<string, Map<Uuid, readonly number[]>>();
  /** The peers that a job named when its newest mean began. */
  readonly #named = new Map<Uuid, readonly Peer[]>();
  readonly #finished = new Set<string>();
  /** The training of each update that was written, by its numbers. */
  readonly #written = new Map<string, string>();
  /** The rounds of updates that counted, by training and numbers. A round may be repeated. */
  readonly #counted = new Map<string, number>();
  readonly #names = new Map<Peer, string>();

  readonly #submitted: SubmittedChecks | undefined;

  constructor({ sim, findings, submitted }: CheckInit & { readonly submitted?: SubmittedChecks }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#submitted = submitted;
  }

  finished(node: SimulatedNode): void {
    this.outcomes.set(node.name, "finished");
    this.#finished.add(keyOf(node, "training"));
  }

  /** Whether the trainings of a scheduler's process are over. */
  isOver(node: SimulatedNode): boolean {
    const isBusy = this.#submitted?.isBusy(node.name);
    if (isBusy !== undefined) return !isBusy;
    return this.#finished.has(keyOf(node, "training")) || node.exit !== undefined;
  }

  answer(node: SimulatedNode, message: Message, session: Session): void {
    if (!("Data" in message) || typeof message.Data !== "object" || !("Success" in message.Data)) return;
    const { index, grant } = message.Data.Success;
    const known = trainingContextsOf(node).filter(({ dataset }) => dataset?.slices !== undefined);
    const [training = known[0]] = known.filter(({ training: { trainers } }) =>
      Object.values(trainers).some(({ jobId }) => jobId === grant?.job)
    );
    const count = training?.dataset?.slices;
    if (training === undefined || count === undefined) return;
    if (roundOfIndex(index) !== undefined) return;
    if (!(index >= 0 && index < count)) {
      this.#findings.violate("slice-once", node.name, `gave slice ${index} of ${count}`);
    }
    const runs = this.#slices.get(session) ?? new Map<string, number[]>();
    const run = `${training.id} ${training.run?.run}`;
    const given = runs.get(run) ?? new Array<number>(count).fill(0);
    given[index] = (given[index] ?? 0) + 1;
    this.#slices.set(session, runs.set(run, given));
    if (Math.max(...given) - Math.min(...given) > 1) {
      this.#findings.violate("slice-once", node.name, `gave slices ${given.join(", ")} times`);
    }
  }

  pushed({ scheduler, network }: JobInput, values: readonly number[]): void {
    this.#written.set(values.join(), runOf(scheduler, network.training));
  }

  /** A mean of these updates begins: the aggregator's job may name others before it is written. */
  collected({ spec }: CollectedRound): void {
    this.#named.set(spec.job_id, this.#namedNow(spec.job_id) ?? []);
  }

  averaged(averaged: AveragedRound): void {
    const { spec, scheduler, training, run, round, updates, learningRate, momentum, out, integers } = averaged;
    const { executor } = spec;
    const own = runOf(scheduler, training === undefined ? undefined : { id: training, run });
    if (executor.class !== "aggregate") return;
    // A model that its scheduler keeps goes on with another aggregator, in another run, and under another key of the scheduler.
    const of = spec.training === undefined ? spec.job_id : `${this.#nameOf(scheduler)} ${spec.training.id}`;
    for (const [peer, values] of updates) {
      const written = this.#written.get(values.join());
      const key = `${of}/${values.join()}`;
      if ((this.#counted.get(key) ?? round) !== round) {
        this.#findings.violate("own-training", "aggregator", `counted an update of ${peer} twice, in two rounds`);
      }
      this.#counted.set(key, round);
      if (written !== undefined && written !== own) {
        const detail = `took an update of ${peer} that is of ${written} for ${own}`;
        this.#findings.violate("own-training", "aggregator", detail);
      }
    }
    const named = this.#named.get(spec.job_id) ?? executor.config.updates.peers;
    const strangers = [...updates.keys()].filter((peer) =>
      !named.includes(peer) && !executor.config.updates.peers.includes(peer)
    );
    if (strangers.length > 0) {
      this.#findings.violate("named-updates", "aggregator", `took updates of ${strangers.join(", ")}`);
    }
    const missing = named.filter((peer) => !updates.has(peer) && !this.rejected.has(`${spec.job_id}/${peer}`));
    const quorum = spec.aggregation?.quorum ?? 1;
    if (missing.length > 0 && (named.length - missing.length) / named.length < quorum) {
      this.#findings.violate("waits-for-all", "aggregator", `did not wait for ${missing.join(", ")}`);
    }
    this.#checkMean({ of, round, job: spec.job_id }, { updates, learningRate, momentum, out });
    this.#checkMedian(integers);
  }

  /** The result's integers are each the lower median of the updates', whatever the learning rate and the velocity are. */
  #checkMedian({ updates, out }: AveragedRound["integers"]): void {
    const lists = updates.filter((each) => each !== undefined);
    if (out === undefined && lists.length === 0) return;
    const middle = (updates.length - 1) >> 1;
    const expected = [...out ?? []].map((_, at) =>
      updates.map((list) => list?.[at] ?? NaN).sort((a, b) => a - b)[middle]
    );
    if (out !== undefined && expected.join() === out.join()) return;
    const detail = `got the integers ${out?.join(", ")} instead of ${expected.join(", ")}`;
    this.#findings.violate("mean-right", "aggregator", detail);
  }

  /** The node of a key that it has or had, also while it is off. */
  #nameOf(peer: Peer): string {
    const known = this.#names.get(peer);
    if (known !== undefined) return known;
    const nodes = [...this.#sim.nodes.values()];
    const found = nodes.find(({ credentials }) => credentials.some((each) => peerOfCredential(each) === peer));
    if (found !== undefined) this.#names.set(peer, found.name);
    return found?.name ?? peer;
  }

  /** The peers that the aggregator's worker was last told to wait for. */
  #namedNow(jobId: Uuid): readonly Peer[] | undefined {
    for (const node of this.#sim.nodes.values()) {
      const books = node.role === "worker" ? contextsOf<WorkerContext>(node).map(({ book }) => book) : [];
      for (const { spec } of books.flatMap(({ jobs }) => Object.values(jobs))) {
        if (spec.job_id === jobId && spec.executor.class === "aggregate") return spec.executor.config.updates.peers;
      }
    }
    return undefined;
  }

  #checkMean(
    { of, round, job }: { readonly of: string; readonly round: number; readonly job: Uuid },
    { updates, learningRate, momentum, out }: Pick<AveragedRound, "updates" | "learningRate" | "momentum" | "out">,
  ): void {
    const lists = scaledDown([...updates.values()]);
    const made = this.#velocity.get(`${of} ${round - 1}`) ?? new Map<Uuid, readonly number[]>();
    const own = made.get(job);
    // One that takes over has the velocity of the round that was kept.
    const [first = out.map(() => 0), ...others] = own === undefined ? made.values() : [own];
    const mean = out.map((_, at) => lists.reduce((sum, list) => sum + (list[at] ?? NaN), 0) / lists.length);
    const stepOf = (before: readonly number[]) => {
      const velocity = mean.map((value, at) => momentum * (before[at] as number) + value);
      return { velocity, out: mean.map((value, at) => learningRate * (momentum * (velocity[at] as number) + value)) };
    };
    const isRight = (step: { readonly out: readonly number[] }) =>
      out.length > 0 && step.out.every((value, at) => Math.abs(value - (out[at] as number)) < tolerance);
    const expected = stepOf(first);
    const found = isRight(expected) ? expected : others.map(stepOf).find(isRight);
    const after = this.#velocity.get(`${of} ${round}`) ?? new Map<Uuid, readonly number[]>();
    this.#velocity.set(`${of} ${round}`, after.set(job, (found ?? expected).velocity));
    if (found === undefined) {
      const detail = `got ${out.join(", ")} instead of ${expected.out.join(", ")}`;
      this.#findings.violate("mean-right", "aggregator", detail);
    }
  }

  /** At the end: the training is over where it must be. */
  conclude(node: SimulatedNode, mustEnd: boolean): void {
    if (!mustEnd || node.options.waitsForJobs === true || this.isOver(node) || !node.isRunning) return;
    const values = trainingsOf(node).map(({ snapshot }) => snapshot.value);
    const value = values.length === 0 ? "joining" : JSON.stringify(values);
    this.#findings.violate("live-job", node.name, `its job is not over: ${value}`);
  }
}
