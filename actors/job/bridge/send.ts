/**
 * `POST /resources/send`: copies a file of the job to peers, in the background.
 *
 * @module
 */
import { Deferred, Effect } from "effect";
import type { StreamHandle, TransportError } from "../../../transport/port.ts";
import type { Peer, PeersReference } from "../../../transport/protocols/messages.ts";
import { jobEnded, notKept } from "../copy.ts";
import type { ReadableFile } from "../../files/contained_files.ts";
import { openPush } from "../peer_streams.ts";
import { sendOnce, sendUntilSaved } from "../resend.ts";
import type { TrainerLink } from "../trainer_link.ts";
import { labelOf } from "../training_network.ts";
import type { WorkFileFailed } from "../../files/path_refused.ts";
import type { BridgeContext } from "./context.ts";
import { type BridgeProblem, busy, connectorFailed, copyProblem, invalidRequest, pathProblem } from "./problem.ts";

/** Peers of one send. */
const peersMax = 1_024;
/** Concurrent copies of one send. */
const concurrency = 8;

/**
 * Starts a copy that outlives its request. Returns false where too many copies are running.
 *
 * @param tellCut Reports what of the copy the end of the job cuts.
 */
export type StartSend = (copy: Effect.Effect<void>, tellCut: Effect.Effect<void>) => boolean;

/**
 * Accepts a send, and answers as soon as it is accepted. The file is opened before that, so that the copy has the content at the
 * time of the request. `All` opens its streams afterwards and reports failures in the log only; `One` and `Random` take the
 * first peer and open its stream before they answer. A trainer's update goes to the present aggregator of its training.
 */
export function sendResource(
  reference: PeersReference,
  path: string,
  context: BridgeContext,
  start: StartSend,
): Effect.Effect<void, BridgeProblem> {
  const { link } = context;
  if (link !== undefined) return sendUpdate(link, path, context);
  if (reference.peers.length > peersMax) return Effect.fail(invalidRequest(`more than ${peersMax} peers`));
  return Effect.gen(function* () {
    const accepted = yield* Deferred.make<void, BridgeProblem>();
    /** Peers of an accepted send that do not have the file yet. */
    const left = new Set<Peer>();
    const prepare = reference.strategy.type === "All"
      ? prepareAll(new Set(reference.peers), left, path, context)
      : prepareFirst(reference.peers[0], left, path, context);
    const copied = Effect.scoped(Effect.matchEffect(prepare, {
      onFailure: (problem) => Deferred.fail(accepted, problem),
      onSuccess: (copy) => Effect.andThen(Deferred.succeed(accepted, undefined), copy),
    }));
    const tellCut = Effect.suspend(() =>
      Effect.forEach(left, (peer) => tell(context, peer, path, jobEnded()), { discard: true })
    );
    const started = start(copied, tellCut);
    if (!started) return yield* Effect.fail(busy("too many copies to peers are under way"));
    yield* Deferred.await(accepted);
  });
}

/** The peers that the executor names stand for the training's aggregator. */
function sendUpdate(link: TrainerLink, path: string, context: BridgeContext): Effect.Effect<void, BridgeProblem> {
  return Effect.catch(
    link.send(path),
    (error) =>
      error._tag === "WorkFileFailed" && error.code === "not-found"
        ? tell(context, "the aggregator", path, error)
        : Effect.fail(pathProblem(error)),
  );
}

/** Accepts a missing file, as the existing workers do, and reports it in the log. */
function prepareAll(peers: ReadonlySet<Peer>, left: Set<Peer>, path: string, context: BridgeContext) {
  return context.directory.openForReading(path).pipe(
    Effect.map((file) => {
      for (const peer of peers) left.add(peer);
      return Effect.forEach(peers, (peer) =>
        openStream(peer, context).pipe(
          Effect.flatMap((stream) => copy(file, stream, path, context)),
          Effect.catch((problem) => tell(context, peer, path, problem)),
          Effect.tap(() => Effect.sync(() => left.delete(peer))),
        ), { concurrency, discard: true });
    }),
    Effect.catch((error) =>
      error._tag === "WorkFileFailed" && error.code === "not-found"
        ? Effect.succeed(Effect.forEach(peers, (peer) => tell(context, peer, path, error), { discard: true }))
        : Effect.fail(pathProblem(error))
    ),
  );
}

function prepareFirst(peer: Peer | undefined, left: Set<Peer>, path: string, context: BridgeContext) {
  return Effect.gen(function* () {
    const file = yield* Effect.mapError(context.directory.openForReading(path), pathProblem);
    if (peer === undefined) return yield* Effect.fail(connectorFailed("no peers provided"));
    const stream = yield* Effect.mapError(openStream(peer, context), copyProblem);
    left.add(peer);
    return copy(file, stream, path, context);
  });
}

function openStream(peer: Peer, { network, limits }: BridgeContext): Effect.Effect<StreamHandle, TransportError> {
  return openPush(network, peer, limits.exchangeMs);
}

function copy(file: ReadableFile, stream: StreamHandle, path: string, context: BridgeContext): Effect.Effect<void> {
  const { jobId: job, network, limits, count: { round, samples } } = context;
  const label = labelOf(network, { job, round, samples });
  const again = Effect.flatMap(openStream(stream.peer, context), (next) => sendOnce(file, next, limits, label));
  return Effect.matchEffect(sendUntilSaved(sendOnce(file, stream, limits, label), again), {
    onFailure: (error) => tell(context, stream.peer, path, error),
    onSuccess: (outcome) =>
      outcome === "refused" ? tell(context, stream.peer, path, notKept()) : Effect.sync(() =>
        context.report({
          level: "debug",
          event: "job.send.done",
          message: `${path} (${file.sizeBytes} bytes) sent to ${stream.peer}`,
          fields: { job: context.jobId, path, peer: stream.peer, sizeBytes: file.sizeBytes },
        })
      ),
  });
}

function tell(
  { report, jobId }: BridgeContext,
  peer: Peer,
  path: string,
  error: TransportError | WorkFileFailed,
): Effect.Effect<void> {
  return Effect.sync(() =>
    report({
      level: "warn",
      event: "job.send.failed",
      message: `${path} was not sent to ${peer}: ${error.message}`,
      fields: { job: jobId, path, peer, error: error.code, reason: error.message },
    })
  );
}
