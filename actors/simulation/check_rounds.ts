/**
 * Checks that a training whose members are there makes rounds, and that a restarted scheduler's process takes a higher run, goes on
 * after the last finished round, and leaves no lease of an earlier run.
 *
 * @module
 */
import type { AnyActorRef } from "xstate";
import type { PeerText } from "../../transport/port.ts";
import type { Report } from "../runtime/ports.ts";
import { type TrainingContext, waitSecondsDefault } from "../training/training_setup.ts";
import { type Aggregator, allParticipants } from "../training/training.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import { type CheckInit, contextsOf, type Findings, trainingContextsOf, trainingsOf } from "./findings.ts";
import type { SimulatedNode } from "./node.ts";
import { quietForRoundsMs } from "./scenario.ts";
import type { Simulation } from "./simulation.ts";
import type { Untouched } from "./untouched.ts";

/** A round with all its members takes at most this, in milliseconds: six batches of the slowest knob take sixteen seconds. */
const roundMs = 40_000;
/** A round with fewer trainers takes at most this, in milliseconds. */
const slowRoundMs = quietForRoundsMs / 8;
/** A lease that its scheduler's process did not renew is over by then: its life, and a poll. In milliseconds. */
const leaseMs = 30_000;

/** A newcomer is counted in the round after the first one whose result it has. */
const newcomerRounds = 3;

/** An actor of a training: one run of it. */
interface Seen {
  readonly since: number;
  /** What was last seen of its training, and since when it is so with all members there and untouched. */
  state: string;
  stillSince: number;
  /** When it last waited for members, after which round; undefined where it never did. */
  waited?: { readonly at: number; readonly round: number };
}

/** A trainer's job that a scheduler sent. */
interface Dispatched {
  readonly node: SimulatedNode;
  readonly peer: PeerText;
  readonly job: string;
}

/** Checks the rounds and the runs of all schedulers. */
export class RoundChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #untouched: Untouched;
  readonly #trainings = new WeakMap<AnyActorRef, Seen>();
  /** The round in which an untouched newcomer was first seen, by task. */
  readonly #newcomers = new Map<string, number>();
  /** The highest run that was taken, by node and training, and the actor that took it. */
  readonly #runs = new Map<string, { readonly run: number; readonly actor: AnyActorRef }>();
  /** The last round that was reported as finished, by node and training, where the scheduler keeps the model. */
  readonly #finished = new Map<string, number>();

  /** Jobs of trainers that were sent in this step. */
  readonly #dispatched: Dispatched[] = [];
  /** The jobs of trainers that an aggregator's job named when they were sent them, by both. */
  readonly #known = new Set<string>();

  #gaveUpAt = -Infinity;

  constructor({ sim, findings, untouched }: CheckInit & { readonly untouched: Untouched }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#untouched = untouched;
  }

  /** A scheduler sends a trainer its job; its state has that at the end of the step. */
  dispatched(node: SimulatedNode, { peer, job }: NonNullable<Report["fields"]>): void {
    this.#dispatched.push({ node, peer: String(peer), job: String(job) });
  }

  /** After a step in which a scheduler reported something. */
  stepped(): void {
    for (const dispatch of this.#dispatched.splice(0)) this.#checkKnown(dispatch);
  }

  /**
   * When a trainer is sent its job, the aggregator has to know that it sends it results: else it may miss one. An aggregator whose worker has
   * no such job is being replaced.
   */
  #checkKnown({ node, peer, job }: Dispatched): void {
    const trainings = trainingContextsOf(node).map(({ training }) => training);
    const aggregator = trainings.find(({ trainers }) => trainers[peer]?.jobId === job)?.aggregator;
    const names = aggregator === undefined ? undefined : this.#namesOf(aggregator);
    if (aggregator === undefined || names === undefined) return;
    const known = `${aggregator.jobId}/${job}`;
    if (names.includes(peer)) this.#known.add(known);
    else if (!this.#known.has(known)) {
      const detail = `${this.#untouched.nodeOf(peer)?.name} was sent its job, and its aggregator did not know it`;
      this.#findings.violate("known-first", node.name, detail);
    }
  }

  /** The trainers to which the job of a running aggregator sends results. */
  #namesOf({ peer, jobId }: Aggregator): readonly PeerText[] | undefined {
    const worker = this.#untouched.nodeOf(peer);
    const books = worker === undefined ? [] : contextsOf<WorkerContext>(worker).map(({ book }) => book);
    const job = books.flatMap(({ jobs }) => Object.values(jobs)).find(({ spec }) => spec.job_id === jobId);
    return job?.spec.executor.class === "aggregate" ? job.spec.executor.config.results.peers : undefined;
  }

  /** A round was finished. */
  finished(node: SimulatedNode, training: string, round: number): void {
    const key = `${node.name}/${training}`;
    this.#finished.set(key, Math.max(round, this.#finished.get(key) ?? 0));
  }

  /** Every quarter of a second. */
  look(node: SimulatedNode): void {
    if (node.role === "worker") return this.#checkLeases(node);
    if (node.role !== "scheduler") return;
    for (const { ref, snapshot: { context, value } } of trainingsOf(node)) {
      this.#checkRun(node, ref, context);
      this.#checkKept(node, context);
      this.#checkRound(node, this.#seenOf(ref), context, value);
      this.#checkNewcomers(node, context);
    }
  }

  /** An aggregator waited for an update that broke off, and gave its trainer up. */
  gaveUp(): void {
    this.#gaveUpAt = this.#sim.now;
  }

  /**
   * Whether a scheduler's trainings make rounds, and have a reason to be under way at the end: its process was started again, and none of
   * them began so long ago that it has to be over; or an aggregator waited a minute for a trainer, until a short time ago; or they waited
   * for members, and have not had the time for the rounds that were left then.
   */
  isUnderWayLate(node: SimulatedNode): boolean {
    const { now } = this.#sim;
    const trainings = trainingsOf(node);
    const isAgain = node.incarnation > 1 &&
      trainings.every(({ ref }) => now - this.#seenOf(ref).since < quietForRoundsMs);
    const isLate = trainings.every(({ ref, snapshot: { context } }) => this.#hasWaited(this.#seenOf(ref), context));
    return (isAgain || isLate || now - this.#gaveUpAt < roundMs) && trainings.length > 0 &&
      trainings.every(({ snapshot: { context } }) => context.training.roundsDone > 0);
  }

  #hasWaited({ waited }: Seen, { training, config }: TrainingContext): boolean {
    if (waited === undefined || training.roundsDone <= waited.round) return false;
    return this.#sim.now - waited.at < (config.job.rounds.updateRounds - waited.round) * slowRoundMs;
  }

  #seenOf(training: AnyActorRef): Seen {
    const { now } = this.#sim;
    const known = this.#trainings.get(training) ?? { since: now, state: "", stillSince: now };
    this.#trainings.set(training, known);
    return known;
  }

  // ── Rounds ──

  #checkRound(node: SimulatedNode, seen: Seen, context: TrainingContext, value: unknown): void {
    const { now } = this.#sim;
    const { training, dataset, config } = context;
    const states = typeof value === "object" ? JSON.stringify(value) : "";
    const isInRounds = states.startsWith('{"running":{"progress":{"rounds"');
    // It may find no member: then it fails once it has waited for `wait_s`.
    const isWaiting = states.includes('"strength":"waiting"');
    if (isWaiting) seen.waited = { at: now, round: training.roundsDone };
    const members = allParticipants(training).filter(({ state }) => state !== "done").map(({ peer }) => peer);
    const state = JSON.stringify([isInRounds, isWaiting, training.roundsDone, members, dataset?.provider]);
    if (state !== seen.state || !isInRounds || !this.#untouched.isWhole(node, [...members, dataset?.provider ?? ""])) {
      seen.state = state;
      seen.stillSince = now;
      return;
    }
    const { waitS = waitSecondsDefault } = config.job.resources;
    const limitMs = roundMs + (isWaiting ? waitS * 1_000 : 0);
    if (now - seen.stillSince < limitMs) return;
    const names = members.map((peer) => this.#untouched.nodeOf(peer)?.name).join(", ");
    const detail = `no round after round ${training.roundsDone} for ${limitMs / 1_000} s with ${names}`;
    this.#findings.violate("live-rounds", node.name, detail);
  }

  #checkNewcomers(node: SimulatedNode, { training }: TrainingContext): void {
    const { aggregator, roundsDone } = training;
    for (const { taskId, peer, state, isCounted } of Object.values(training.trainers)) {
      if (state !== "running" || isCounted) continue;
      const since = this.#newcomers.get(taskId);
      if (since === undefined || !this.#untouched.isWhole(node, [peer, aggregator?.peer ?? ""])) {
        this.#newcomers.set(taskId, roundsDone);
      } else if (roundsDone >= since + newcomerRounds) {
        const detail = `${this.#untouched.nodeOf(peer)?.name} is not counted, ${
          roundsDone - since
        } rounds after it began`;
        this.#findings.violate("live-newcomers", node.name, detail);
        this.#newcomers.set(taskId, roundsDone);
      }
    }
  }

  // ── Runs ──

  #checkRun(node: SimulatedNode, actor: AnyActorRef, { run: taken }: TrainingContext): void {
    if (taken === undefined) return;
    const key = `${node.name}/${taken.id}`;
    const before = this.#runs.get(key);
    if (before?.actor === actor) return;
    if (before !== undefined && taken.run <= before.run) {
      this.#findings.violate("run-rises", node.name, `run ${taken.run} of ${taken.id} follows run ${before.run}`);
    }
    this.#runs.set(key, { run: taken.run, actor });
  }

  #checkKept(node: SimulatedNode, { run, model, training }: TrainingContext): void {
    if (run === undefined || model === undefined) return;
    const finished = this.#finished.get(`${node.name}/${run.id}`) ?? 0;
    if (training.roundsDone >= finished) return;
    const detail = `${run.id} goes on after round ${training.roundsDone}, and round ${finished} was finished`;
    this.#findings.violate("rounds-kept", node.name, detail);
  }

  /** A worker's leases of a run that a newer one of the same scheduler followed a while ago. */
  #checkLeases(worker: SimulatedNode): void {
    for (const { book } of contextsOf<WorkerContext>(worker)) {
      for (const { id, peer, over, training } of Object.values(book.leases)) {
        if (over || training === undefined) continue;
        const newer = this.#newerRun(peer, training.id, training.run);
        if (newer === undefined) continue;
        const detail = `lease ${id} of run ${training.run} lives on, ${leaseMs / 1_000} s after run ${newer} began`;
        this.#findings.violate("live-lease", worker.name, detail);
      }
    }
  }

  #newerRun(scheduler: PeerText, id: string, run: number): number | undefined {
    const node = this.#untouched.nodeOf(scheduler);
    for (const { ref, snapshot: { context } } of node === undefined ? [] : trainingsOf(node)) {
      const isOld = this.#sim.now - this.#seenOf(ref).since > leaseMs;
      if (isOld && context.self === scheduler && context.run?.id === id && context.run.run > run) {
        return context.run.run;
      }
    }
    return undefined;
  }
}
