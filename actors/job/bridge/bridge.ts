/**
 * The job bridge: HTTP/1.1 over a Unix socket in the job's work directory, the only connection an executor needs.
 *
 * Only the worker's own user can reach the socket, from the start: it is bound under a umask of 0177 inside a 0700 directory.
 * Requests, bodies, connections and background copies are bounded (`limits.ts`). A request's work ends with the request, and
 * everything ends with the scope.
 *
 * @module
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import process from "node:process";
import { Data, Effect, type Fiber, FiberSet, type Scope } from "effect";
import { watchActivity } from "./activity.ts";
import type { BridgeContext } from "./context.ts";
import { BridgeProblem, busy } from "./problem.ts";
import { isOpenEnded, serveRoute } from "./routes.ts";
import { type BridgeToken, isAuthorized } from "./token.ts";
import type { StartSend } from "./send.ts";
import { rareLines } from "../rare_lines.ts";

/** An open bridge. */
export interface Bridge {
  /** The socket for the executor. */
  readonly socketPath: string;
  /** Waits for running copies to peers: a job may end right after its last send. */
  readonly sendsDone: Effect.Effect<void>;
  /** Milliseconds since the executor last used it; 0 while it fetches or sends. Absent in a simulation. */
  readonly idleMs?: () => number;
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

/** Opens a job's bridge. Closing the scope closes it and interrupts its requests and copies. */
export function openBridge(
  context: BridgeContext,
  token: BridgeToken,
): Effect.Effect<Bridge, BridgeNotOpened, Scope.Scope> {
  return Effect.gen(function* () {
    const requests = yield* FiberSet.make<void, never>();
    const sends = yield* FiberSet.make<void, never>();
    const runRequest = yield* FiberSet.runtime(requests)<never>();
    const runSend = yield* FiberSet.runtime(sends)<never>();
    const activity = watchActivity(context.now);
    let underWay = 0;
    /** One of each running copy. */
    const cuts = new Set<Effect.Effect<void>>();
    const startSend: StartSend = (copy, tellCut) => {
      if (cuts.size >= context.limits.sendsMax) return false;
      cuts.add(tellCut);
      const endUse = activity.begin();
      runSend(Effect.ensuring(
        copy,
        Effect.sync(() => {
          cuts.delete(tellCut);
          endUse();
        }),
      ));
      return true;
    };
    const receiving = { active: false };
    const interruptWith = interruptsOfConnections();
    const refusals = { scope: 0 };
    const rare = { ...context, report: rareLines(context.report, context.now) };
    const handle = (request: IncomingMessage, response: ServerResponse) => {
      const isOwn = isAuthorized(request.headers.authorization, token);
      const endUse = isOwn ? isOpenEnded(request) ? activity.note() : activity.begin() : undefined;
      const served = !isOwn
        ? Effect.fail(new BridgeProblem({ status: 401, error: "unauthorized", detail: "BRIDGE_TOKEN is required" }))
        : underWay >= context.limits.requestsMax
        ? Effect.fail(busy("too many requests are under way"))
        : serveRoute({ request, response, context: rare, receiving, startSend });
      underWay += 1;
      const fiber = runRequest(
        answered(served, response, { ...context, refusals, rare: rare.report }).pipe(
          Effect.ensuring(Effect.sync(() => {
            underWay -= 1;
            endUse?.();
          })),
        ),
      );
      response.once("close", () => fiber.interruptUnsafe());
      interruptWith(request.socket, fiber);
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
    // Runs first: closing the server and the copies takes time, and what is cut is reported before the job's end.
    yield* Effect.addFinalizer(() => Effect.forEach(cuts, (tellCut) => tellCut, { discard: true }));
    return { socketPath: `${path}/${socketName}`, sendsDone: FiberSet.awaitEmpty(sends), idleMs: activity.idleMs };
  });
}

/** Interrupts requests when their connection closes: on Deno a response that waits behind another emits no `close`. */
function interruptsOfConnections(): (socket: Socket, fiber: Fiber.Fiber<void>) => void {
  const underWay = new WeakMap<Socket, Set<Fiber.Fiber<void>>>();
  return (socket, fiber) => {
    let fibers = underWay.get(socket);
    if (fibers === undefined) {
      const begun = fibers = new Set();
      underWay.set(socket, begun);
      socket.once("close", () => begun.forEach((each) => each.interruptUnsafe()));
    }
    fibers.add(fiber);
    fiber.addObserver(() => fibers.delete(fiber));
  };
}

/** Ends slow and idle connections, and limits their number to `connectionsMax`. */
function bound(server: Server, { limits }: BridgeContext): void {
  server.headersTimeout = limits.bodyMs;
  // `body.ts` answers requests with a slow body; this limit is for connections that never send a whole head.
  server.requestTimeout = limits.bodyMs * 2;
  let connections = 0;
  server.on("connection", (socket: Socket) => {
    connections += 1;
    socket.once("close", () => connections -= 1);
    if (connections > limits.connectionsMax) socket.destroy();
  });
  server.on("clientError", (_, socket) => socket.destroy());
}

/** Turns a problem into its answer. A defect is answered with `internal_error` and reported. */
function answered(
  served: Effect.Effect<void, BridgeProblem>,
  response: ServerResponse,
  { report, rare, jobId, refusals }: BridgeContext & {
    readonly refusals: { scope: number };
    readonly rare: BridgeContext["report"];
  },
): Effect.Effect<void> {
  const answer = (problem: BridgeProblem) =>
    Effect.sync(() => {
      const isScope = problem.error === "job-scope";
      if (isScope) refusals.scope += 1;
      // A job may repeat requests outside its scope: the first, and each power of two, are logged as warnings.
      const aloud = problem.status >= 500 || (isScope && (refusals.scope & (refusals.scope - 1)) === 0);
      (isScope ? report : rare)({
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
    // The rest of an unread body would be parsed as the next request.
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
