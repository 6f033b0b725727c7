/**
 * An executor's end of the job bridge: HTTP/1.1 over the job's Unix socket.
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { Agent, type IncomingMessage, request } from "node:http";
import { Data, Result } from "effect";
import { fromJson, progressResponseSchema } from "../../transport/protocols/mod.ts";
import type { PeersReference, Progress, ProgressResponse, Reference } from "../../transport/protocols/messages.ts";

/** How to reach the bridge. */
export interface BridgeOptions {
  /** `SOCKET_PATH`. */
  readonly socketPath: string;
  /** `BRIDGE_TOKEN`, if the worker gave one. */
  readonly token?: string | undefined;
  /** The wait before the second attempt, in milliseconds. It doubles for each further attempt. 200 by default. */
  readonly retryMs?: number;
}

/** A file in the work directory, as the bridge names it. */
export interface BridgeFile {
  /** Inside `WORK_DIR`. */
  readonly path: string;
  /** In bytes. */
  readonly size: number;
}

/** A file that a peer pushed. */
export interface ReceivedFile extends BridgeFile {
  /** PeerID of the sender. */
  readonly from_peer: string;
  /** Of a result of a training whose model the scheduler keeps. */
  readonly round?: number;
}

/** An open receive: the loaded files, in the order of their arrival. */
export interface Receiving<T> {
  /** Waits for the next file; fails when the bridge ends the stream or after `timeoutMs`. */
  next(timeoutMs: number): Promise<T>;
  /** Returns a file that has already arrived, if any. */
  waiting(): Promise<T> | undefined;
  /** Ends the receive. */
  close(): void;
}

/** The bridge refused the request, or no attempt reached it. */
export class BridgeFailed extends Data.TaggedError("BridgeFailed")<{
  /** What failed, such as `post /status/send`. */
  readonly doing: string;
  /** The HTTP status of the last attempt; undefined where none was answered. */
  readonly status: number | undefined;
  readonly detail: string;
}> {
  override get message(): string {
    const { doing, status, detail } = this;
    return `Cannot ${doing}: ${[status, detail].filter((part) => part !== undefined && part !== "").join(" ")}`;
  }
}

const attemptsMax = 5;
const defaultRetryMs = 200;
/** Requests that the bridge serves at once, less the receive. */
const requestsMax = 63;
/** A longer timer would end at once. */
const timerMaxMs = 2_147_483_647;
const answerMaxBytes = 1_048_576;
const answerTimeoutMs = 120_000;
/** The worker gives up a fetch that makes no progress itself. */
const fetchTimeoutMs = 86_400_000;
/** A receive that is quiet for this long has lost its worker: the bridge writes a comment every 5 s. */
const quietMs = 60_000;
const eventMaxChars = 65_536;
const waitingMax = 64;

/**
 * Requests to the bridge of one job (`docs/executors.md`). Failures that may pass (no connection, 5xx) are tried five times; a refusal
 * (4xx) is final. Each method rejects with {@linkcode BridgeFailed}.
 */
export class BridgeClient {
  readonly #options: BridgeOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: requestsMax });

  constructor(options: BridgeOptions) {
    this.#options = options;
  }

  /** Fetches the files of a reference of the job, into `artifacts/`. A `scheduler` reference gives the next slice each time. */
  async fetch(reference: Reference): Promise<readonly BridgeFile[]> {
    const files = await this.post("/resources/fetch", reference);
    const named = Array.isArray(files) ? files.filter((file) => typeof file?.path === "string") : [];
    if (named.length > 0) return named as readonly BridgeFile[];
    throw new BridgeFailed({ doing: "fetch", status: undefined, detail: "the bridge named no file" });
  }

  /** Sends a file of the work directory to peers of the job. The copy goes on when this returns. */
  async send(peers: PeersReference, path: string): Promise<void> {
    await this.post("/resources/send", { resource: peers, path });
  }

  /**
   * Reports progress to the scheduler.
   *
   * @param parameters With `update-received`: SHA-256 of the parameters, hexadecimal, as a file with the header of the fetched one.
   * @param round With `update-received`: that of the last result that was applied.
   */
  async report(progress: Progress, parameters?: string, round?: number): Promise<ProgressResponse> {
    const given = Object.entries({ parameters, round }).filter(([, value]) => value !== undefined);
    const query = given.map(([name, value]) => `${name}=${value}`).join("&");
    const route = query === "" ? "/status/send" : `/status/send?${query}`;
    const read = fromJson(progressResponseSchema, await this.post(route, progress));
    if (Result.isSuccess(read)) return read.success;
    throw new BridgeFailed({ doing: `post ${route}`, status: 200, detail: read.failure.message });
  }

  /** Posts a JSON body and returns the JSON answer, `undefined` for an empty one. */
  post(route: string, body: unknown): Promise<unknown> {
    const doing = `post ${route}`;
    return this.#retried(doing, async () => {
      const { status, text } = await this.#exchange(route, body);
      if (status >= 200 && status < 300) return text === "" ? undefined : JSON.parse(text);
      throw new BridgeFailed({ doing, status, detail: text.slice(0, 1_000) });
    });
  }

  /** Tries again what may pass. */
  async #retried<A>(doing: string, tried: () => Promise<A>): Promise<A> {
    let failed = new BridgeFailed({ doing, status: undefined, detail: "" });
    for (let attempt = 0; attempt < attemptsMax; attempt++) {
      if (attempt > 0) await pause((this.#options.retryMs ?? defaultRetryMs) * 2 ** (attempt - 1));
      try {
        return await tried();
      } catch (error) {
        const detail = (error as Error).message;
        failed = error instanceof BridgeFailed ? error : new BridgeFailed({ doing, status: undefined, detail });
        if (failed.status !== undefined && failed.status < 500) break;
      }
    }
    throw failed;
  }

  async #exchange(route: string, body: unknown): Promise<{ status: number; text: string }> {
    const timeoutMs = route === "/resources/fetch" ? fetchTimeoutMs : answerTimeoutMs;
    const answer = await this.#request(route, body, this.#agent, timeoutMs);
    let text = "";
    answer.setEncoding("utf8");
    for await (const piece of answer as AsyncIterable<string>) {
      text += piece;
      if (text.length > answerMaxBytes) throw new Error(`an answer of more than ${answerMaxBytes} characters`);
    }
    return { status: answer.statusCode ?? 0, text };
  }

  #request(route: string, body: unknown, agent: Agent | false, timeoutMs: number): Promise<IncomingMessage> {
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
  async receive<T>(peers: PeersReference, load: (file: ReceivedFile) => Promise<T>): Promise<Receiving<T>> {
    const doing = "receive";
    const answer = await this.#retried(doing, async () => {
      const opened = await this.#request("/resources/receive", { resource: peers }, false, answerTimeoutMs);
      if (opened.statusCode === 200) return opened;
      opened.destroy();
      throw new BridgeFailed({ doing, status: opened.statusCode, detail: "" });
    });
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
  readonly #quiet: ReturnType<typeof setTimeout>;
  #rest = "";
  #ended: string | undefined;
  #wake: (() => void) | undefined;

  constructor(answer: IncomingMessage, load: (file: ReceivedFile) => Promise<T>) {
    this.#answer = answer;
    this.#load = load;
    this.#quiet = setTimeout(() => answer.destroy(new Error(`nothing for ${quietMs} ms: the worker is gone`)), quietMs);
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
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, Math.min(timeoutMs, timerMaxMs)));
    const came = new Promise<void>((resolve) => this.#wake = resolve);
    if (this.#loaded.length === 0 && this.#ended === undefined) await Promise.race([came, late]);
    clearTimeout(timer);
    const loaded = this.#loaded.shift();
    if (loaded !== undefined) return loaded;
    const detail = this.#ended ?? `nothing came within ${timeoutMs} ms`;
    throw new BridgeFailed({ doing: "receive", status: undefined, detail });
  }

  close(): void {
    this.#answer.destroy();
  }

  #take(piece: string): void {
    this.#quiet.refresh();
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
    clearTimeout(this.#quiet);
    this.#ended ??= reason;
    this.#wake?.();
  }
}
