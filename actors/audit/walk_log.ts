/**
 * Walks a log from its first record, or from a known state, to its end, and checks each line on the way.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { hash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type AuditRecord, genesisHash, readLine } from "./audit_record.ts";
import { AuditFinding } from "./finding.ts";
import { hashBytes, TreeEdge } from "./merkle_tree.ts";
import { LineReader, listSegments, type Segment, segmentFile } from "./segments.ts";

/** Where a log stands: all that the next record depends on. */
export interface LogState {
  readonly node: string;
  readonly edge: TreeEdge;
  /** SHA-256 of the last line, base64; undefined where only its leaf hash is left. */
  readonly last: string | undefined;
  /** The last line's time. */
  readonly ts: string;
  /** The segment that the next record goes into. */
  readonly segment: number;
  /** Bytes of the segment. */
  readonly offset: number;
  /** Lines of the segment. */
  readonly line: number;
}

/** A line that no line feed ends. */
export interface TornLine {
  readonly file: string;
  readonly line: number;
  readonly offset: number;
}

/** What a walk tells about each record. */
export interface WalkedRecord {
  readonly record: AuditRecord;
  readonly file: string;
  readonly line: number;
  readonly text: string;
}

/** Options of a walk. */
export interface WalkOptions {
  /** Where to begin; the first record by default. */
  readonly from?: LogState | undefined;
  /** Called with each record. */
  readonly onRecord?: (walked: WalkedRecord) => void;
  /** Called with each leaf hash, of removed segments too, and the tree that ends with it; a finding ends the walk. */
  readonly onLeaf?: (leaf: Buffer, edge: TreeEdge) => AuditFinding | undefined;
}

/** How a walk ended. */
export interface WalkedLog {
  /** Undefined where the log has no record. */
  readonly state: LogState | undefined;
  readonly torn: TornLine | undefined;
}

/** Walks a log. Reads whole files at once; for commands and the start of a node. */
export function walkLog(dir: string, options: WalkOptions = {}): WalkedLog | AuditFinding {
  const segments = walkSegments(dir, options);
  let step = segments.next();
  while (step.done !== true) step = segments.next();
  return step.value;
}

/** The same, with a stop after each segment: a caller can print what it has. */
export function* walkSegments(dir: string, options: WalkOptions): Generator<void, WalkedLog | AuditFinding> {
  let segments: readonly Segment[];
  try {
    segments = listSegments(dir);
  } catch (error) {
    return unreadable(dir, error);
  }
  const walk = new Walk(dir, options);
  for (const [index, segment] of segments.entries()) {
    if (options.from !== undefined && segment.first < options.from.segment) continue;
    try {
      const finding = walk.enter(segment, index === segments.length - 1);
      if (finding !== undefined) return finding;
    } catch (error) {
      return unreadable(segment.file, error);
    }
    yield;
  }
  return { state: walk.state, torn: walk.torn };
}

function unreadable(file: string, error: unknown): AuditFinding {
  const detail = `it cannot be read (${error instanceof Error ? error.message : String(error)})`;
  return new AuditFinding({ code: "unreadable", file, line: undefined, detail });
}

class Walk {
  readonly #dir: string;
  readonly #options: WalkOptions;
  readonly #edge: TreeEdge;
  #node: string | undefined;
  #last: string | undefined;
  #ts = "";
  #segment = 0;
  #offset = 0;
  #line = 0;
  torn: TornLine | undefined;

  constructor(dir: string, options: WalkOptions) {
    this.#dir = dir;
    this.#options = options;
    const { from } = options;
    this.#edge = new TreeEdge(from?.edge.size, from?.edge.hashes);
    if (from === undefined) return;
    this.#node = from.node;
    this.#last = from.last;
    this.#ts = from.ts;
    this.#segment = from.segment;
    this.#offset = from.offset;
    this.#line = from.line;
  }

  get state(): LogState | undefined {
    if (this.#node === undefined) return undefined;
    return {
      node: this.#node,
      edge: this.#edge,
      last: this.#last,
      ts: this.#ts,
      segment: this.#segment,
      offset: this.#offset,
      line: this.#line,
    };
  }

  enter(segment: Segment, isLast: boolean): AuditFinding | undefined {
    const { from } = this.#options;
    const goesOn = from !== undefined && segment.first === from.segment;
    if (!goesOn && segment.first !== this.#edge.size) {
      const missing = segmentFile(this.#edge.size);
      return new AuditFinding({
        code: "segment",
        file: segment.file,
        line: undefined,
        detail: segment.first > this.#edge.size
          ? `records ${this.#edge.size} to ${segment.first - 1} are missing: there is no ${missing}`
          : `record ${this.#edge.size} should begin the next segment`,
      });
    }
    if (segment.kind === "leaves") return this.#refuseHole(segment, isLast) ?? this.#takeLeaves(segment);
    if (!goesOn) {
      this.#segment = segment.first;
      this.#offset = 0;
      this.#line = 0;
    }
    return this.#readRecords(segment, isLast);
  }

  /** What is removed because of its age are the first segments, never the newest. */
  #refuseHole({ file, first }: Segment, isLast: boolean): AuditFinding | undefined {
    if (this.#last === undefined && !isLast) return undefined;
    const others = this.#last === undefined ? "no newer ones are there" : "older ones are there";
    const detail = `its records were removed, and ${others}: restore ${segmentFile(first)} from a copy`;
    return new AuditFinding({ code: "segment", file, line: undefined, detail });
  }

  #takeLeaves({ file }: Segment): AuditFinding | undefined {
    const leaves = readFileSync(join(this.#dir, file));
    if (leaves.length % hashBytes !== 0 || leaves.length === 0) {
      const detail = `its ${leaves.length} bytes are no whole number of hashes`;
      return new AuditFinding({ code: "segment", file, line: undefined, detail });
    }
    for (let start = 0; start < leaves.length; start += hashBytes) {
      const stop = this.#takeLeaf(leaves.subarray(start, start + hashBytes));
      if (stop !== undefined) return stop;
    }
    return undefined;
  }

  #takeLeaf(leaf: Buffer): AuditFinding | undefined {
    this.#edge.append(leaf);
    return this.#options.onLeaf?.(leaf, this.#edge);
  }

  #readRecords({ file }: Segment, isLast: boolean): AuditFinding | undefined {
    const reader = new LineReader(join(this.#dir, file));
    const { buffer } = reader;
    for (const { start, end, offset, kind } of reader.lines(this.#offset)) {
      if (kind === "torn" && isLast) {
        this.torn = { file, line: this.#line + 1, offset };
        return undefined;
      }
      this.#line += 1;
      const text = buffer.toString("utf8", start, end);
      const record = kind === "whole" ? readLine(text) : undefined;
      const finding = record === undefined ? malformed(file, this.#line) : this.#check(record, file);
      if (record === undefined || finding !== undefined) return finding;
      this.#last = hash("sha256", buffer.subarray(start, end), "base64");
      this.#ts = record.ts;
      this.#offset = offset + (end - start) + 1;
      this.#options.onRecord?.({ record, file, line: this.#line, text });
      // A leaf's hash begins with a zero byte: it takes the place of the line feed before the line.
      buffer[start - 1] = 0;
      const stop = this.#takeLeaf(hash("sha256", buffer.subarray(start - 1, end), "buffer"));
      if (stop !== undefined) return stop;
    }
    return undefined;
  }

  #check(record: AuditRecord, file: string): AuditFinding | undefined {
    const line = this.#line;
    const found = (code: AuditFinding["code"], detail: string) => new AuditFinding({ code, file, line, detail });
    if (record.seq !== this.#edge.size) {
      return found("sequence", `record ${record.seq} stands where record ${this.#edge.size} belongs`);
    }
    if (record.seq === 0) this.#last = genesisHash(record.node, randomOf(record));
    if (this.#last !== undefined && record.prev !== this.#last) {
      return found(
        "chain",
        record.seq === 0
          ? "its `prev` does not follow from its node and its random bytes"
          : "its `prev` is not the SHA-256 of the line before: one of the two was changed",
      );
    }
    if (this.#node !== undefined && record.node !== this.#node) {
      return found("node", `it is a record of ${record.node} in the log of ${this.#node}`);
    }
    if (record.ts < this.#ts) return found("clock-back", `its time ${record.ts} is before ${this.#ts}`);
    this.#node = record.node;
    return undefined;
  }
}

function malformed(file: string, line: number): AuditFinding {
  return new AuditFinding({ code: "malformed", file, line, detail: "it is no canonical record" });
}

function randomOf({ detail }: AuditRecord): string {
  const { random } = detail;
  return typeof random === "string" ? random : "";
}
