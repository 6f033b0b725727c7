/**
 * `POST /resources/receive`: files that peers push. Each is saved whole and then reported to the job as a server-sent event.
 *
 * One file at a time: the next stream is taken after the event before it was written. A job that reads slowly slows down its
 * pushers, and the worker buffers nothing.
 *
 * @module
 */
import type { ServerResponse } from "node:http";
import { Clock, Effect } from "effect";
import type { PeersReference } from "../../../transport/protocols/messages.ts";
import { saveStream } from "../copy.ts";
import type { TrainerLink } from "../trainer_link.ts";
import type { BridgeContext } from "./context.ts";
import { type BridgeProblem, connectorFailed, pathProblem } from "./problem.ts";

const defaultPath = "incoming";

/** Whether a job receives. It has one receive at a time; a second one gets an event stream that ends at once. */
export interface Receiving {
  active: boolean;
}

/** Answers with an event stream that lasts until the job closes it. */
export function receiveResource(
  { peers }: PeersReference,
  path: string | undefined,
  response: ServerResponse,
  receiving: Receiving,
  context: BridgeContext,
): Effect.Effect<void, BridgeProblem> {
  const into = path ?? defaultPath;
  const begin = Effect.mapError(context.directory.makeDirectory(into), pathProblem);
  return Effect.flatMap(begin, () => {
    response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
    if (receiving.active) return Effect.sync(() => void response.end());
    receiving.active = true;
    response.flushHeaders();
    return Effect.ensuring(
      context.link === undefined
        ? events(peers, into, response, context)
        : results(context.link, into, response, context),
      Effect.sync(() => {
        receiving.active = false;
        response.end();
      }),
    );
  });
}

function events(
  peers: readonly string[],
  into: string,
  response: ServerResponse,
  context: BridgeContext,
): Effect.Effect<void, BridgeProblem> {
  const { directory, jobId, limits, network, scope, report, count } = context;
  return Effect.scoped(Effect.gen(function* () {
    const from = peers.length > 0 ? peers : scope.receivesFrom;
    // Rounds are counted by results, which is possible with one sender of results only.
    const roundNow = () => from.length === 1 ? count.round : undefined;
    const receiver = yield* network.receive({ peers: from, round: roundNow() });
    const written = { at: yield* Clock.currentTimeMillis };
    yield* Effect.forkScoped(keepalive(response, written, limits.keepaliveMs));
    while (!response.destroyed) {
      const stream = yield* Effect.mapError(receiver.next, (error) => connectorFailed(error.detail));
      const file = `${into}/${stream.peer}`;
      const saved = yield* Effect.result(saveStream(stream, directory, file, limits));
      if (saved._tag === "Failure") {
        report({
          level: "warn",
          event: "job.receive.failed",
          message: `a file from ${stream.peer} was not received: ${saved.failure.message}`,
          fields: { job: jobId, peer: stream.peer, reason: saved.failure.message },
        });
        continue;
      }
      count.round += 1;
      count.samples = 0;
      receiver.allow(from, roundNow());
      const data = JSON.stringify({ path: file, size: saved.success, from_peer: stream.peer });
      yield* write(response, `data: ${data}\n\n`, limits.readerMs);
      written.at = yield* Clock.currentTimeMillis;
    }
  }));
}

/** The results of a training, which its link saves: from the oldest that the executor has not got. */
function results(
  link: TrainerLink,
  into: string,
  response: ServerResponse,
  { limits }: BridgeContext,
): Effect.Effect<void, BridgeProblem> {
  return Effect.scoped(Effect.gen(function* () {
    link.receiveInto(into);
    const written = { at: yield* Clock.currentTimeMillis };
    yield* Effect.forkScoped(keepalive(response, written, limits.keepaliveMs));
    while (!response.destroyed) {
      const result = yield* link.next;
      const { path, sizeBytes: size, peer: from_peer, round } = result;
      const data = JSON.stringify({ path, size, from_peer, round });
      yield* write(response, `data: ${data}\n\n`, limits.readerMs);
      link.handed(result);
      written.at = yield* Clock.currentTimeMillis;
    }
  }));
}

/** Writes a comment after `everyMs` without an event, unless the reader has unread bytes. */
function keepalive(response: ServerResponse, written: { at: number }, everyMs: number): Effect.Effect<never> {
  return Effect.forever(Effect.gen(function* () {
    const now = yield* Clock.currentTimeMillis;
    const due = written.at + everyMs;
    if (due > now) return yield* Effect.sleep(Math.min(due - now, everyMs));
    if (!response.writableNeedDrain) response.write(": keepalive\n\n");
    written.at = now;
  }));
}

/** Writes and waits until the reader has room again. Fails when the reader takes no bytes for `readerMs`. */
function write(response: ServerResponse, text: string, readerMs: number): Effect.Effect<void, BridgeProblem> {
  return Effect.callback<void>((resume) => {
    if (response.write(text)) return resume(Effect.void);
    const done = () => resume(Effect.void);
    response.once("drain", done);
    return Effect.sync(() => response.off("drain", done));
  }).pipe(Effect.timeoutOrElse({
    duration: readerMs,
    orElse: () => {
      response.destroy();
      return Effect.fail(connectorFailed(`the job read nothing for ${readerMs} ms`));
    },
  }));
}
