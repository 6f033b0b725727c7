/**
 * Where a program records: before its log is open too.
 *
 * @module
 */
import type { AuditEvent } from "./audit_record.ts";
import type { AuditLog } from "./audit_log.ts";
import { LogUnusable } from "./log_unusable.ts";

/** Records that wait for the log to be opened. */
export const inboxMax = 1_024;

/** Takes records, and passes them to the log when it is open. Never throws, but for {@linkcode AuditInbox.recordNow}. */
export class AuditInbox {
  readonly #dir: string;
  readonly #now: () => number;
  #log: AuditLog | undefined;
  #waiting: { readonly event: AuditEvent; readonly at: Date }[] = [];
  #lost = 0;

  /** @param dir Where the log will be; for the error of {@linkcode AuditInbox.recordNow}. */
  constructor(dir: string, now: () => number) {
    this.#dir = dir;
    this.#now = now;
  }

  /** The log; undefined until it is open. */
  get log(): AuditLog | undefined {
    return this.#log;
  }

  /** Records that were lost since the start. */
  get lost(): number {
    return this.#lost + (this.#log?.lost ?? 0);
  }

  /** Records that are in no log: those that wait for it, and those that were lost. */
  get unkept(): number {
    return this.#waiting.length + this.lost;
  }

  /** Takes a record. */
  record(event: AuditEvent): void {
    const at = new Date(this.#now());
    if (this.#log !== undefined) this.#log.record(event, at);
    else if (this.#waiting.length < inboxMax) this.#waiting.push({ event, at });
    else this.#lost += 1;
  }

  /**
   * Takes records that are on disk when it returns.
   *
   * @throws {LogUnusable} when they cannot be written, or the log is not open: what they are about must not happen then.
   */
  recordNow(events: readonly AuditEvent[]): void {
    if (this.#log === undefined) {
      throw new LogUnusable({ dir: this.#dir, problem: "unwritable", detail: "it is not open" });
    }
    this.#log.recordNow(events, new Date(this.#now()));
  }

  /** Passes on what waited, and everything from now on. */
  connect(log: AuditLog): void {
    this.#log = log;
    for (const { event, at } of this.#waiting) log.record(event, at);
    if (this.#lost > 0) {
      log.record({ type: "log.lost", outcome: "failed", detail: { records: this.#lost } }, new Date(this.#now()));
    }
    this.#waiting = [];
  }
}
