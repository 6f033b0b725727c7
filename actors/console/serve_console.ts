/**
 * The console's server: one page for the operator of a node, on a loopback address of its machine.
 *
 * Other users of the machine reach the port too. They have no session, and what they can hold is bounded: connections without a session
 * have seconds, and give way to others.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { Data, Effect, type Scope } from "effect";
import type { AdminAnswer, AdminRoutes } from "../admin/serve_admin.ts";
import type { ListenPlace } from "../config/telemetry_values.ts";
import { deniedByDeno } from "../files/denied.ts";
import { admitRequest } from "./admit_request.ts";
import { consoleRoute } from "./console_routes.ts";
import { type Feed, type FeedParts, makeFeed } from "./feed.ts";
import { type ConsoleSession, cookieName, makeSession } from "./session.ts";

/** Connections at once. A browser opens six. */
export const consoleConnectionsMax = 64;
/** Bytes of a request's body: a name, a reason. */
export const consoleBodyBytesMax = 8_192;
/** Bytes of a request's head. */
export const consoleHeadBytesMax = 8_192;
/** A connection without a whole request ends after this, in milliseconds. */
export const consoleRequestMs = 5_000;
/** A connection between two requests ends after this, in milliseconds. */
const keepAliveMs = 5_000;

/** The page's files, as text. */
export interface PageFiles {
  readonly html: string;
  readonly js: string;
  readonly css: string;
}

/** What a console is served with. */
export interface ConsoleInit {
  readonly place: ListenPlace;
  readonly page: PageFiles;
  /** The routes of the admin socket; the page may use those of `console_routes.ts`. */
  readonly routes: AdminRoutes;
  /** What the feed shows. */
  readonly look: () => Promise<FeedParts>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly lookMs?: number;
}

/** A console that is open. */
export interface OpenConsole {
  readonly host: string;
  readonly port: number;
  /** The address, with the token that opens the console. */
  readonly url: string;
}

/** The console could not be opened. */
export class ConsoleNotServed extends Data.TaggedError("ConsoleNotServed")<{
  readonly place: ListenPlace;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot open console on ${this.place.host}, port ${this.place.port}: ${this.detail}`;
  }
}

/** Serves until the scope closes. */
export function serveConsole(init: ConsoleInit): Effect.Effect<OpenConsole, ConsoleNotServed, Scope.Scope> {
  const { place, now } = init;
  const fail = (detail: string) => Effect.fail(new ConsoleNotServed({ place, detail }));
  const session = makeSession();
  const feed = makeFeed({ look: init.look, now, ...(init.lookMs === undefined ? {} : { lookMs: init.lookMs }) });
  const open = new Map<Socket, Visitor>();
  const listen = Effect.callback<Server, ConsoleNotServed>((resume) => {
    const server = makeServer({ ...init, session, feed }, open);
    server.on("error", ({ message }: Error) => resume(fail(message)));
    try {
      server.listen(place.port, place.host, () => resume(Effect.succeed(server)));
    } catch (error) { // Deno, without the permission
      resume(fail(deniedByDeno(error) ?? String(error)));
    }
  });
  const release = (server: Server) =>
    Effect.sync(() => {
      feed.end();
      server.close();
      for (const socket of open.keys()) socket.destroy();
    });
  return Effect.map(Effect.acquireRelease(listen, release), (server) => {
    const { port } = server.address() as AddressInfo;
    const authority = authorityOf({ host: place.host, port });
    return { host: place.host, port, url: `http://${authority}/?token=${session.token}` };
  });
}

/** As a browser writes it into `Host`. Port 80 is left out there. */
function authorityOf({ host, port }: ListenPlace): string {
  return new URL(`http://${host.includes(":") ? `[${host}]` : host}:${port}`).host;
}

/** What a connection is: one that has shown the session's secrets does not give way to others. */
interface Visitor {
  isKnown: boolean;
}

interface Serving extends ConsoleInit {
  readonly session: ConsoleSession;
  readonly feed: Feed;
}

function makeServer(serving: Serving, open: Map<Socket, Visitor>): Server {
  const server = createServer({
    headersTimeout: consoleRequestMs,
    requestTimeout: consoleRequestMs,
    connectionsCheckingInterval: 1_000,
    keepAliveTimeout: keepAliveMs,
    maxHeaderSize: consoleHeadBytesMax,
  });
  server.on("connection", (socket: Socket) => {
    if (open.size >= consoleConnectionsMax) {
      const [stranger] = [...open].find(([, { isKnown }]) => !isKnown) ?? [];
      if (stranger === undefined) return void socket.destroy();
      open.delete(stranger);
      stranger.destroy();
    }
    open.set(socket, { isKnown: false });
    const timer = setTimeout(() => open.get(socket)?.isKnown !== true && socket.destroy(), consoleRequestMs);
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      open.delete(socket);
    });
  });
  server.on("clientError", (_error: Error, socket: Socket) => socket.destroy());
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const { port = 0 } = server.address() as AddressInfo;
    const known = () => {
      const visitor = open.get(request.socket);
      if (visitor !== undefined) visitor.isKnown = true;
    };
    handle(serving, { request, response, port, known }).catch(() => response.destroy());
  });
  return server;
}

interface Handled {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly port: number;
  /** The connection has shown the session. */
  readonly known: () => void;
}

async function handle(serving: Serving, { request, response, port, known }: Handled): Promise<void> {
  const { session, page, feed, routes, place: { host } } = serving;
  const { method = "", url = "", headers } = request;
  for (const [name, value] of Object.entries(pageHeaders)) response.setHeader(name, value);
  const admission = admitRequest({ method, url, headers }, { authority: authorityOf({ host, port }), port, session });
  if (admission.type === "refused") {
    const { status, code, error } = admission;
    return reply(response, { status, body: { code, error } }, "close");
  }
  known();
  if (admission.type === "entered") {
    const cookie = `${cookieName(port)}=${session.cookie}; Path=/; HttpOnly; SameSite=Strict`;
    return void response.writeHead(303, { "set-cookie": cookie, location: `/#${session.key}` }).end();
  }
  const path = url.split("?", 1)[0] ?? "";
  if (method === "GET") {
    const file = pageFile(page, path);
    if (file !== undefined) return void response.writeHead(200, { "content-type": file.type }).end(file.text);
    if (path !== "/feed") return reply(response, noSuchRoute);
    if (!feed.follow(response)) reply(response, tooManyReaders, "close");
    return;
  }
  const body = await readBody(request);
  if (body === undefined) return reply(response, { status: 413, body: { error: "the body is too long" } }, "close");
  const route = consoleRoute(routes, `${method} ${path}`);
  if (route === undefined) return reply(response, noSuchRoute);
  let asked: unknown;
  try {
    asked = body === "" ? {} : JSON.parse(body);
  } catch {
    return reply(response, { status: 400, body: { error: "the body is not JSON" } });
  }
  reply(response, await route(asked));
}

const noSuchRoute: AdminAnswer = { status: 404, body: { code: "no-route", error: "the console has no such route" } };
const tooManyReaders: AdminAnswer = {
  status: 503,
  body: { code: "too-many-readers", error: "the console is open in too many tabs: close some" },
};

function pageFile(
  { html, js, css }: PageFiles,
  path: string,
): { readonly type: string; readonly text: string } | undefined {
  switch (path) {
    case "/":
      return { type: "text/html; charset=utf-8", text: html };
    case "/page.js":
      return { type: "text/javascript; charset=utf-8", text: js };
    case "/page.css":
      return { type: "text/css; charset=utf-8", text: css };
    default:
      return undefined;
  }
}

/** Of every response. The page's own files are all that it may load; no other page may frame it or keep a handle to it. */
const pageHeaders: Readonly<Record<string, string>> = {
  "content-security-policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ].join("; "),
  "cache-control": "no-store",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=()",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

/** The body; undefined where it is too long. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size <= consoleBodyBytesMax) parts.push(part); // the rest is read and dropped, for as long as a request may take
  }
  return size <= consoleBodyBytesMax ? Buffer.concat(parts).toString("utf8") : undefined;
}

function reply(response: ServerResponse, { status, body }: AdminAnswer, connection?: "close"): void {
  const text = `${JSON.stringify(body)}\n`;
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    ...(connection === undefined ? {} : { connection }),
  }).end(text);
}
