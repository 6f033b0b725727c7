/**
 * A program that is kept running: started again when it fails, not when it ended in order.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createWriteStream, type WriteStream } from "node:fs";
import { createInterface } from "node:readline";
import { ownEnvironment } from "./own_command.ts";

/** A line of a program's JSON log. */
export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly message: string;
}

/** How a program is kept running. */
export interface SupervisedInit {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  /** Everything that it writes is added to this file. Where the file cannot be written, the program runs on without it. */
  readonly logFile: string;
  /** The event of its log that says that it works. */
  readonly readyEvent: string;
  readonly onLine: (line: LogLine) => void;
  /** It works, at first and after each new start. */
  readonly onReady: () => void;
  /** Its log file cannot be written. */
  readonly onUnlogged: (error: Error) => void;
  /** It ended by itself. `againMs`: when it is started again; undefined: it is not. */
  readonly onEnded: (code: number, againMs: number | undefined) => void;
}

/** The first wait before a new start, doubled up to the last one, in milliseconds. */
const againMinMs = 1_000;
const againMaxMs = 30_000;
/** A program that ran this long starts its waits anew, in milliseconds. */
const steadyMs = 60_000;
/** The own certificate was revoked. */
export const revokedCode = 3;
/** It ended in order: an operator drained it, or its work is done. */
export const doneCode = 0;
/** Codes after which a new start changes nothing, or is not wanted: ended in order, wrong usage or configuration, own certificate revoked. */
const finalCodes: readonly number[] = [doneCode, 2, revokedCode];

/** A program ended before it worked. */
export class EndedEarly extends Error {
  readonly code: number;

  constructor(name: string, code: number, lastLine: string) {
    super(`${name} ended with ${code}: ${lastLine}`);
    this.code = code;
  }
}

/** One program. */
export class Supervised {
  readonly #init: SupervisedInit;
  readonly #log: WriteStream;
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #waitMs = againMinMs;
  #isStopping = false;

  constructor(init: SupervisedInit) {
    this.#init = init;
    this.#log = createWriteStream(init.logFile, { flags: "a", mode: 0o600 });
    this.#log.on("error", init.onUnlogged);
  }

  /** Starts it; resolves when it works. Rejects when it does not get so far; {@linkcode EndedEarly} when it ended. */
  start(timeoutMs: number): Promise<void> {
    const { name, logFile } = this.#init;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`${name} is not ready within ${timeoutMs / 1_000} s: see ${logFile}`));
      }, timeoutMs);
      this.#spawn((code, lastLine) => {
        clearTimeout(timer);
        if (code === undefined) resolve();
        else reject(new EndedEarly(name, code, lastLine));
      });
    });
  }

  /** `first` hears when it works, or how it ended before that; without it, an end is followed by a new start. */
  #spawn(first?: (code: number | undefined, lastLine: string) => void): void {
    const [program, ...args] = this.#init.command;
    const began = performance.now();
    let isReady = false;
    let lastLine = "";
    // A group of its own: Ctrl-C reaches the supervisor alone, which ends programs in their order.
    const child = spawn(program, args, { env: ownEnvironment(), stdio: ["ignore", "pipe", "pipe"], detached: true });
    this.#child = child;
    for (const output of [child.stdout, child.stderr]) {
      createInterface({ input: output }).on("line", (text) => {
        this.#log.write(`${text}\n`);
        const line = parseLine(text);
        lastLine = line?.message ?? text;
        if (line === undefined) return;
        this.#init.onLine(line);
        if (isReady || line.event !== this.#init.readyEvent) return;
        isReady = true;
        this.#init.onReady();
        first?.(undefined, "");
      });
    }
    this.#ended = new Promise((resolve) => {
      let isOver = false;
      const over = (code: number) => {
        // A program that could not be started closes too.
        if (isOver) return;
        isOver = true;
        this.#child = undefined;
        resolve();
        if (!isReady && first !== undefined) first(code, lastLine);
        else if (!this.#isStopping) this.#again(code, performance.now() - began >= steadyMs);
      };
      child.on("error", () => over(127));
      child.on("close", (code) => over(code ?? 1));
    });
  }

  #again(code: number, wasSteady: boolean): void {
    if (finalCodes.includes(code)) return this.#init.onEnded(code, undefined);
    if (wasSteady) this.#waitMs = againMinMs;
    this.#init.onEnded(code, this.#waitMs);
    this.#timer = setTimeout(() => this.#spawn(), this.#waitMs);
    this.#waitMs = Math.min(2 * this.#waitMs, againMaxMs);
  }

  /** Ends it in order. Resolves when it has ended. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    clearTimeout(this.#timer);
    this.#child?.kill("SIGTERM");
    await this.#ended;
    this.#log.end();
  }

  /** Ends it at once. */
  kill(): void {
    this.#isStopping = true;
    clearTimeout(this.#timer);
    this.#child?.kill("SIGKILL");
  }
}

function parseLine(text: string): LogLine | undefined {
  try {
    const { level, event, message } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    return { level: String(level), event: String(event), message: String(message) };
  } catch {
    return undefined;
  }
}
