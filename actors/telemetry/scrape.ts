/**
 * The endpoint that Prometheus and supervisors read over HTTP/1.1, one request a connection, everything bounded: `GET /metrics`,
 * `GET /healthz` (200 while the process answers), `GET /readyz` (200 while the node is ready, else 503 and why not).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type Server, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import { Data, Effect, type Scope } from "effect";
import type { ListenPlace } from "../config/telemetry_values.ts";

/** Concurrent connections: a scraper or two, and a person. */
export const scrapersMax = 16;
/** Bytes of a request's head. Prometheus sends some 300. */
export const headBytesMax = 8_192;
/** Time limit of a connection, in milliseconds. */
export const scrapeTimeoutMs = 5_000;
/** A page is cached for this long, in milliseconds: frequent requests cost the node nothing. */
export const pageLifeMs = 1_000;

/** The endpoint could not be opened. */
export class NotListening extends Data.TaggedError("NotListening")<{ readonly detail: string }> {
  override get message(): string {
    return `Cannot listen for metrics: ${this.detail}`;
  }
}

/** The page, and the address that serves it. */
export interface ScrapeOptions {
  readonly place: ListenPlace;
  /** The page; may throw, which answers 500. */
  readonly page: () => string;
  /** Why the node is not ready; undefined while it is. */
  readonly unready: () => string | undefined;
  /** Milliseconds. */
  readonly now: () => number;
  /** {@linkcode scrapeTimeoutMs} by default. */
  readonly timeoutMs?: number;
}

/** Listens until the scope closes. The result is the port, which matters where 0 was asked for. */
export function serveMetrics(options: ScrapeOptions): Effect.Effect<number, NotListening, Scope.Scope> {
  const { place, timeoutMs = scrapeTimeoutMs } = options;
  const open = new Set<Socket>();
  /** Those that have sent no whole request, the oldest first. */
  const silent = new Set<Socket>();
  const forget = (socket: Socket) => {
    open.delete(socket);
    silent.delete(socket);
  };
  const pages = pagesOf(options);
  const acquire = Effect.callback<Server, NotListening>((resume) => {
    const server = makeServer(pages, (socket) => silent.delete(socket));
    server.on("connection", (socket: Socket) => {
      if (open.size >= scrapersMax) {
        const [oldest] = silent;
        if (oldest === undefined) return void socket.destroy();
        forget(oldest);
        oldest.destroy();
      }
      open.add(socket);
      silent.add(socket);
      const timer = setTimeout(() => socket.destroy(), timeoutMs);
      socket.on("error", () => {});
      socket.on("close", () => {
        clearTimeout(timer);
        forget(socket);
      });
    });
    server.on("error", (error) => resume(Effect.fail(new NotListening({ detail: error.message }))));
    server.listen(place.port, place.host, () => resume(Effect.succeed(server)));
  });
  const release = (server: Server) =>
    Effect.sync(() => {
      server.close();
      for (const socket of open) socket.destroy();
    });
  return Effect.map(Effect.acquireRelease(acquire, release), (server) => {
    const address = server.address();
    return typeof address === "object" && address !== null ? address.port : place.port;
  });
}

/** What a path answers; may throw, which answers 500. */
type Pages = ReadonlyMap<string, () => Answer>;

function pagesOf(options: ScrapeOptions): Pages {
  const page = remembering(options);
  return new Map<string, () => Answer>([
    ["/metrics", () => ({ status: 200, body: page() })],
    ["/healthz", () => ({ status: 200, body: "ok\n" })],
    ["/readyz", () => {
      const why = options.unready();
      return why === undefined ? { status: 200, body: "ready\n" } : { status: 503, body: `not ready: ${why}\n` };
    }],
  ]);
}

function remembering({ page, now }: ScrapeOptions): () => string {
  let made: { readonly text: string; readonly at: number } | undefined;
  return () => {
    const at = now();
    if (made === undefined || at < made.at || at - made.at >= pageLifeMs) made = { text: page(), at };
    return made.text;
  };
}

/** A server with this file's limits in place of its own, which differ between versions and runtimes. */
function makeServer(pages: Pages, onRequest: (socket: Socket) => void): Server {
  const options = { maxHeaderSize: headBytesMax, requireHostHeader: false, headersTimeout: 0, requestTimeout: 0 };
  const answered = new WeakSet<Socket>();
  const answer = (request: IncomingMessage, response: ServerResponse) => {
    if (answered.has(request.socket)) return; // a pipelined request: the connection ends with the first answer
    answered.add(request.socket);
    onRequest(request.socket);
    const { status, body, headers } = answerTo(request, pages);
    response.sendDate = false;
    response.writeHead(status, { ...headersOf(body), ...headers }).end(body);
  };
  const server = createServer(options, answer);
  server.on("checkContinue", answer); // the answer needs no body
  server.on("clientError", ({ code }: Error & { readonly code?: string }, socket) => {
    if (socket.writable) socket.end(refusal(code === "HPE_HEADER_OVERFLOW" ? 431 : 400));
  });
  return server;
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
}

function answerTo({ method, url = "", httpVersion }: IncomingMessage, pages: Pages): Answer {
  if (httpVersion !== "1.1" && httpVersion !== "1.0") return { status: 400, body: "" };
  const page = pages.get(url.split("?", 1)[0] ?? "");
  if (page === undefined) return { status: 404, body: "" };
  if (method !== "GET") return { status: 405, body: "", headers: { allow: "GET" } };
  try {
    return page();
  } catch {
    return { status: 500, body: "" };
  }
}

function headersOf(body: string): Readonly<Record<string, string>> {
  return {
    "content-type": "text/plain; version=0.0.4; charset=utf-8",
    "content-length": String(Buffer.byteLength(body)),
    "x-content-type-options": "nosniff",
    connection: "close",
  };
}

/** The answer to what is no HTTP: there is no request, and so no response object. */
function refusal(status: number): string {
  const headers = Object.entries(headersOf("")).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${headers}\r\n`;
}
