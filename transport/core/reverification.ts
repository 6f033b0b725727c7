/**
 * Re-verification: which gates are evaluated next, after trust changed or while the clock goes on.
 *
 * The gate that was evaluated longest ago comes first. So a newer snapshot does not start over: it goes on where the pass
 * before it stopped, once round the table. A gate of a domain whose anchors or policy changed comes earlier; every second
 * place of a slice stays with the other gates, so that a domain that changes all the time makes their pass twice as long
 * at most.
 *
 * @module
 */
import { changedDomains, type TrustSnapshot } from "../../pki/trust_snapshot.ts";
import type { Gate } from "../port.ts";
import type { Clock, Timer } from "./clock.ts";

/**
 * Gates that are evaluated before other events get their turn; one costs 20–200 µs. A slice ends early with a gate that
 * closes: ending a connection costs libp2p some milliseconds.
 */
export const reverifySlice = 16;

/** How often the certificates of all connections are compared with the wall clock, in milliseconds. */
export const expirySweepMs = 30_000;

/** A gate that is evaluated again. */
export interface Reverified {
  readonly gate: Gate;
  /** The newest change of trust that it was evaluated with: the {@linkcode Reverification.changes} of that time. */
  evaluatedAt: number;
}

/** The order in which the gates of a table are evaluated again. */
export class Reverification<Row extends Reverified> {
  readonly #clock: Clock;
  readonly #evaluate: (row: Row, snapshot: TrustSnapshot) => void;
  /** The one that was evaluated longest ago comes first. */
  readonly #order = new Set<Row>();
  /** Gates that do not wait for their place in `#order`. */
  readonly #urgent = new Set<Row>();
  #snapshot: TrustSnapshot;
  #changes = 0;
  #isRunning = false;
  #sweep: Timer | undefined;

  /**
   * Knows no gate yet.
   *
   * @param evaluate Sends a gate through its checks.
   */
  constructor(
    { clock, snapshot }: { readonly clock: Clock; readonly snapshot: TrustSnapshot },
    evaluate: (row: Row, snapshot: TrustSnapshot) => void,
  ) {
    this.#clock = clock;
    this.#snapshot = snapshot;
    this.#evaluate = evaluate;
  }

  /** The newest trust. */
  get snapshot(): TrustSnapshot {
    return this.#snapshot;
  }

  /** How often trust changed. */
  get changes(): number {
    return this.#changes;
  }

  /** Takes a gate that was created with the newest trust. */
  add(row: Row): void {
    this.#order.add(row);
    this.#sweep ??= this.#clock.after(expirySweepMs, () => this.#sweepExpired());
  }

  /** Forgets a gate. The last one ends the sweep. */
  remove(row: Row): void {
    this.#order.delete(row);
    this.#urgent.delete(row);
    if (this.#order.size > 0) return;
    this.#clock.cancel(this.#sweep);
    this.#sweep = undefined;
  }

  /** New trust: the first slice is evaluated at once, the others after other events had their turn. */
  trustChanged(snapshot: TrustSnapshot): void {
    const changed = changedDomains(this.#snapshot, snapshot);
    this.#snapshot = snapshot;
    this.#changes += 1;
    if (changed.size > 0) {
      const configured = new Set(snapshot.domains?.map(({ name }) => name));
      for (const row of this.#order) {
        const domain = row.gate.identity?.domain;
        if (changed.has(configured.has(domain) ? domain : undefined)) this.#urgent.add(row);
      }
    }
    this.#run();
  }

  /**
   * Evaluates the gates whose first certificate ended by the wall clock. Gates have timers for that; but a timer does not
   * notice that the clock stepped forward, or that the machine was suspended.
   */
  #sweepExpired(): void {
    this.#sweep = this.#clock.after(expirySweepMs, () => this.#sweepExpired());
    const now = this.#clock.now();
    for (const row of this.#order) if (now > (row.gate.expiresAt ?? now)) this.#urgent.add(row);
    this.#run();
  }

  #run(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    this.#slice();
  }

  #slice(): void {
    let isOver = false;
    try {
      isOver = this.#evaluateSome();
    } finally {
      // Whatever one gate throws, the others are evaluated.
      if (isOver) this.#isRunning = false;
      else this.#clock.yield(() => this.#slice());
    }
  }

  /** Evaluates a slice. Returns whether no gate is left. */
  #evaluateSome(): boolean {
    const urgent = this.#urgent.values();
    const order = this.#order.values();
    for (let done = 0; done < reverifySlice; done++) {
      const isUrgent = done % 2 === 0;
      const row = isUrgent ? valueOf(urgent) ?? this.#stale(order) : this.#stale(order) ?? valueOf(urgent);
      if (row === undefined) return true;
      this.#urgent.delete(row);
      this.#order.delete(row);
      this.#order.add(row);
      row.evaluatedAt = this.#changes;
      const wasOver = isOver(row.gate);
      this.#evaluate(row, this.#snapshot);
      if (!wasOver && isOver(row.gate)) break;
    }
    return false;
  }

  /** The gate that was evaluated longest ago, unless that was with the newest trust. */
  #stale(order: Iterator<Row>): Row | undefined {
    const row = valueOf(order);
    return row === undefined || row.evaluatedAt === this.#changes ? undefined : row;
  }
}

function valueOf<Row>(rows: Iterator<Row>): Row | undefined {
  const next = rows.next();
  return next.done === true ? undefined : next.value;
}

const isOver = ({ phase }: Gate): boolean => phase === "closed" || phase === "refused";
