/**
 * Checks how long leases live, by the time of the world: no clock that is set makes a lease shorter or longer.
 *
 * @module
 */
import { allParticipants } from "../training/training.ts";
import { leaseLifeMs } from "../worker/lease.ts";
import type { WorkerContext } from "../worker/worker_setup.ts";
import { type CheckInit, contextsOf, type Findings, trainingContextsOf } from "./findings.ts";
import { valueOf } from "./knobs.ts";
import type { SimulatedNode } from "./node.ts";
import type { Simulation } from "./simulation.ts";
import type { Untouched } from "./untouched.ts";

/** A lease that lapses earlier than announced by more than this is a violation, in milliseconds. */
const earlyMs = 100;
/** A lease that is not renewed is over this long after its life, in milliseconds: a look comes every quarter of a second. */
const lateMs = 500;

type Fields = Readonly<Record<string, unknown>>;

/** Checks the leases of all workers. */
export class LeaseChecks {
  readonly #sim: Simulation;
  readonly #findings: Findings;
  readonly #untouched: Untouched;
  /** When each lease was last given or renewed, by worker and lease. */
  readonly #renewedAt = new Map<string, number>();

  constructor({ sim, findings, untouched }: CheckInit & { readonly untouched: Untouched }) {
    this.#sim = sim;
    this.#findings = findings;
    this.#untouched = untouched;
  }

  /** A worker gives a lease, or renews it. */
  granted(worker: SimulatedNode, { lease }: Fields): void {
    this.#renewedAt.set(`${worker.name}/${lease}`, this.#sim.now);
  }

  /** A lease is over because its holder did not renew it. */
  lapsed(worker: SimulatedNode, { lease, peer }: Fields): void {
    const leftMs = this.#leftMs(worker, String(lease));
    if (leftMs > earlyMs) this.#violate(worker, `lease ${lease} lapsed ${Math.round(leftMs)} ms early`);
    const holder = this.#untouched.nodeOf(String(peer));
    if (holder === undefined || !this.#untouched.isWhole(holder, [worker.peer])) return;
    // The role of a previous key may be over, which releases its leases while its connections end.
    const isHeld = trainingContextsOf(holder).some(({ training }) =>
      allParticipants(training).some(({ leaseId }) => leaseId === lease)
    );
    if (!isHeld) return;
    this.#violate(worker, `lease ${lease} lapsed, and ${holder.name}, which holds it, is connected`);
  }

  /** A scheduler's training lost a member. */
  lost(scheduler: SimulatedNode, { peer, reason }: Fields): void {
    if (!String(reason).startsWith("its lease is over: its renewals")) return;
    if (!this.#untouched.isWhole(scheduler, [String(peer)])) return;
    const name = this.#untouched.nodeOf(String(peer))?.name;
    this.#violate(scheduler, `gave up a lease of ${name}, which is connected: ${reason}`);
  }

  /** Every quarter of a second: no lease lives longer than it was given for. */
  look(worker: SimulatedNode): void {
    if (worker.role !== "worker") return;
    for (const { book } of contextsOf<WorkerContext>(worker)) {
      for (const { id, over } of Object.values(book.leases)) {
        if (!over && this.#leftMs(worker, id) < -lateMs) this.#violate(worker, `lease ${id} outlives its life`);
      }
    }
  }

  /** What is left of a lease's life, in milliseconds. */
  #leftMs({ name, options: { knobs = {} } }: SimulatedNode, lease: string): number {
    const renewedAt = this.#renewedAt.get(`${name}/${lease}`) ?? Number.POSITIVE_INFINITY;
    return renewedAt + (valueOf(knobs, "leaseLifeMs") ?? leaseLifeMs) - this.#sim.now;
  }

  #violate(node: SimulatedNode, detail: string): void {
    this.#findings.violate("lease-kept", node.name, detail);
  }
}
