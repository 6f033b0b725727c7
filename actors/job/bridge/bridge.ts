/**
 * The job bridge: HTTP/1.1 over a Unix socket in the job's work directory, the only way out an executor needs.
 *
 * The socket is reachable by the worker's own user only, from its first instant: it is bound under a umask of 0177 inside
 * a 0700 directory. Requests, bodies, connections and background copies are bounded (`limits.ts`); what a request started
 * ends with it, and everything ends with the scope.
 *
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import process from "node:process";
import { Data, Effect, FiberSet, type Scope } from "effect";
import type { BridgeContext } from "./context.ts";
import { BridgeProblem, busy } from "./problem.ts";
import { serveRoute } from "./routes.ts";
import { type BridgeToken, isAuthorized } from "./token.ts";
import type { StartSend } from "./send.ts";

/** A standing bridge. */
export interface Bridge {
  /** For the executor. */
  readonly socketPath: string;
  /** Waits until no copy to a peer is under way any more: a job may end right after its last send. */
  readonly sendsDone: Effect.Effect<void>;
}

/** The socket could not be bound. */
export class BridgeNotOpened extends Data.TaggedError("BridgeNotOpened")<{
  readonly path: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot open job bridge at ${this.path}: ${this.detail}`;
  }
}

const socketName = "bridge.sock";

/** Opens a job's bridge; it closes with the scope, and what it was doing is interrupted. */
export function openBridge(
  context: BridgeContext,
  token: BridgeToken,
): Effect.Effect<Bridge, BridgeNotOpened, Scope.Scope> {
  return Effect.gen(function* () {
    const requests = yield* FiberSet.make<void, never>();
    const sends = yield* FiberSet.make<void, never>();
    const runRequest = yield* FiberSet.runtime(requests)<never>();
    const runSend = yield* FiberSet.runtime(sends)<never>();
    let underWay = 0, copies = 0;
    const startSend: StartSend = (copy) => {
      if (copies >= context.limits.sendsMax) return false;
      copies += 1;
      runSend(Effect.ensuring(copy, Effect.sync(() => copies -= 1)));
      return true;
    };
    const receiving = { active: false };
    const refusals = { scope: 0 };
    const handle = (request: IncomingMessage, response: ServerResponse) => {
      const served = !isAuthorized(request.headers.authorization, token)
        ? Effect.fail(new BridgeProblem({ status: 401, error: "unauthorized", detail: "BRIDGE_TOKEN is required" }))
        : underWay >= context.limits.requestsMax
        ? Effect.fail(busy("too many requests are under way"))
        : serveRoute({ request, response, context, receiving, startSend });
      underWay += 1;
      const fiber = runRequest(
        answered(served, response, { ...context, refusals }).pipe(
          Effect.ensuring(Effect.sync(() => underWay -= 1)),
        ),
      );
      response.once("close", () => fiber.interruptUnsafe());
      response.on("error", () => {/* the job went away; `close` follows */});
    };
    const server = createServer(handle);
    bound(server, context);
    const path = context.directory.path;
    yield* Effect.acquireRelease(
      Effect.andThen(
        listen(server, context.directory.socketAddress(socketName), path),
        Effect.mapError(
          context.directory.giveSocket(socketName),
          (error) => new BridgeNotOpened({ path, detail: error.message }),
        ),
      ),
      () => close(server),
    );
    return { socketPath: `${path}/${socketName}`, sendsDone: FiberSet.awaitEmpty(sends) };
  });
}

/** Slow and idle connections end, and there are never more than `connectionsMax`. */
function bound(server: Server, { limits }: BridgeContext): void {
  server.headersTimeout = limits.bodyMs;
  // A request whose body is slow is answered by `body.ts`; this one is for what never becomes a request.
  server.requestTimeout = limits.bodyMs * 2;
  let connections = 0;
  server.on("connection", (socket: Socket) => {
    connections += 1;
    socket.once("close", () => connections -= 1);
    if (connections > limits.connectionsMax) socket.destroy();
  });
  server.on("clientError", (_, socket) => socket.destroy());
}

/** Turns a problem into its answer; a defect is told as `internal_error` and reported. */
function answered(
  served: Effect.Effect<void, BridgeProblem>,
  response: ServerResponse,
  { report, jobId, refusals }: BridgeContext & { readonly refusals: { scope: number } },
): Effect.Effect<void> {
  const answer = (problem: BridgeProblem) =>
    Effect.sync(() => {
      const isScope = problem.error === "job-scope";
      if (isScope) refusals.scope += 1;
      // A job may ask as often as it likes: the first, and then each power of two, are said aloud.
      const aloud = problem.status >= 500 || (isScope && (refusals.scope & (refusals.scope - 1)) === 0);
      report({
        level: aloud ? "warn" : "debug",
        event: isScope ? "job.refused-scope" : "job.bridge.problem",
        message: problem.message,
        fields: {
          job: jobId,
          status: problem.status,
          error: problem.error,
          ...(isScope ? { code: "job-scope", count: refusals.scope } : {}),
        },
      });
      writeProblem(response, problem);
    });
  return served.pipe(
    Effect.catch(answer),
    Effect.catchDefect((defect) =>
      answer(new BridgeProblem({ status: 500, error: "internal_error", detail: String(defect) }))
    ),
  );
}

function writeProblem(response: ServerResponse, { status, error, detail }: BridgeProblem): void {
  if (response.headersSent || response.destroyed) return void response.destroy();
  const body = error === undefined ? detail : JSON.stringify({ error, detail });
  response.writeHead(status, {
    "content-type": error === undefined ? "text/plain; charset=utf-8" : "application/json",
    "content-length": String(new TextEncoder().encode(body).length),
    ...(status === 401 ? { "www-authenticate": "Bearer" } : {}),
    // What is left of a body that was not read would be taken for the next request.
    ...(response.req.complete ? {} : { connection: "close" }),
  });
  response.end(body);
}

function listen(server: Server, address: string, path: string): Effect.Effect<void, BridgeNotOpened> {
  return Effect.callback((resume) => {
    const fail = (error: Error) => resume(Effect.fail(new BridgeNotOpened({ path, detail: error.message })));
    server.once("error", fail);
    server.once("listening", () => {
      server.off("error", fail);
      resume(Effect.void);
    });
    // Binding happens inside `listen`, on both runtimes: no other code runs under this umask.
    const before = process.umask(0o177);
    try {
      server.listen(address);
    } catch (error) {
      fail(error as Error);
    } finally {
      process.umask(before);
    }
  });
}

function close(server: Server): Effect.Effect<void> {
  return Effect.callback((resume) => {
    server.close(() => resume(Effect.void));
    server.closeAllConnections();
  });
}
