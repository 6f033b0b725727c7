/**
 * An executor's output: lines for the log, bounded in length and number, and the last bytes for the reason of a failure.
 * Holds at most one line and the tail in memory.
 *
 * @module
 */
import { plainText } from "./reason.ts";

/** Characters of a line that are logged. */
export const lineCharactersMax = 2_000;
/** Lines logged in a second; further ones are counted. */
export const linesPerSecondMax = 50;
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
  let tail = new Uint8Array(0);
  let second = -Infinity, lines = 0, suppressed = 0;
  const say = (text: string) => {
    const at = now();
    if (at - second >= 1_000) {
      if (suppressed > 0) sink.suppressed(suppressed);
      second = at;
      lines = suppressed = 0;
    }
    if (lines < linesPerSecondMax) sink.line(plainText(text));
    else suppressed += 1;
    lines += 1;
  };
  return {
    take(stream, bytes) {
      tail = lastBytes(tail, bytes);
      partial[stream].take(bytes, say);
    },
    end() {
      partial.stdout.end(say);
      partial.stderr.end(say);
      if (suppressed > 0) sink.suppressed(suppressed);
      suppressed = 0;
    },
    tail: () => new TextDecoder().decode(tail),
  };
}

/** The line that has not ended yet, cut at {@linkcode lineCharactersMax}. */
class PartialLine {
  readonly #decoder = new TextDecoder();
  #text = "";
  #open = false;

  take(bytes: Uint8Array, say: (line: string) => void): void {
    let from = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, from)) {
      this.#append(bytes.subarray(from, end));
      this.#finish(say);
      from = end + 1;
    }
    if (from < bytes.length) this.#append(bytes.subarray(from));
  }

  end(say: (line: string) => void): void {
    if (this.#open) this.#finish(say);
  }

  #append(bytes: Uint8Array): void {
    this.#open = true;
    // Decoding stops at the limit: a line of a gigabyte costs no more than one of 2,000 characters.
    if (this.#text.length >= lineCharactersMax) return;
    this.#text += this.#decoder.decode(bytes.subarray(0, lineCharactersMax * 4), { stream: true });
  }

  #finish(say: (line: string) => void): void {
    const text = this.#text + this.#decoder.decode();
    this.#text = "";
    this.#open = false;
    say(text.length > lineCharactersMax ? `${text.slice(0, lineCharactersMax)}…` : text.replace(/\r$/, ""));
  }
}

function lastBytes(tail: Uint8Array, bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  if (bytes.length >= tailBytesMax) return bytes.slice(bytes.length - tailBytesMax);
  const kept = tail.subarray(Math.max(0, tail.length + bytes.length - tailBytesMax));
  const joined = new Uint8Array(kept.length + bytes.length);
  joined.set(kept);
  joined.set(bytes, kept.length);
  return joined;
}
