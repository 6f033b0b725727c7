/**
 * The growing end of a log in memory: gives each record its place, and keeps the bytes until they are on disk.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type AuditEvent, composeLine, genesisHash, sha256Text } from "./audit_record.ts";
import { leafHash, TreeEdge } from "./merkle_tree.ts";
import { segmentFile } from "./segments.ts";
import type { LogState } from "./walk_log.ts";

/** A segment ends with this size. */
export const segmentBytesMax = 64 * 1024 * 1024;

/** Bytes that belong at one place of one file. Written twice they are the same. */
export interface Chunk {
  /** `seq` of the segment's first record. */
  readonly segment: number;
  /** Where they begin in the file. */
  readonly offset: number;
  readonly lines: readonly Buffer[];
  readonly bytes: number;
}

interface OpenChunk extends Chunk {
  readonly lines: Buffer[];
  bytes: number;
}

/** All that changes with a record. */
interface Place {
  readonly edge: TreeEdge;
  readonly last: string | undefined;
  readonly ts: string;
  readonly segment: number;
  readonly offset: number;
  readonly line: number;
  readonly chunks: readonly OpenChunk[];
  readonly waiting: number;
}

/** Records that wait for the disk, and where the next one goes. */
export class LogChain {
  readonly node: string;
  #edge: TreeEdge;
  #last: string | undefined;
  #ts: string;
  #segment: number;
  #offset: number;
  #line: number;
  #chunks: OpenChunk[] = [];
  #waiting = 0;

  constructor({ node, edge, last, ts, segment, offset, line }: LogState) {
    this.node = node;
    this.#edge = edge;
    this.#last = last;
    this.#ts = ts;
    this.#segment = segment;
    this.#offset = offset;
    this.#line = line;
  }

  /** A log without records. Its first record names the key of its checkpoints. */
  static begin(
    node: string,
    { random, key, at }: { readonly random: string; readonly key: string; readonly at: Date },
  ): LogChain {
    const last = genesisHash(node, random);
    const chain = new LogChain({ node, edge: new TreeEdge(), last, ts: "", segment: 0, offset: 0, line: 0 });
    chain.append({ type: "log.opened", outcome: "done", detail: { random, key } }, at);
    return chain;
  }

  get state(): LogState {
    return {
      node: this.node,
      edge: new TreeEdge(this.#edge.size, this.#edge.hashes),
      last: this.#last,
      ts: this.#ts,
      segment: this.#segment,
      offset: this.#offset,
      line: this.#line,
    };
  }

  get size(): number {
    return this.#edge.size;
  }

  /** Time of the newest record, RFC 3339. */
  get ts(): string {
    return this.#ts;
  }

  /** Bytes that wait for the disk. */
  get waiting(): number {
    return this.#waiting;
  }

  /** Adds a record; begins a segment with each day, and where the present one is full. */
  append(event: AuditEvent, at: Date): void {
    const now = at.toISOString();
    // A clock that goes back must not make the log look changed.
    const ts = now < this.#ts ? this.#ts : now;
    const isFull = this.#offset >= segmentBytesMax || (this.#line > 0 && ts.slice(0, 10) !== this.#ts.slice(0, 10));
    if (isFull) this.#beginSegment(ts);
    this.#push(event, ts);
  }

  #beginSegment(ts: string): void {
    const detail = { file: segmentFile(this.#segment), bytes: this.#offset };
    this.#segment = this.#edge.size;
    this.#offset = 0;
    this.#line = 0;
    this.#push({ type: "log.segment", outcome: "done", detail }, ts);
  }

  #push(event: AuditEvent, ts: string): void {
    const line = composeLine(event, { node: this.node, prev: this.#last ?? "", seq: this.#edge.size, ts });
    this.#edge.append(leafHash(line));
    this.#last = sha256Text(line);
    this.#ts = ts;
    let chunk = this.#chunks.at(-1);
    if (chunk?.segment !== this.#segment || chunk.offset + chunk.bytes !== this.#offset) {
      chunk = { segment: this.#segment, offset: this.#offset, lines: [], bytes: 0 };
      this.#chunks.push(chunk);
    }
    const bytes = line.length + 1;
    chunk.lines.push(line, lineFeed);
    chunk.bytes += bytes;
    this.#offset += bytes;
    this.#waiting += bytes;
    this.#line += 1;
  }

  /** Takes what waits for the disk. */
  take(): readonly Chunk[] {
    const taken = this.#chunks;
    this.#chunks = [];
    this.#waiting = 0;
    return taken;
  }

  /** What waits for the disk, left where it is. */
  peek(): readonly Chunk[] {
    return this.#chunks;
  }

  /** Puts back what could not be written. */
  putBack(chunks: readonly Chunk[]): void {
    this.#chunks = [...chunks as readonly OpenChunk[], ...this.#chunks];
    this.#waiting = this.#chunks.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  /** Where the log stands, to go back to. */
  mark(): Place {
    return {
      ...this.state,
      chunks: this.#chunks.map((chunk) => ({ ...chunk, lines: [...chunk.lines] })),
      waiting: this.#waiting,
    };
  }

  /** Takes back the records since a mark. */
  goBack({ edge, last, ts, segment, offset, line, chunks, waiting }: Place): void {
    this.#edge = edge;
    this.#last = last;
    this.#ts = ts;
    this.#segment = segment;
    this.#offset = offset;
    this.#line = line;
    this.#chunks = [...chunks];
    this.#waiting = waiting;
  }
}

const lineFeed = Buffer.from("\n");
