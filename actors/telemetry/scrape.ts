/**
 * The endpoint that Prometheus reads: `GET /metrics` over HTTP/1.1, one request a connection, everything bounded. Plain
 * sockets, because the limits of an HTTP server differ between the runtimes.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type Server, type Socket } from "node:net";
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
  /** Milliseconds. */
  readonly now: () => number;
  /** {@linkcode scrapeTimeoutMs} by default. */
  readonly timeoutMs?: number;
}

/** Listens until the scope closes. The result is the port, which matters where 0 was asked for. */
export function serveMetrics(options: ScrapeOptions): Effect.Effect<number, NotListening, Scope.Scope> {
  const { place, timeoutMs = scrapeTimeoutMs } = options;
  const open = new Set<Socket>();
  const page = remembering(options);
  const acquire = Effect.callback<Server, NotListening>((resume) => {
    const server = createServer((socket) => {
      if (open.size >= scrapersMax) return void socket.destroy();
      open.add(socket);
      socket.on("close", () => open.delete(socket));
      answerOne(socket, page, timeoutMs);
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

function remembering({ page, now }: ScrapeOptions): () => string {
  let made: { readonly text: string; readonly at: number } | undefined;
  return () => {
    const at = now();
    if (made === undefined || at < made.at || at - made.at >= pageLifeMs) made = { text: page(), at };
    return made.text;
  };
}

function answerOne(socket: Socket, page: () => string, timeoutMs: number): void {
  let head = "";
  let answered = false;
  const timer = setTimeout(() => socket.destroy(), timeoutMs);
  socket.on("close", () => clearTimeout(timer));
  socket.on("error", () => {});
  socket.on("data", (piece: Buffer) => {
    if (answered) return;
    head += piece.toString("latin1");
    const end = head.indexOf("\r\n\r\n");
    if (end < 0 && head.length <= headBytesMax) return;
    answered = true;
    // Further bytes are not read; the other end gets the answer, then the end.
    socket.end(end >= 0 && end <= headBytesMax ? responseTo(head, page) : response(431, ""));
  });
}

function responseTo(head: string, page: () => string): string {
  const [method = "", target = ""] = (head.split("\r\n", 1)[0] ?? "").split(" ");
  if (!/^[A-Z]+ \S+ HTTP\/1\.[01]\r\n/.test(head)) return response(400, "");
  if (target.split("?", 1)[0] !== "/metrics") return response(404, "");
  if (method !== "GET") return response(405, "", "allow: GET\r\n");
  try {
    return response(200, page());
  } catch {
    return response(500, "");
  }
}

const reasons: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
};

function response(status: number, body: string, more = ""): string {
  return `HTTP/1.1 ${status} ${reasons[status]}\r\ncontent-type: text/plain; version=0.0.4; charset=utf-8\r\n` +
    `content-length: ${
      Buffer.byteLength(body)
    }\r\nx-content-type-options: nosniff\r\n${more}connection: close\r\n\r\n${body}`;
}
