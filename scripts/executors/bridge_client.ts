/**
 * An executor's end of the job bridge: HTTP/1.1 over the job's Unix socket.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { Agent, type IncomingMessage, request } from "node:http";

/** How to reach the bridge. */
interface BridgeOptions {
  readonly socketPath: string;
  /** The bearer token, if the worker gave one. */
  readonly token: string | undefined;
  /** The wait before the second attempt, in milliseconds. It doubles for each further attempt. */
  readonly retryMs?: number;
}

/** A pushed file, as the bridge announces it. */
interface ReceivedFile {
  /** Inside the work directory. */
  readonly path: string;
  readonly size: number;
  readonly from_peer: string;
}

/** An open receive: the loaded files, in the order of their arrival. */
export interface Receiving<T> {
  /** Waits for the next file; fails when the bridge ends the stream or after `timeoutMs`. */
  next(timeoutMs: number): Promise<T>;
  /** Returns a file that has already arrived, if any. */
  waiting(): Promise<T> | undefined;
  close(): void;
}

/** The bridge refused the request, or no attempt reached it. */
export class BridgeFailed extends Error {
  override readonly name = "BridgeFailed";
}

const attemptsMax = 5;
const defaultRetryMs = 200;
const answerMaxBytes = 1_048_576;
/** Includes the fetch of a whole slice. */
const answerTimeoutMs = 120_000;
const eventMaxChars = 65_536;
const waitingMax = 64;

export class BridgeClient {
  readonly #options: BridgeOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });

  constructor(options: BridgeOptions) {
    this.#options = options;
  }

  /**
   * Posts a JSON body and returns the JSON answer, `undefined` for an empty one. It tries transient failures (no connection,
   * 5xx) {@linkcode attemptsMax} times. A refusal (4xx) is final.
   */
  async post(route: string, body: unknown): Promise<unknown> {
    let problem = "";
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      if (attempt > 0) await pause((this.#options.retryMs ?? defaultRetryMs) * 2 ** (attempt - 1));
      try {
        const { status, text } = await this.#exchange(route, body);
        if (status >= 200 && status < 300) return text === "" ? undefined : JSON.parse(text);
        problem = `${status} ${text.slice(0, 1_000)}`;
        if (status < 500) break;
      } catch (error) {
        problem = (error as Error).message;
      }
    }
    throw new BridgeFailed(`Cannot post ${route}: ${problem}`);
  }

  async #exchange(route: string, body: unknown): Promise<{ status: number; text: string }> {
    const answer = await this.#send(route, body, this.#agent, answerTimeoutMs);
    let text = "";
    answer.setEncoding("utf8");
    for await (const piece of answer as AsyncIterable<string>) {
      text += piece;
      if (text.length > answerMaxBytes) throw new BridgeFailed(`Cannot take answer of ${route}: it is too long`);
    }
    return { status: answer.statusCode ?? 0, text };
  }

  #send(route: string, body: unknown, agent: Agent | false, timeoutMs: number): Promise<IncomingMessage> {
    const { socketPath, token } = this.#options;
    const text = JSON.stringify(body);
    const headers: Record<string, string> = {
      "content-type": "application/json",
      "content-length": String(new TextEncoder().encode(text).length),
    };
    if (token !== undefined) headers["authorization"] = `Bearer ${token}`;
    return new Promise((resolve, reject) => {
      const sent = request({ socketPath, path: route, method: "POST", headers, agent }, resolve);
      const timer = setTimeout(() => sent.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
      sent.on("response", () => clearTimeout(timer));
      sent.on("error", (error) => {
        clearTimeout(timer);
        reject(error);
      });
      sent.end(text);
    });
  }

  /**
   * Opens `/resources/receive`. Resolves when the bridge accepts pushes.
   *
   * @param load Called immediately for each file: the next file of the peer replaces it.
   */
  async receive<T>(resource: unknown, load: (file: ReceivedFile) => Promise<T>): Promise<Receiving<T>> {
    const answer = await this.#send("/resources/receive", { resource }, false, answerTimeoutMs);
    if (answer.statusCode !== 200) {
      answer.destroy();
      throw new BridgeFailed(`Cannot receive: ${answer.statusCode}`);
    }
    return new EventStream(answer, load);
  }

  /** Closes idle connections, so that the process can exit. */
  close(): void {
    this.#agent.destroy();
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Server-sent events with one `data:` line each. */
class EventStream<T> implements Receiving<T> {
  readonly #answer: IncomingMessage;
  readonly #load: (file: ReceivedFile) => Promise<T>;
  readonly #loaded: Promise<T>[] = [];
  #rest = "";
  #ended: string | undefined;
  #wake: (() => void) | undefined;

  constructor(answer: IncomingMessage, load: (file: ReceivedFile) => Promise<T>) {
    this.#answer = answer;
    this.#load = load;
    answer.setEncoding("utf8");
    answer.on("data", (piece: Buffer | string) => this.#take(String(piece)));
    answer.on("end", () => this.#end("the bridge ended the stream"));
    answer.on("error", (error) => this.#end(error.message));
    answer.on("close", () => this.#end("the connection closed"));
  }

  waiting(): Promise<T> | undefined {
    return this.#loaded.shift();
  }

  async next(timeoutMs: number): Promise<T> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, timeoutMs));
    const came = new Promise<void>((resolve) => this.#wake = resolve);
    if (this.#loaded.length === 0 && this.#ended === undefined) await Promise.race([came, late]);
    clearTimeout(timer);
    const loaded = this.#loaded.shift();
    if (loaded !== undefined) return loaded;
    throw new BridgeFailed(`Cannot receive: ${this.#ended ?? `nothing came within ${timeoutMs} ms`}`);
  }

  close(): void {
    this.#answer.destroy();
  }

  #take(piece: string): void {
    const lines = (this.#rest + piece).split("\n");
    this.#rest = lines.pop() ?? "";
    if (this.#rest.length > eventMaxChars) return void this.#answer.destroy(new Error("an event is too long"));
    for (const line of lines) if (line.startsWith("data:")) this.#event(line.slice(5));
    // A keepalive is no event. If it woke the waiting caller, the caller would report a timeout too early.
    if (this.#loaded.length > 0) this.#wake?.();
  }

  #event(text: string): void {
    if (this.#loaded.length === waitingMax) return this.#end("too many files wait");
    try {
      const loaded = this.#load(JSON.parse(text) as ReceivedFile);
      // The caller that takes this promise gets its failure. Until then the failure must not count as unhandled.
      loaded.catch(() => {});
      this.#loaded.push(loaded);
    } catch {
      this.#end("an event is not JSON");
    }
  }

  #end(reason: string): void {
    this.#ended ??= reason;
    this.#wake?.();
  }
}
