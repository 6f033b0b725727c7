/**
 * The bridge's routes: reads each request, calls its handler and writes the answer.
 *
 * @module
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Effect } from "effect";
import {
  fromJson,
  peersReferenceSchema,
  progressResponseSchema,
  progressSchema,
  receiveReferenceSchema,
  referenceSchema,
  toJson,
} from "../../../transport/protocols/mod.ts";
import type { Peer, Progress, Receipt } from "../../../transport/protocols/messages.ts";
import { field, readJson, shaped, textField, wrongShape } from "./body.ts";
import type { BridgeContext } from "./context.ts";
import { fetchResource } from "./fetch.ts";
import { openApiJson } from "./openapi.ts";
import { type BridgeProblem, networkFailed, outOfScope } from "./problem.ts";
import { receiveResource, type Receiving } from "./receive.ts";
import { sendResource, type StartSend } from "./send.ts";

/** One request, and the state that serving it needs. */
export interface Served {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly context: BridgeContext;
  readonly receiving: Receiving;
  readonly startSend: StartSend;
}

interface Route {
  readonly method: "GET" | "POST";
  serve(served: Served): Effect.Effect<void, BridgeProblem>;
}

const routes: ReadonlyMap<string, Route> = new Map<string, Route>([
  ["/openapi.json", { method: "GET", serve: ({ response }) => Effect.sync(() => writeJson(response, openApiJson)) }],
  ["/resources/fetch", { method: "POST", serve: serveFetch }],
  ["/resources/send", { method: "POST", serve: serveSend }],
  ["/resources/receive", { method: "POST", serve: serveReceive }],
  ["/status/send", { method: "POST", serve: serveStatus }],
]);

/** Whether a request may last as long as its job: results are received as a stream of events. */
export function isOpenEnded({ url = "" }: IncomingMessage): boolean {
  return url.startsWith("/resources/receive");
}

/** Serves a request: 404 for an unknown route, 405 with `allow` for another method. */
export function serveRoute(served: Served): Effect.Effect<void, BridgeProblem> {
  const { request, response } = served;
  const [path = ""] = (request.url ?? "").split("?");
  const route = routes.get(path);
  if (route !== undefined && route.method === request.method) return route.serve(served);
  return Effect.sync(() => {
    response.writeHead(route === undefined ? 404 : 405, {
      ...(route === undefined ? {} : { allow: route.method }),
      "content-length": "0",
      ...(request.complete ? {} : { connection: "close" }),
    });
    response.end();
  });
}

function serveFetch({ request, response, context }: Served): Effect.Effect<void, BridgeProblem> {
  return Effect.gen(function* () {
    const body = yield* readJson(request, context.limits);
    const reference = yield* shaped(fromJson(referenceSchema, body));
    if (!context.scope.fetches(reference)) {
      return yield* Effect.fail(outOfScope("the job's specification does not name this reference"));
    }
    writeJson(response, JSON.stringify(yield* fetchResource(reference, context)));
  });
}

function serveSend({ request, response, context, startSend }: Served): Effect.Effect<void, BridgeProblem> {
  return Effect.gen(function* () {
    const body = yield* readJson(request, context.limits);
    const reference = yield* shaped(fromJson(peersReferenceSchema, yield* field(body, "resource")));
    const path = yield* textField(body, "path");
    yield* within(reference.peers, (peer) => context.scope.sendsTo(peer), "send to");
    yield* sendResource(reference, path, context, startSend);
    response.writeHead(200, { "content-length": "0" });
    response.end();
  });
}

function serveReceive({ request, response, context, receiving }: Served): Effect.Effect<void, BridgeProblem> {
  return Effect.gen(function* () {
    const body = yield* readJson(request, context.limits);
    const reference = yield* shaped(fromJson(receiveReferenceSchema, yield* field(body, "resource")));
    const path = yield* field(body, "path");
    if (path !== undefined && path !== null && typeof path !== "string") {
      return yield* Effect.fail(wrongShape("path", "expected a string"));
    }
    yield* within(reference.peers, (peer) => context.scope.receivesFrom.includes(peer), "receive from");
    yield* receiveResource(reference, path ?? undefined, response, receiving, context);
  });
}

function within(
  peers: readonly Peer[],
  isNamed: (peer: Peer) => boolean,
  what: string,
): Effect.Effect<void, BridgeProblem> {
  const stranger = peers.find((peer) => !isNamed(peer));
  return stranger === undefined
    ? Effect.void
    : Effect.fail(outOfScope(`the job's specification names no ${stranger.slice(0, 128)} to ${what}`));
}

function serveStatus({ request, response, context }: Served): Effect.Effect<void, BridgeProblem> {
  return Effect.gen(function* () {
    const body = yield* readJson(request, context.limits);
    const progress = yield* shaped(fromJson(progressSchema, body));
    const receipt = yield* receiptOf(progress, request, context);
    const answer = yield* Effect.mapError(
      context.network.request(
        context.scheduler,
        "/hypha-progress/0.0.1",
        { job_id: context.jobId, progress, ...receipt },
        context.limits.exchangeMs,
      ),
      networkFailed,
    );
    if (typeof progress === "object" && "status" in progress) {
      context.count.samples += progress.status.batch_size;
      context.link?.countSamples(progress.status.batch_size);
    }
    writeJson(response, toJson(progressResponseSchema, answer));
  });
}

/** What a trainer has after a result, for the scheduler: beside `update-received`. */
function receiptOf(
  progress: Progress,
  { url = "" }: IncomingMessage,
  { link }: BridgeContext,
): Effect.Effect<{ readonly receipt?: Receipt }, BridgeProblem> {
  const query = new URLSearchParams(url.split("?")[1]);
  const parameters = query.get("parameters");
  const round = query.get("round");
  if (parameters !== null && !/^[0-9a-f]{64}$/.test(parameters)) {
    return Effect.fail(wrongShape("parameters", "expected 64 hexadecimal digits"));
  }
  if (round !== null && !/^[0-9]{1,9}$/.test(round)) {
    return Effect.fail(wrongShape("round", "expected a round's number"));
  }
  if (progress !== "update-received" || link === undefined) return Effect.succeed({});
  if (round !== null && !link.mayHave(Number(round))) {
    return Effect.fail(wrongShape("round", `no result of round ${round} was received since the last report`));
  }
  return Effect.map(
    link.applied(round === null ? undefined : Number(round)),
    (round) => ({ receipt: { round, ...(parameters === null ? {} : { parameters }) } }),
  );
}

function writeJson(response: ServerResponse, body: string): void {
  response.writeHead(200, {
    "content-type": "application/json",
    "content-length": String(new TextEncoder().encode(body).length),
  });
  response.end(body);
}
