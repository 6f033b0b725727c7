/**
 * An executor's output: lines for the log, bounded in length and number, and the last bytes for the reason of a failure.
 * Holds at most one line and the tail in memory.
 *
 * @module
 */
import type { ChildProcess } from "node:child_process";
import { plainText } from "./reason.ts";

/** Characters of a line that are logged. */
export const lineCharactersMax = 2_000;
/** Lines logged in a second; further ones are counted. */
export const linesPerSecondMax = 50;
/** Bytes of both streams that are read in a second; the rest waits in the pipe. */
export const bytesPerSecondMax = 1024 * 1024;
/** Bytes kept for the reason of a failure. */
export const tailBytesMax = 4_096;

/** Receives the lines. */
export interface OutputSink {
  line(text: string): void;
  /** Called when lines are logged again, and at the end. */
  suppressed(lines: number): void;
}

/** Both streams of an executor. */
export interface ExecutorOutput {
  /** Takes a piece of one of the streams. */
  take(stream: "stdout" | "stderr", bytes: Uint8Array): void;
  /** The streams ended: the rest is a line. */
  end(): void;
  /** The last bytes of both, in order of arrival. */
  tail(): string;
}

/**
 * Collects the output of one executor.
 *
 * @param now Milliseconds; only differences count.
 */
export function collectOutput(sink: OutputSink, now: () => number): ExecutorOutput {
  const partial = { stdout: new PartialLine(), stderr: new PartialLine() };
  const log = new LineLog(sink, now);
  let tail = new Uint8Array(0);
  return {
    take(stream, bytes) {
      tail = lastBytes(tail, bytes);
      partial[stream].take(bytes, log);
    },
    end() {
      partial.stdout.end(log);
      partial.stderr.end(log);
      log.reportSuppressed();
    },
    tail: () => new TextDecoder().decode(tail),
  };
}

/** Logs {@linkcode linesPerSecondMax} lines in a second, and counts the others. */
class LineLog {
  readonly #sink: OutputSink;
  readonly #now: () => number;
  #second = -Infinity;
  #lines = 0;
  #suppressed = 0;

  constructor(sink: OutputSink, now: () => number) {
    this.#sink = sink;
    this.#now = now;
  }

  /** Whether the next line will be logged; it begins a new second where the last one is over. */
  hasRoom(): boolean {
    const at = this.#now();
    if (at - this.#second >= 1_000) {
      this.reportSuppressed();
      this.#second = at;
      this.#lines = 0;
    }
    return this.#lines < linesPerSecondMax;
  }

  say(text: string): void {
    if (!this.hasRoom()) return this.suppress(1);
    this.#lines += 1;
    this.#sink.line(plainText(text));
  }

  suppress(lines: number): void {
    this.#suppressed += lines;
  }

  reportSuppressed(): void {
    if (this.#suppressed > 0) this.#sink.suppressed(this.#suppressed);
    this.#suppressed = 0;
  }
}

/**
 * Reads the streams of an executor, at most {@linkcode bytesPerSecondMax} in a second: reading alone, of a program that only prints,
 * would take most of the worker's thread.
 *
 * @returns Reads what is left without a bound: for the end of the program.
 */
export function readOutput(
  { stdout, stderr }: Pick<ChildProcess, "stdout" | "stderr">,
  output: ExecutorOutput,
  now: () => number,
): () => void {
  let second = now(), size = 0, ended = false;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const resume = () => {
    timer = undefined;
    second = now();
    size = 0;
    stdout?.resume();
    stderr?.resume();
  };
  const take = (stream: "stdout" | "stderr", bytes: Uint8Array) => {
    output.take(stream, bytes);
    const at = now();
    if (at - second >= 1_000) {
      second = at;
      size = 0;
    }
    size += bytes.length;
    if (ended || timer !== undefined || size < bytesPerSecondMax) return;
    stdout?.pause();
    stderr?.pause();
    timer = setTimeout(resume, second + 1_000 - at);
  };
  stdout?.on("data", (bytes: Uint8Array) => take("stdout", bytes));
  stderr?.on("data", (bytes: Uint8Array) => take("stderr", bytes));
  return () => {
    ended = true;
    clearTimeout(timer);
    resume();
  };
}

/** The line that has not ended yet, cut at {@linkcode lineCharactersMax}. */
class PartialLine {
  readonly #decoder = new TextDecoder();
  #text = "";
  #open = false;

  take(bytes: Uint8Array, log: LineLog): void {
    let from = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      if (!log.hasRoom()) {
        // Counted without being decoded: a program may print millions of empty lines in a second.
        const rest = bytes.lastIndexOf(10) + 1;
        log.suppress(countLines(bytes.subarray(from, rest)));
        this.#finish();
        from = rest;
        break;
      }
      this.#append(bytes.subarray(from, end));
      log.say(this.#finish());
      from = end + 1;
    }
    if (from < bytes.length) this.#append(bytes.subarray(from));
  }

  end(log: LineLog): void {
    if (this.#open) log.say(this.#finish());
  }

  #append(bytes: Uint8Array): void {
    this.#open = true;
    // Decoding stops at the limit: a line of a gigabyte costs no more than one of 2,000 characters.
    if (this.#text.length >= lineCharactersMax) return;
    this.#text += this.#decoder.decode(bytes.subarray(0, lineCharactersMax * 4), { stream: true });
  }

  /** Ends the line. */
  #finish(): string {
    const text = this.#text + this.#decoder.decode();
    this.#text = "";
    this.#open = false;
    return text.length > lineCharactersMax ? `${text.slice(0, lineCharactersMax)}…` : text.replace(/\r$/, "");
  }
}

function countLines(bytes: Uint8Array): number {
  let lines = 0;
  for (const byte of bytes) if (byte === 10) lines += 1;
  return lines;
}

function lastBytes(tail: Uint8Array, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.length >= tailBytesMax) return bytes.slice(bytes.length - tailBytesMax);
  const kept = tail.subarray(Math.max(0, tail.length + bytes.length - tailBytesMax));
  const joined = new Uint8Array(kept.length + bytes.length);
  joined.set(kept);
  joined.set(bytes, kept.length);
  return joined;
}
