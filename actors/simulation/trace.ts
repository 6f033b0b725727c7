/**
 * What happened in a run, line by line: always hashed, kept for a replay.
 *
 * @module
 */
import { createHash } from "node:crypto";

/** One line. */
export interface TraceLine {
  /** Milliseconds since the run's start. */
  readonly at: number;
  readonly node: string;
  readonly kind: "report" | "frame" | "fault" | "state" | "violation";
  /** The sender's host, for frames. */
  readonly from?: string;
  readonly text: string;
}

/** Lines kept; further ones are only hashed. */
export const linesMax = 200_000;

/** The trace of one run. */
export class Trace {
  readonly #hash = createHash("sha256");
  readonly #keep: boolean;
  readonly lines: TraceLine[] = [];
  #pending = "";
  #count = 0;

  constructor(keep: boolean) {
    this.#keep = keep;
  }

  get count(): number {
    return this.#count;
  }

  add(line: TraceLine): void {
    this.#count += 1;
    this.#pending += `${line.at} ${line.node} ${line.kind} ${line.from ?? ""} ${line.text}\n`;
    if (this.#pending.length > 8_192) this.#flush();
    if (this.#keep && this.lines.length < linesMax) this.lines.push(line);
  }

  #flush(): void {
    this.#hash.update(this.#pending);
    this.#pending = "";
  }

  /** The hash of all lines so far, 16 hexadecimal digits. */
  get hash(): string {
    this.#flush();
    return this.#hash.copy().digest("hex").slice(0, 16);
  }
}
