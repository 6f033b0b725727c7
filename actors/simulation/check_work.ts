/**
 * Checks a worker's work: what it promises, who holds its leases, that jobs end with them, once.
 *
 * @module
 */
import type { AnyActorRef } from "xstate";
import type { Resources } from "../../transport/protocols/messages.ts";
import type { JobInput } from "../job/messages.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import type { CheckInit, Findings } from "./findings.ts";
import { contextOf, contextsOf, keyOf } from "./findings.ts";
import { LeaseHolders } from "./lease_holders.ts";
import type { SimulatedNode } from "./node.ts";
import type { Oracle } from "./oracle.ts";
import type { Simulation } from "./simulation.ts";

/** A job has this long to end once its lease is over: SIGTERM, grace, SIGKILL, in milliseconds. */
const endGraceMs = 16_000;
/** A lease whose end is past by more than this is over, in milliseconds. */
const lateMs = 50;

type Fields = Readonly<Record<string, unknown>>;
type Book = WorkerContext["book"];

/** Checks the work of all workers. */
export class WorkChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #oracle: Oracle;
  readonly #holders = new LeaseHolders();
  readonly #ended = new Map<string, number>();
  readonly #dispatched = new Map<string, { readonly node: SimulatedNode; readonly incarnation: number }>();
  readonly #overSince = new Map<string, number>();
  /** The book of each worker's role that was checked last. */
  readonly #books = new Map<AnyActorRef, Book>();

  constructor({ sim, findings, oracle }: CheckInit & { readonly oracle: Oracle }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#oracle = oracle;
  }

  dispatched(node: SimulatedNode, fields: Fields): void {
    this.#dispatched.set(keyOf(node, fields["task"]), { node, incarnation: node.incarnation });
  }

  granted(node: SimulatedNode, fields: Fields): void {
    this.#holders.granted(node.name, String(fields["lease"]), String(fields["peer"]));
    for (const actor of node.roleActors) this.#books.delete(actor);
  }

  ended(node: SimulatedNode, fields: Fields): void {
    const key = keyOf(node, fields["task"]);
    const times = (this.#ended.get(key) ?? 0) + 1;
    this.#ended.set(key, times);
    if (times > 1) this.#findings.violate("ends-once", node.name, `job ${fields["job"]} ended ${times} times`);
    const reason = String(fields["reason"] ?? "");
    if (/could not run it|Cannot enter state/.test(reason)) {
      this.#findings.violate("no-crash", node.name, `job ${fields["job"]}: ${reason}`);
    }
    if (fields["outcome"] !== "finished" && reason === "") {
      this.#findings.violate("ends-once", node.name, `job ${fields["job"]} failed without a reason`);
    }
  }

  processEnded(job: JobInput): void {
    this.#overSince.delete(job.taskId);
  }

  /** A book is replaced, never changed: a book that was checked needs no second check, except of its jobs' leases. */
  look(node: SimulatedNode): void {
    for (const actor of node.roleActors) {
      const book = contextOf<WorkerContext>(actor)?.book;
      if (book === undefined) continue;
      if (this.#books.get(actor) !== book) {
        this.#books.set(actor, book);
        this.#checkPromises(node);
      }
      const { leases, jobs } = book;
      for (const taskId in jobs) this.#checkJobLease(node, taskId, leases[jobs[taskId]?.leaseId ?? ""]);
    }
  }

  /** Counts the promises of all keys together: a worker has its resources once. */
  #checkPromises(node: SimulatedNode): void {
    const contexts = contextsOf<WorkerContext>(node);
    const [context] = contexts;
    if (context === undefined) return;
    const promised = contexts.flatMap(({ book: { offers, leases } }) => [
      ...Object.values(offers).filter(({ reserves }) => reserves),
      ...Object.values(leases),
    ]);
    for (const dimension of ["gpu", "cpu", "storage", "memory"] as const satisfies readonly (keyof Resources)[]) {
      const sum = promised.reduce((total, { resources }) => total + resources[dimension], 0);
      const has = context.config.resources[dimension];
      if (sum > has + 1e-6) {
        this.#findings.violate("promised-once", node.name, `promised ${sum} ${dimension} of ${has}`);
      }
    }
    const leases = contexts.flatMap(({ book }) => Object.values(book.leases));
    const changed = this.#holders.changed(node.name, leases);
    if (changed !== undefined) this.#findings.violate("one-holder", node.name, `lease ${changed} changed hands`);
  }

  #checkJobLease(node: SimulatedNode, taskId: string, lease: Book["leases"][string] | undefined): void {
    const { now } = this.#sim.time;
    const isOver = lease === undefined || lease.over || (node.skewMs === 0 && lease.endsAt < now - lateMs);
    if (!isOver) return void this.#overSince.delete(taskId);
    const since = this.#overSince.get(taskId) ?? now;
    this.#overSince.set(taskId, since);
    if (now - since > endGraceMs) {
      this.#findings.violate("job-within-lease", node.name, `job ${taskId} runs on without a lease`);
    }
  }

  /** At the end: every job that was dispatched to a process that still runs has ended, or runs. */
  conclude(): void {
    for (const [key, { node, incarnation }] of this.#dispatched) {
      if (this.#ended.has(key) || !node.isRunning || node.incarnation !== incarnation) continue;
      const contexts = contextsOf<WorkerContext>(node);
      const task = key.split("/").at(-1) as string;
      if (contexts.length > 0 && contexts.every(({ book }) => book.jobs[task] === undefined)) {
        this.#findings.violate("ends-once", node.name, `job ${task} vanished without an end`);
      }
    }
  }

  /** Whether a job runs anywhere. */
  get isWorking(): boolean {
    return [...this.#sim.nodes.values()].some((node) =>
      node.role === "worker" &&
      contextsOf<WorkerContext>(node).some(({ book }) => Object.keys(book.jobs).length > 0)
    );
  }

  /** Leases and offers of a worker. */
  promisesOf(node: SimulatedNode): number {
    const books = contextsOf<WorkerContext>(node).map(({ book }) => book);
    return books.reduce((sum, { leases, offers }) => sum + Object.keys(leases).length + Object.keys(offers).length, 0);
  }
}
