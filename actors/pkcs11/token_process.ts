/**
 * The process of a token, as its users see it: questions one after the other, each with a time limit.
 *
 * A process that does not answer in time, or ends, is killed and started once more. Where the second one fails too, the question is
 * refused with `signer-unavailable`, and so are all others, at once, until a process that is started every few seconds reaches the
 * token again. A wrong PIN is final: tokens lock after a few. So is a login that failed in another way, until the PIN has logged in once:
 * not every module reports a wrong PIN as one. A key is requested once: a token that was too slow may have made it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { ChildProcess } from "node:child_process";
import { deniedByDeno } from "../files/denied.ts";
import { isSignerProblem, SignerError, type SignerProblem } from "./signer_error.ts";
import { startTokenChild } from "./start_token_child.ts";
import {
  answerCharactersMax,
  answerMark,
  loginMark,
  type OpenToken,
  type TokenAnswer,
  type TokenRequest,
} from "./token_messages.ts";

/** The time for an answer, in milliseconds. A network HSM signs in some ten. */
export const answerMs = 5_000;
/** The further time for each MiB that is signed, in milliseconds: a busy machine hands 53 MiB over in five seconds, and a token may hash them itself. */
export const mebibyteMs = 200;
/** The time for making a key, which slow cards need: less than the process's own alarm. */
export const generateMs = 25_000;
/** The time for a start in addition: a runtime and a module are loaded. */
export const startMs = 5_000;
/** The time until a token that failed is tried again, in milliseconds. */
export const tryAgainMs = 5_000;
/** Questions that wait for their turn. */
export const questionsWaitingMax = 256;
/** The end of a process's error output that is kept, in characters. */
const outputKeptMax = 2_048;

/** Time limits, in milliseconds. */
export interface TokenTiming {
  readonly answerMs: number;
  readonly startMs: number;
  readonly tryAgainMs: number;
}

/** What a token's process is started with. */
export interface TokenTerms {
  readonly open: OpenToken;
  /** Names the token in errors; without the PIN. */
  readonly name: string;
  readonly timing?: TokenTiming;
  readonly start?: () => ChildProcess;
  /** A token that is away at the first start is waited for too. */
  readonly mayBeAway?: boolean;
}

/** Problems of a token that may be over by themselves. */
export const passing: ReadonlySet<SignerProblem> = new Set([
  "signer-unavailable",
  "token-missing",
  "module-failed",
  "module-missing",
  "pin-missing",
  "pin-unreadable",
]);
/** Problems that remain until the program starts again: the PIN is not presented another time. */
const final: ReadonlySet<SignerProblem> = new Set([
  "pin-wrong",
  "pin-locked",
  "login-failed",
  "package-missing",
  "not-permitted",
  "not-supported-here",
]);

/** What was opened with a login in this program. */
const provenPins = new Set<string>();

/** A token's process. */
export class TokenProcess {
  readonly #terms: TokenTerms;
  readonly #timing: TokenTiming;
  #child: OpenChild | undefined;
  /** Whether a token that is missing may come back. */
  #isExpected: boolean;
  #failure: SignerError | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  #again: NodeJS.Timeout | undefined;
  /** It was let go of, and no question came since. */
  #isEnded = false;

  constructor(terms: TokenTerms) {
    this.#terms = terms;
    this.#timing = terms.timing ?? { answerMs, startMs, tryAgainMs };
    this.#isExpected = terms.mayBeAway === true;
  }

  /** Why the token cannot be used now; undefined while it can. */
  get failure(): SignerError | undefined {
    return this.#failure;
  }

  /** Whether it fails until the program starts again. */
  get isFinal(): boolean {
    return this.#failure !== undefined && final.has(this.#failure.code);
  }

  /** Number of the process, where one runs. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /**
   * Asks.
   *
   * @throws {SignerError}
   */
  async ask(request: TokenRequest): Promise<Buffer> {
    if (this.#isEnded && !this.isFinal) this.#failure = undefined;
    this.#isEnded = false;
    // Not in its turn: the attempt to reach the token again takes one.
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#waiting >= questionsWaitingMax) {
      throw this.#error("signer-unavailable", `${this.#waiting} questions wait`);
    }
    this.#waiting += 1;
    const answered = this.#last.then(() => this.#ask(request));
    this.#last = answered.catch(() => {});
    try {
      return await answered;
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Ends the process. The next question starts another one. */
  end(): void {
    this.#isEnded = true;
    clearTimeout(this.#again);
    this.#child?.end();
    this.#child = undefined;
  }

  async #ask(request: TokenRequest): Promise<Buffer> {
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#isEnded) throw this.#error("signer-unavailable", "it was let go of");
    try {
      return await this.#attempt(request).catch((error: SignerError) => {
        if (error.code !== "signer-unavailable" || request.op === "generate" || this.#isEnded) throw error;
        return this.#attempt(request);
      });
    } catch (error) {
      throw this.#failed(error as SignerError);
    }
  }

  /** Keeps what concerns the token. A key that is missing concerns its own question. */
  #failed(error: SignerError): SignerError {
    if (final.has(error.code)) return this.#failure = error;
    // At the first start a missing token or module is a mistake of the configuration, and named as such. A token that failed already
    // is tried again, whatever the attempt met: no question would lead to another attempt.
    const isOfToken = passing.has(error.code) && (this.#isExpected || error.code === "signer-unavailable");
    if (this.#failure === undefined && !isOfToken) return error;
    this.#child?.end();
    this.#child = undefined;
    this.#failure = this.#error("signer-unavailable", error.detail);
    if (!this.#isEnded) this.#again = setTimeout(() => this.#tryAgain(), this.#timing.tryAgainMs).unref();
    return this.#failure;
  }

  #tryAgain(): void {
    const opened = async () => {
      if (this.#isEnded) return;
      await this.#opened();
      this.#failure = undefined;
    };
    const tried = this.#last.then(opened).catch((error) => this.#failed(error as SignerError));
    this.#last = tried.catch(() => {});
  }

  async #attempt(request: TokenRequest): Promise<Buffer> {
    const child = await this.#opened();
    if (request.op === "generate") return child.ask(request, generateMs);
    const mebibytes = request.op === "sign" ? Math.floor(request.data.length * 3 / 4 / 1_048_576) : 0;
    return child.ask(request, this.#timing.answerMs + mebibytes * mebibyteMs);
  }

  async #opened(): Promise<OpenChild> {
    if (this.#child !== undefined && !this.#child.isOver) return this.#child;
    const child = this.#started();
    this.#child = child;
    const { open } = this.#terms;
    const place = JSON.stringify(open);
    try {
      const isPinProven = provenPins.has(place);
      await child.ask({ ...open, isPinProven }, this.#timing.answerMs + this.#timing.startMs);
    } catch (error) {
      child.end();
      throw error;
    }
    provenPins.add(place);
    this.#isExpected = true;
    return child;
  }

  #started(): OpenChild {
    try {
      return new OpenChild((this.#terms.start ?? startTokenChild)(), (problem, detail) => this.#error(problem, detail));
    } catch (error) {
      if (error instanceof SignerError) throw this.#error(error.code, error.detail);
      const denied = deniedByDeno(error);
      throw this.#error(denied === undefined ? "signer-unavailable" : "not-permitted", denied ?? String(error));
    }
  }

  #error(code: SignerProblem, detail: string): SignerError {
    return new SignerError({ code, key: this.#terms.name, detail });
  }
}

interface Asking {
  readonly resolve: (bytes: Buffer) => void;
  readonly reject: (error: SignerError) => void;
}

/** One process, until it ends. */
class OpenChild {
  readonly #child: ChildProcess;
  readonly #error: (problem: SignerProblem, detail: string) => SignerError;
  #asking: Asking | undefined;
  /** It presents a PIN that is not proven, and has not answered. */
  #isInLogin = false;
  /** Why it is over; undefined while it runs. */
  #reason: SignerError | undefined;
  #output = "";
  #errors = "";

  constructor(child: ChildProcess, error: (problem: SignerProblem, detail: string) => SignerError) {
    this.#child = child;
    this.#error = error;
    child.stdout?.setEncoding("utf8").on("data", (text: string) => this.#take(text));
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.#errors = (this.#errors + text).slice(-outputKeptMax);
    });
    for (const stream of [child.stdin, child.stdout, child.stderr]) {
      stream?.on("error", () => {/* it ended: `exit` has the reason */});
    }
    // Where Deno does not allow the process there are no streams either, and the reason comes as an event.
    child.on("error", (cause) => {
      const denied = deniedByDeno(cause);
      this.#ended(denied === undefined ? "signer-unavailable" : "not-permitted", denied ?? cause.message);
    });
    child.on("exit", (code, signal) => {
      this.#ended(this.#lost, `its process ended with ${signal ?? code}${this.#lastError()}`);
    });
  }

  get isOver(): boolean {
    return this.#reason !== undefined;
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** The problem where no answer comes. */
  get #lost(): SignerProblem {
    return this.#isInLogin ? "login-failed" : "signer-unavailable";
  }

  ask(request: OpenToken | TokenRequest, limitMs: number): Promise<Buffer> {
    return new Promise((resolve, reject) => {
      if (this.#reason !== undefined) return reject(this.#reason);
      const settle = (act: () => void) => {
        clearTimeout(timer);
        this.#asking = undefined;
        this.#keepAlive(false);
        act();
      };
      const timer = setTimeout(() => {
        this.#asking?.reject(this.#error(this.#lost, `it did not answer within ${limitMs} ms`));
        this.end();
      }, limitMs);
      this.#asking = {
        resolve: (bytes) => settle(() => resolve(bytes)),
        reject: (error) => settle(() => reject(error)),
      };
      this.#keepAlive(true);
      this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    });
  }

  /** Ends it at once: a module that hangs reads no more input. */
  end(): void {
    if (this.#reason !== undefined) return;
    this.#reason = this.#error("signer-unavailable", "its process ended");
    // Not process.kill(), for which Deno requires the permission to run every program.
    this.#child.kill("SIGKILL");
    for (const stream of [this.#child.stdin, this.#child.stdout, this.#child.stderr]) stream?.destroy();
  }

  #ended(problem: SignerProblem, detail: string): void {
    const error = this.#error(problem, detail);
    this.#reason ??= error;
    this.#asking?.reject(error);
  }

  #lastError(): string {
    const line = this.#errors.trim().split("\n").at(-1)!;
    return line === "" ? "" : `: ${line.slice(0, 200)}`;
  }

  #take(text: string): void {
    this.#output += text;
    for (let end = this.#output.indexOf("\n"); end >= 0; end = this.#output.indexOf("\n")) {
      const line = this.#output.slice(0, end);
      this.#output = this.#output.slice(end + 1);
      if (line === loginMark) this.#isInLogin = true;
      if (line.startsWith(answerMark)) this.#answer(line.slice(answerMark.length));
    }
    if (this.#output.length <= answerCharactersMax) return;
    this.#asking?.reject(this.#error(this.#lost, "its process printed too much"));
    this.end();
  }

  #answer(text: string): void {
    const answer = readAnswer(text);
    if (answer === undefined) {
      return this.#asking?.reject(this.#error(this.#lost, "its answer cannot be read"));
    }
    this.#isInLogin = false;
    if ("bytes" in answer) this.#asking?.resolve(Buffer.from(answer.bytes, "base64"));
    else this.#asking?.reject(this.#error(answer.problem, answer.detail));
  }

  /** Between questions it does not keep this process from ending. */
  #keepAlive(keeps: boolean): void {
    if (this.#child.pid === undefined) return;
    for (const each of [this.#child, this.#child.stdin, this.#child.stdout, this.#child.stderr]) {
      const handle = each as { ref?(): void; unref?(): void } | null;
      if (keeps) handle?.ref?.();
      else handle?.unref?.();
    }
  }
}

function readAnswer(text: string): TokenAnswer | undefined {
  try {
    const { bytes, problem, detail } = JSON.parse(text) as Readonly<Record<string, unknown>>;
    if (typeof bytes === "string") return { bytes };
    if (typeof problem !== "string" || typeof detail !== "string" || !isSignerProblem(problem)) return undefined;
    return { problem, detail: detail.slice(0, 500) };
  } catch {
    return undefined;
  }
}
