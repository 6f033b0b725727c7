/**
 * The admin socket of a running program: HTTP/1.1 and JSON on `state_dir/admin.sock`, for its operator alone.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { chmodSync, rmSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { Socket } from "node:net";
import { dirname } from "node:path";
import { Data, Effect, type Schema, type Scope } from "effect";
import { deniedByDeno } from "../files/denied.ts";
import { isLocked, lockFile } from "../files/file_lock.ts";
import { type AdminEvents, adminStreamsMax, streamEvents } from "./event_stream.ts";
import { shellWord } from "../files/shell_word.ts";

/** Connections at once: an operator's commands, one after another. */
export const adminConnectionsMax = 16;
/** Bytes of a request's body. */
export const adminBodyBytesMax = 65_536;
/** The longest path of a Unix socket on Linux, in bytes (`sun_path` less its end). */
const socketPathBytesMax = 107;
/** A connection without a request ends after this, in milliseconds. */
export const adminHeadMs = 5_000;
/** Time limit of a request, in milliseconds. */
export const adminTimeoutMs = 60_000;
/** That of a backup: a register of gigabytes on a slow disk takes minutes. */
export const adminBackupMs = 600_000;
/** An upload is given up when nothing comes for this long, in milliseconds; its files are synced within it. */
export const adminUploadMs = 600_000;

/** An answer; the body becomes JSON. */
export interface AdminAnswer {
  readonly status: number;
  readonly body: unknown;
}

/** Answers a body of JSON, which it checks itself: see {@linkcode jsonRoute}. */
export interface AdminRoute {
  (body: unknown): Promise<AdminAnswer>;
  /** What it does, in one line. */
  readonly summary?: string;
  /** Checks the body. */
  readonly schema?: Schema.Top;
  /** Time limit in milliseconds, where it is another than {@linkcode adminTimeoutMs}. */
  readonly timeoutMs?: number;
}

/** Takes a body of any length, piece by piece. What it leaves of the body is read and dropped. */
export interface AdminUpload {
  readonly summary?: string;
  readonly upload: (body: AsyncIterator<Uint8Array>) => Promise<AdminAnswer>;
}

/** What a program lets its operator do, by method and path: `POST /ca/token`. */
export type AdminRoutes = Readonly<Record<string, AdminRoute | AdminUpload | AdminEvents>>;

/** The socket could not be opened. */
export class AdminNotServed extends Data.TaggedError("AdminNotServed")<{
  readonly path: string;
  readonly detail: string;
  /** Whether another process listens on it. */
  readonly isTaken: boolean;
}> {
  override get message(): string {
    return `Cannot open admin socket ${this.path}: ${this.detail}`;
  }
}

/**
 * Serves until the scope closes, and describes the routes at `GET /openapi.json`. The socket is 0600, in a folder that others cannot
 * enter; one that a dead process left is replaced, one that a process listens on is not. The lock `PATH-lock` is held as long, since to look
 * whether it is served and to take its path are two steps: of two programs that start at once, one serves.
 */
export function serveAdmin(path: string, routes: AdminRoutes): Effect.Effect<void, AdminNotServed, Scope.Scope> {
  const fail = (detail: string) => new AdminNotServed({ path, detail, isTaken: false });
  const wrong = (error: unknown) => fail(deniedByDeno(error) ?? detailOf(error));
  const taken = new AdminNotServed({ path, detail: "another process serves it", isTaken: true });
  const open = new Map<Socket, Timer>();
  const listen = Effect.callback<Server, AdminNotServed>((resume) => {
    const server = makeServer(described(routes), open);
    server.on("error", (error: Error) => resume(Effect.fail(wrong(error))));
    try {
      server.listen(path, () => {
        try {
          chmodSync(path, 0o600);
          resume(Effect.succeed(server));
        } catch (error) { // another process took its path away
          server.close();
          resume(Effect.fail(wrong(error)));
        }
      });
    } catch (error) { // Deno, without the permission
      resume(Effect.fail(wrong(error)));
    }
  });
  const release = (server: Server) =>
    Effect.sync(() => {
      server.close();
      for (const socket of open.keys()) socket.destroy();
      try {
        rmSync(path, { force: true });
      } catch {
        // The next start replaces it, or says what is wrong with it.
      }
    });
  return Effect.gen(function* () {
    const pathBytes = Buffer.byteLength(path);
    if (pathBytes > socketPathBytesMax) {
      return yield* fail(
        `its path has ${pathBytes} bytes, and one of a socket ${socketPathBytesMax}: choose a shorter state_dir`,
      );
    }
    const folder = yield* Effect.try({ try: () => statSync(dirname(path), { throwIfNoEntry: false }), catch: wrong });
    if (folder === undefined) return yield* fail("its folder does not exist");
    if ((folder.mode & 0o077) !== 0) {
      return yield* fail(`others can enter its folder: chmod 700 ${shellWord(dirname(path))}`);
    }
    yield* Effect.acquireRelease(
      Effect.try({ try: () => lockFile(`${path}-lock`), catch: (error) => isLocked(error) ? taken : wrong(error) }),
      (lock) => Effect.sync(() => lock.close()),
    );
    // One without the lock: of an earlier version, or no program of ours.
    if (yield* Effect.mapError(isServed(path), wrong)) return yield* taken;
    yield* Effect.try({ try: () => rmSync(path, { force: true }), catch: wrong });
    yield* Effect.acquireRelease(listen, release);
  });
}

const detailOf = (error: unknown): string => error instanceof Error ? error.message : `${error}`;

/** The routes, and what describes them, which is loaded at the first request for it. */
function described(routes: AdminRoutes): AdminRoutes {
  const describe = async () => {
    const { describeRoutes } = await import("./describe_routes.ts");
    return { status: 200, body: describeRoutes(all) };
  };
  const all: AdminRoutes = {
    ...routes,
    "GET /openapi.json": Object.assign(describe, { summary: "Describe the routes of this socket." }),
  };
  return all;
}

/** What `connect` says of a path on which no process listens, and of one whose process has a full queue. */
const verdicts: Readonly<Record<string, boolean>> = { ENOENT: false, ECONNREFUSED: false, EAGAIN: true };

/** Whether a process listens on a socket; an error that does not tell is the failure. */
function isServed(path: string): Effect.Effect<boolean, unknown> {
  return Effect.callback<boolean, unknown>((resume) => {
    const socket = new Socket();
    const done = (served: Effect.Effect<boolean, unknown>) => {
      socket.destroy();
      resume(served);
    };
    socket.on("connect", () => done(Effect.succeed(true)));
    socket.on("error", (error: NodeJS.ErrnoException) => {
      const served = verdicts[error.code ?? ""];
      done(served === undefined ? Effect.fail(error) : Effect.succeed(served));
    });
    try {
      socket.connect(path);
    } catch (error) { // Deno, without the permission
      done(Effect.fail(error));
    }
  });
}

/** Ends a connection whose time is over. */
type Timer = ReturnType<typeof setTimeout>;

function makeServer(routes: AdminRoutes, open: Map<Socket, Timer>): Server {
  // A request has the time of its connection.
  const server = createServer({ headersTimeout: adminTimeoutMs, requestTimeout: 0 });
  let streams = 0;
  server.on("connection", (socket: Socket) => {
    if (open.size >= adminConnectionsMax) return void socket.destroy();
    open.set(socket, setTimeout(() => socket.destroy(), adminHeadMs));
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(open.get(socket));
      open.delete(socket);
    });
  });
  server.on("clientError", (_error: Error, socket: Socket) => socket.destroy());
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    const allow = (ms: number) => {
      if (!open.has(request.socket)) return; // it has closed: its place is free, and stays so
      clearTimeout(open.get(request.socket));
      open.set(request.socket, setTimeout(() => request.socket.destroy(), ms));
    };
    const stream = (events: AdminEvents) => {
      if (streams >= adminStreamsMax) return reply(response, tooManyStreams);
      streams += 1;
      clearTimeout(open.get(request.socket));
      streamEvents(events, response, () => streams -= 1);
    };
    allow(adminTimeoutMs);
    handle(routes, { request, response, allow, stream }).catch(() => response.destroy());
  });
  return server;
}

const tooManyStreams: AdminAnswer = {
  status: 503,
  body: { code: "too-many-streams", error: `${adminStreamsMax} readers follow the events: end one of them` },
};

interface Handled {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Gives the connection this time, in milliseconds, from now on. */
  readonly allow: (ms: number) => void;
  /** Streams events over the connection, which has no time limit from now on. */
  readonly stream: (events: AdminEvents) => void;
}

async function handle(routes: AdminRoutes, { request, response, allow, stream }: Handled): Promise<void> {
  const name = `${request.method} ${(request.url ?? "").split("?", 1)[0]}`;
  const route = Object.hasOwn(routes, name) ? routes[name] : undefined;
  if (route === undefined) return reply(response, { status: 404, body: { error: "no such route" } });
  if ("follow" in route) {
    request.resume();
    return stream(route);
  }
  if ("upload" in route) {
    const body = touching(request, () => allow(adminUploadMs));
    const answer = await route.upload(body);
    while ((await body.next()).done !== true);
    return reply(response, answer);
  }
  const text = await readText(request);
  if (text === undefined) return reply(response, { status: 413, body: { error: "the body is too long" } });
  let body: unknown;
  try {
    body = text === "" ? {} : JSON.parse(text);
  } catch {
    return reply(response, { status: 400, body: { error: "the body is not JSON" } });
  }
  if (route.timeoutMs !== undefined) allow(route.timeoutMs);
  reply(response, await route(body));
}

/** The body's pieces, each of which gives the connection more time. */
async function* touching(request: IncomingMessage, extend: () => void): AsyncGenerator<Uint8Array, void> {
  extend();
  for await (const part of request as AsyncIterable<Uint8Array>) {
    extend();
    yield part;
  }
}

/** The body; undefined where it is too long. */
async function readText(request: IncomingMessage): Promise<string | undefined> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of request as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size <= adminBodyBytesMax) parts.push(part);
  }
  return size <= adminBodyBytesMax ? Buffer.concat(parts).toString("utf8") : undefined;
}

function reply(response: ServerResponse, { status, body }: AdminAnswer): void {
  const text = `${JSON.stringify(body)}\n`;
  const headers = {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    connection: "close",
  };
  response.writeHead(status, headers).end(text);
}
