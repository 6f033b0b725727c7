/**
 * Finds records of a log that is being written, the newest first, a part at a time. It reads; it verifies nothing
 * (`hypha-certutil audit verify` does).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { type AuditRecord, readLine } from "./audit_record.ts";
import { listSegments, type Segment } from "./segments.ts";

/** Records of one answer. */
export const foundMax = 100;
/** Bytes that one search reads; the next one goes on behind them. */
export const searchedBytesMax = 16 * 1024 * 1024;
/** Bytes that are read at once: some milliseconds of the event loop. A line has at most a tenth of it. */
const pieceBytes = 262_144;

/** Where a search goes on: before this byte of this segment. */
export interface SearchMark {
  readonly segment: number;
  readonly offset: number;
}

/** What is searched; all that is given must hold. */
export interface AuditQuery {
  /** Part of the record's line, in any case: a name, a PeerID, a code, a serial. */
  readonly text?: string;
  /** The beginning of the type: `refusal`, `ca.`. */
  readonly type?: string;
  /** RFC 3339. */
  readonly since?: string;
  readonly until?: string;
  readonly after?: SearchMark;
}

/** The records that were found, the newest first, and where the search goes on; without a mark it has reached the log's beginning. */
export interface FoundRecords {
  readonly records: readonly AuditRecord[];
  readonly after?: SearchMark;
}

/**
 * Searches.
 *
 * @throws when the folder or a file of it cannot be read.
 */
export async function searchLog(dir: string, query: AuditQuery): Promise<FoundRecords> {
  const search = new Search(query);
  const { after } = query;
  const segments = listSegments(dir).filter(({ kind, first }) =>
    kind === "records" && first <= (after?.segment ?? Number.MAX_SAFE_INTEGER)
  );
  for (const segment of segments.toReversed()) {
    const mark = await search.segment(dir, segment, segment.first === after?.segment ? after.offset : undefined);
    if (mark !== undefined) return { records: search.records, after: mark };
    if (search.isDone) break;
  }
  return { records: search.records };
}

class Search {
  readonly records: AuditRecord[] = [];
  /** A record before `since` was read: those before it are not later. */
  isDone = false;
  readonly #query: AuditQuery;
  readonly #text: string;
  #leftBytes = searchedBytesMax;

  constructor(query: AuditQuery) {
    const { since, until } = query;
    this.#query = {
      ...query,
      ...(since === undefined ? {} : { since: inRecords(since) }),
      ...(until === undefined ? {} : { until: inRecords(until) }),
    };
    this.#text = (query.text ?? "").toLowerCase();
  }

  /** Searches a segment from a byte backwards. Returns where it stopped, if not at the beginning. */
  async segment(dir: string, { first, file }: Segment, before: number | undefined): Promise<SearchMark | undefined> {
    const handle = await open(join(dir, file), "r");
    try {
      let end = Math.min(before ?? Number.MAX_SAFE_INTEGER, (await handle.stat()).size);
      while (end > 0) {
        if (this.#leftBytes <= 0 || this.records.length >= foundMax) return { segment: first, offset: end };
        const begin = Math.max(0, end - pieceBytes);
        const piece = await readPiece(handle, begin, end - begin);
        this.#leftBytes -= piece.length;
        const next = begin + this.#lines(piece, begin === 0);
        if (next >= end) return undefined; // no line begins here: the file is no log
        end = next;
        this.isDone = this.#isBeforeSince(piece.subarray(next - begin));
        if (this.isDone) return undefined;
      }
      return undefined;
    } finally {
      await handle.close();
    }
  }

  /** Reads a piece's lines, the last one first. Returns where the first of them begins that was read. */
  #lines(piece: Buffer, isBegin: boolean): number {
    let end = piece.length;
    while (end > 0 && this.records.length < foundMax) {
      const feed = end < 2 ? -1 : piece.lastIndexOf(10, end - 2);
      if (feed === -1 && !isBegin) return end;
      this.#take(piece.toString("utf8", feed + 1, end).trimEnd());
      end = feed + 1;
    }
    return end;
  }

  /** Whether the first of these lines is a record before `since`. */
  #isBeforeSince(lines: Buffer): boolean {
    const { since } = this.#query;
    if (since === undefined) return false;
    const record = readLine(lines.toString("utf8", 0, lines.indexOf(10)));
    return record !== undefined && record.ts < since;
  }

  #take(line: string): void {
    if (this.#text !== "" && !line.toLowerCase().includes(this.#text)) return;
    const record = readLine(line);
    if (record === undefined) return; // the line that is being written
    const { type = "", since, until } = this.#query;
    const isFound = record.type.startsWith(type) && (since === undefined || record.ts >= since) &&
      (until === undefined || record.ts < until);
    if (isFound) this.records.push(record);
  }
}

/** An instant as records have it, with milliseconds; their order is that of their text. */
function inRecords(instant: string): string {
  const at = new Date(instant);
  return Number.isNaN(+at) ? instant : at.toISOString();
}

async function readPiece(handle: FileHandle, position: number, length: number): Promise<Buffer> {
  const piece = Buffer.allocUnsafe(length);
  const { bytesRead } = await handle.read(piece, 0, length, position);
  return piece.subarray(0, bytesRead);
}
