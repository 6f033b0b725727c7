/**
 * What waits to be sent to a collector: bounded, and what finds no room is counted.
 *
 * @module
 */

/** Items that wait; the limit and the batch are OpenTelemetry's defaults (`OTEL_BSP_MAX_QUEUE_SIZE`, `…_EXPORT_BATCH_SIZE`). */
export const queuedMax = 2_048;
export const batchMax = 512;

/** A queue with one reader. */
export class SignalQueue<Item> {
  #items: Item[] = [];
  #dropped = 0;
  readonly #full: (() => void)[] = [];

  /** Items that found no room, or that the collector did not take. */
  get dropped(): number {
    return this.#dropped;
  }

  get size(): number {
    return this.#items.length;
  }

  /** Calls this whenever a batch waits. */
  onBatch(call: () => void): void {
    this.#full.push(call);
  }

  push(item: Item): void {
    if (this.#items.length >= queuedMax) {
      this.#dropped += 1;
      return;
    }
    this.#items.push(item);
    if (this.#items.length === batchMax) { for (const call of this.#full) call(); }
  }

  /** The oldest items, at most a batch; they stay. */
  batch(): readonly Item[] {
    return this.#items.slice(0, batchMax);
  }

  /** Removes the oldest: they were sent, or the collector does not take them. */
  remove(count: number, became: "sent" | "dropped"): void {
    this.#items.splice(0, count);
    if (became === "dropped") this.#dropped += count;
  }
}
