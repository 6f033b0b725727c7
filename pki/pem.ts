/**
 * PEM, the text form of certificates, keys and revocation lists (RFC 7468), read strictly and in one pass.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import * as Data from "effect/Data";
import * as Result from "effect/Result";

/** Characters of one file. A revocation list of a million entries has 72 million. */
export const pemCharactersMax = 256 * 1024 * 1024;
/** Blocks in one file. The largest public bundles have some hundreds. */
export const pemBlocksMax = 10_000;

/** One block: what its boundary lines call it, its content, and the line (from 1) on which it begins. */
export interface PemBlock {
  /** The text after `BEGIN`. */
  readonly label: string;
  /** The content. */
  readonly der: Uint8Array;
  /** The line that the block begins on, from 1. */
  readonly line: number;
}

/** Text that is no PEM. `line` counts from 1. */
export class PemError extends Data.TaggedError("PemError")<{ readonly line: number; readonly detail: string }> {
  /** What happened, in one line. */
  override get message(): string {
    return `Cannot parse PEM at line ${this.line}: ${this.detail}`;
  }
}

const begin = "-----BEGIN ";
const dashes = "-----";
const byteOrderMark = "\uFEFF";
/** Files that end without a line end make this when they are joined. To pass over it would lose the block. */
export const beginInsideLine = "-----BEGIN stands inside of a line: put a line end before it";

/**
 * Reads every block of a PEM file. Text between blocks is passed over, as tools write comments there; a BEGIN that does not
 * begin its line, indented or not, is an error.
 *
 * Checks no label and parses no content.
 *
 * @param text The file's text, with LF or CRLF line ends.
 * @returns The blocks in their order, possibly none; or the first line at fault.
 *
 * @example A block without its end
 * ```ts
 * import * as assert from "uvu/assert";
 * import { Result } from "effect";
 * import { parsePem } from "hypha-runtime/pki";
 *
 * const outcome = parsePem("# a comment\n-----BEGIN CERTIFICATE-----\nAAAA\n");
 * assert.is(Result.isFailure(outcome) && outcome.failure.line, 2);
 * ```
 */
export function parsePem(text: string): Result.Result<readonly PemBlock[], PemError> {
  if (text.length > pemCharactersMax) {
    return Result.fail(new PemError({ line: 1, detail: `the text has more than ${pemCharactersMax} characters` }));
  }
  const blocks: PemBlock[] = [];
  const lines = lineCounter(text);
  const first = text.startsWith(byteOrderMark) ? byteOrderMark.length : 0;
  for (let at = text.indexOf(begin); at >= 0;) {
    const line = lines(at);
    if (!isFirstOfLine(text, at, first)) return Result.fail(new PemError({ line, detail: beginInsideLine }));
    if (blocks.length === pemBlocksMax) {
      return Result.fail(new PemError({ line, detail: `more than ${pemBlocksMax} blocks` }));
    }
    const read = readBlock(text, at, line);
    if (Result.isFailure(read)) return Result.fail(read.failure);
    const { label, der, end } = read.success;
    blocks.push({ label, der, line });
    at = text.indexOf(begin, end - dashes.length);
  }
  return Result.succeed(blocks);
}

/** Whether only blanks stand before a place in its line; the text begins at `first`. */
function isFirstOfLine(text: string, at: number, first: number): boolean {
  let before = at;
  while (before > first && (text[before - 1] === " " || text[before - 1] === "\t")) before -= 1;
  return before === first || text[before - 1] === "\n";
}

/** Writes one block: lines of 64 characters, LF, a line end behind the last line. */
export function formatPem(label: string, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
  const lines = base64.match(/.{1,64}/g) ?? [];
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ""].join("\n");
}

/** Reads the block that begins at `at`, on this line; `end` is where the text goes on. */
function readBlock(
  text: string,
  at: number,
  line: number,
): Result.Result<{ readonly label: string; readonly der: Uint8Array; readonly end: number }, PemError> {
  const refuse = (detail: string) => Result.fail(new PemError({ line, detail }));
  const labelEnd = text.indexOf(dashes, at + begin.length);
  const label = labelEnd < 0 ? "" : text.slice(at + begin.length, labelEnd);
  if (!/^[A-Z0-9]+(?:[ -][A-Z0-9]+){0,7}$/.test(label)) return refuse("the BEGIN line has no proper label");
  const bodyStart = labelEnd + dashes.length;
  const closing = `-----END ${label}-----`;
  const bodyEnd = text.indexOf(dashes, bodyStart);
  if (bodyEnd < 0) return refuse(`the block ${label} has no END line`);
  if (!text.startsWith(closing, bodyEnd)) return refuse(`the block ${label} does not end with ${closing}`);
  const body = text.slice(bodyStart, bodyEnd);
  if (!/^[ \t]*\r?\n/.test(body)) return refuse("something follows on the BEGIN line");
  if (body.includes(":")) {
    return refuse(`the block ${label} has headers, as encrypted keys in the traditional format do`);
  }
  const base64 = body.replace(/[ \t\r\n]+/g, "");
  const der = Buffer.from(base64, "base64");
  // Buffer skips what is no base64, so the length tells whether anything was skipped.
  if (base64.length === 0) return refuse(`the block ${label} is empty`);
  if (base64.length % 4 !== 0 || der.length !== (base64.length / 4) * 3 - padding(base64) || /[-_]/.test(base64)) {
    return refuse(`the block ${label} is not base64`);
  }
  // Small buffers lie in a shared pool: a copy keeps what a clone or a transfer of the certificate takes along small.
  const own = der.length < der.buffer.byteLength ? Uint8Array.from(der) : new Uint8Array(der.buffer);
  return Result.succeed({ label, der: own, end: bodyEnd + closing.length });
}

function padding(base64: string): number {
  return base64.endsWith("==") ? 2 : base64.endsWith("=") ? 1 : 0;
}

/** Counts lines forward, so that a file of many blocks is walked once. */
function lineCounter(text: string): (at: number) => number {
  let line = 1;
  let position = 0;
  return (at) => {
    for (let next = text.indexOf("\n", position); next >= 0 && next < at; next = text.indexOf("\n", position)) {
      line += 1;
      position = next + 1;
    }
    return line;
  };
}
