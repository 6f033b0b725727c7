/**
 * A log that is open: takes records at once, and writes them in batches.
 *
 * Taking a record never waits. While the disk takes none, records wait in memory up to a limit; those beyond it are counted, and the log
 * says how many there were as soon as it is written again.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { AuditEvent } from "./audit_record.ts";
import { type AuditKey, signCheckpoint, type SignedHead } from "./checkpoint.ts";
import { KeptFile, writeSynced } from "./kept_file.ts";
import type { Chunk, LogChain } from "./log_chain.ts";
import { writeEdge } from "./log_edge.ts";
import { removeTakenBack, type TakenBack, writeChunks, writeChunksNow } from "./log_files.ts";
import { LogUnusable } from "./log_unusable.ts";
import type { OpenedLog } from "./open_log.ts";
import { checkpointsPath } from "./segments.ts";
import type { LogState } from "./walk_log.ts";

/** Bytes of records that may wait for the disk: 100,000 refusals. */
export const waitingBytesMax = 32 * 1024 * 1024;
/**
 * So many records that wait get their places together: a record takes 7 µs after another one, and 55 µs between other work. No more wait
 * without a place, because the limit of what waits counts the bytes of those that have one.
 */
const composedAtOnce = 64;
/** A checkpoint covers at most so many records more than the one before. */
export const checkpointRecords = 1_000;
/** A record is covered by a checkpoint within this, in milliseconds. */
export const checkpointMs = 60_000;

/** An open log. */
export class AuditLog {
  readonly dir: string;
  readonly #chain: LogChain;
  readonly #opened: OpenedLog;
  readonly #onWaiting: () => void;
  readonly #file = new KeptFile();
  /** Records that have no place in the log yet. */
  #taken: { readonly event: AuditEvent; readonly at: Date }[] = [];
  /** One write at a time. */
  #turn: Promise<void> = Promise.resolve();
  /** One signature at a time, outside of the writes' turns: a token may take long. */
  #signing: Promise<void> = Promise.resolve();
  /** The state with all records that are on disk. */
  #written: LogState | undefined;
  /** What is being written, and is not known to be on disk. */
  #inFlight: readonly Chunk[] = [];
  #takenBack: TakenBack | undefined;
  #lost = 0;
  #lostInAll = 0;
  #noteBytes: number;
  #newest: SignedHead | undefined;
  #coveredAt: number;
  #isClosed = false;

  /** @param onWaiting Called when a record waits for the disk and none did before, and when records of an act wait for a checkpoint. */
  constructor(
    dir: string,
    opened: OpenedLog,
    { at, onWaiting }: { readonly at: Date; readonly onWaiting: () => void },
  ) {
    this.dir = dir;
    this.#opened = opened;
    this.#chain = opened.chain;
    this.#noteBytes = opened.noteBytes;
    this.#newest = opened.newest;
    this.#coveredAt = +at;
    this.#onWaiting = onWaiting;
  }

  /** Records in the log, those that wait included. */
  get size(): number {
    return this.#composed().size;
  }

  /** Time of the newest record, those that wait included. */
  get newestAt(): number {
    return Date.parse(this.#composed().ts);
  }

  /** The key of its checkpoints. */
  get key(): AuditKey {
    return this.#opened.key;
  }

  /** The newest checkpoint that is on disk, as are the records that it covers. */
  get newest(): SignedHead | undefined {
    return this.#newest;
  }

  get #covered(): number {
    return this.#newest?.size ?? 0;
  }

  /** Records that were lost since the start because the disk took none. */
  get lost(): number {
    return this.#lostInAll;
  }

  /** Whether records wait for the disk. */
  get isWaiting(): boolean {
    return this.#taken.length > 0 || this.#chain.waiting > 0;
  }

  /** Whether records are in no checkpoint. */
  get isUncovered(): boolean {
    return this.size > this.#covered;
  }

  /** Takes a record. Its event must not change any more. */
  record(event: AuditEvent, at: Date): void {
    if (this.#chain.waiting >= waitingBytesMax) {
      this.#lost += 1;
      this.#lostInAll += 1;
      return;
    }
    const wasWaiting = this.isWaiting;
    this.#recordLost(at);
    this.#taken.push({ event, at });
    if (this.#taken.length >= composedAtOnce) this.#composed();
    if (!wasWaiting) this.#onWaiting();
  }

  #recordLost(at: Date): void {
    if (this.#lost === 0) return;
    this.#taken.push({ event: { type: "log.lost", outcome: "failed", detail: { records: this.#lost } }, at });
    this.#lost = 0;
  }

  /** The chain, with all records that were taken. */
  #composed(): LogChain {
    for (const { event, at } of this.#taken.splice(0)) this.#chain.append(event, at);
    return this.#chain;
  }

  /**
   * Takes records that are on disk when it returns; for acts that must not happen unrecorded.
   *
   * @throws {LogUnusable} when they cannot be written; the log has none of them then.
   */
  recordNow(events: readonly AuditEvent[], at: Date): void {
    this.#checkOpen();
    const mark = this.#composed().mark();
    for (const event of events) this.#chain.append(event, at);
    try {
      this.#clean();
      writeChunksNow(this.dir, [...this.#inFlight, ...this.#chain.peek()]);
    } catch (error) {
      const { segment } = this.#chain.state;
      this.#chain.goBack(mark);
      const begun = segment === mark.segment ? undefined : segment;
      this.#takenBack ??= { segment: mark.segment, end: mark.offset, begun };
      this.#tryClean();
      throw this.#unwritable(error);
    }
    this.#chain.take();
    this.#inFlight = [];
    this.#written = this.#chain.state;
    this.#onWaiting();
  }

  /** Tries to remove at once what may have been written of records that were taken back; else the next write does. */
  #tryClean(): void {
    try {
      this.#clean();
    } catch {
      // The disk is away: `#takenBack` stays.
    }
  }

  #clean(): void {
    if (this.#takenBack === undefined) return;
    removeTakenBack(this.dir, this.#takenBack);
    this.#takenBack = undefined;
  }

  /** Writes what waits. Rejects with {@linkcode LogUnusable}; what was not written waits on. */
  write(): Promise<void> {
    return this.#inTurn(() => this.#write());
  }

  /** Whether a checkpoint is due for what is on disk. */
  isDue(at: Date): boolean {
    const records = (this.#written?.edge.size ?? 0) - this.#covered;
    // A clock that goes back must not end the checkpoints.
    const isOld = Math.abs(+at - this.#coveredAt) >= checkpointMs;
    return records >= checkpointRecords || (records > 0 && isOld);
  }

  /** Makes a checkpoint of what is on disk, where none covers it. Rejects with {@linkcode LogUnusable}. */
  cover(at: Date): Promise<void> {
    const sign = () => this.#cover(at);
    this.#signing = this.#signing.then(sign, sign);
    return this.#signing;
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    this.#turn = this.#turn.then(work, work);
    return this.#turn;
  }

  async #write(): Promise<void> {
    this.#checkOpen();
    const chain = this.#composed();
    const state = chain.state;
    const taken = chain.take();
    this.#inFlight = taken;
    try {
      this.#clean();
      await writeChunks(this.dir, taken, this.#file);
    } catch (error) {
      // Not what recordNow() has written meanwhile: records behind it would be joined to it, and written over others.
      this.#chain.putBack(this.#inFlight);
      throw this.#unwritable(error);
    } finally {
      this.#inFlight = [];
    }
    // recordNow() may have written more meanwhile.
    if (state.edge.size > (this.#written?.edge.size ?? 0)) this.#written = state;
  }

  async #cover(at: Date): Promise<void> {
    const { key, signer } = this.#opened;
    const state = this.#written;
    if (state === undefined || state.edge.size <= this.#covered) return;
    try {
      const head = { origin: key.name, size: state.edge.size, root: state.edge.root() };
      const note = await signCheckpoint(head, key, signer);
      await this.#inTurn(() => this.#keep({ ...head, note }, state));
      this.#coveredAt = +at;
    } catch (error) {
      throw error instanceof LogUnusable ? error : this.#unwritable(error);
    }
  }

  async #keep(head: SignedHead, state: LogState): Promise<void> {
    this.#checkOpen();
    const note = Buffer.from(`${head.note}\n`);
    // At its place: one that a full disk cut short is written over.
    await writeSynced(checkpointsPath(this.dir), note, this.#noteBytes);
    this.#noteBytes += note.length;
    this.#newest = head;
    await writeEdge(this.dir, state);
  }

  /** From now on nothing is written, another process can open the log, and its key's token is given back. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    void this.#inTurn(() => this.#file.close());
    this.#opened.release();
  }

  #checkOpen(): void {
    if (this.#isClosed) throw this.#unwritable("it is closed");
  }

  #unwritable(error: unknown): LogUnusable {
    const detail = error instanceof Error ? error.message : String(error);
    return new LogUnusable({ dir: this.dir, problem: "unwritable", detail });
  }
}
