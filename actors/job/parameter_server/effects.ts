/**
 * The Effects of a parameter server: what its machine invokes.
 *
 * @module
 */
import { Effect } from "effect";
import type { PeerText, StreamHandle, TransportError } from "../../../transport/port.ts";
import type { AggregateConfig, JobSpec } from "../../../transport/protocols/messages.ts";
import { fromEffect } from "../../runtime/effect_actor.ts";
import { saveStream, sendFile } from "../copy.ts";
import { jobLimits } from "../limits.ts";
import type { AggregatorInput } from "../messages.ts";
import type { PushReceiver } from "../network.ts";
import { openPush } from "../peer_streams.ts";
import { aggregateUpdates, updatesMax } from "../../learning/mod.ts";
import type { Ports } from "../../runtime/ports.ts";
import { fromScoped } from "../../runtime/scoped_actor.ts";

/** Results sent at once: each holds a stream and a piece of a file. */
export const sendsAtOnceMax = 8;

/** A receiver that cannot be reached is tried again this often, so long apart in milliseconds: a key may be changing. */
export const openTriesMax = 3;
export const openAgainMs = 1_000;

const velocityFile = "outer/velocity.safetensors";

/** Updates that were not sent, and why. */
export interface Distributed {
  readonly failed: readonly { readonly peer: PeerText; readonly reason: string }[];
}

/** One push: a whole update, or one that broke off, which its sender may repeat. */
export type Saved =
  & { readonly peer: PeerText; readonly file: string }
  & (
    | { readonly type: "whole"; readonly sizeBytes: number }
    | { readonly type: "broken"; readonly reason: string }
  );

/** Lets pushes in for as long as it is held. */
export const receiver = fromScoped(
  "receiver",
  ({ job, peers }: { readonly ports: Ports; readonly job: AggregatorInput; readonly peers: readonly PeerText[] }) =>
    job.network.receive({ peers, waitingMax: updatesMax }),
);

/** The next push that was let in. */
export const push = fromEffect(
  "push",
  ({ receiver }: { readonly ports: Ports; readonly receiver: PushReceiver }) => receiver.next,
);

/** Saves one push, whole or not at all. */
export const saved = fromEffect(
  "saved",
  ({ job, stream, file }: {
    readonly ports: Ports;
    readonly job: AggregatorInput;
    readonly stream: StreamHandle;
    readonly file: string;
  }) =>
    saveStream(stream, job.directory, file, jobLimits).pipe(
      Effect.match({
        onSuccess: (sizeBytes): Saved => ({ type: "whole", peer: stream.peer, file, sizeBytes }),
        onFailure: (error): Saved => ({ type: "broken", peer: stream.peer, file, reason: error.message }),
      }),
    ),
);

/** The mean of a round's updates and the outer step. */
export const aggregated = fromEffect(
  "aggregated",
  ({ job, batch, out }: {
    readonly ports: Ports;
    readonly job: AggregatorInput;
    readonly batch: Readonly<Record<PeerText, string>>;
    readonly out: string;
  }) => {
    const { optimizer } = aggregateConfig(job.spec);
    const updates = Object.keys(batch).toSorted().map((peer) => batch[peer] as string);
    return aggregateUpdates(job.directory, { updates, velocity: velocityFile, out }, {
      learningRate: optimizer["learning-rate"],
      momentum: optimizer.momentum,
    });
  },
);

/** Sends a round's result to all, and removes the round's files. */
export const distributed = fromEffect(
  "distributed",
  ({ job, peers, out, spent }: {
    readonly ports: Ports;
    readonly job: AggregatorInput;
    readonly peers: readonly PeerText[];
    readonly out: string;
    readonly spent: readonly string[];
  }) =>
    Effect.gen(function* () {
      const outcomes = yield* Effect.forEach(
        peers,
        (peer) =>
          Effect.match(sendResult(job, peer, out), {
            onSuccess: () => undefined,
            onFailure: (error) => ({ peer, reason: error.message }),
          }),
        { concurrency: sendsAtOnceMax },
      );
      for (const file of [...spent, out]) yield* Effect.ignore(job.directory.remove(file));
      return { failed: outcomes.filter((outcome) => outcome !== undefined) };
    }),
);

/** Tells the scheduler that a round's result is out. */
export const reported = fromEffect(
  "reported",
  ({ job }: { readonly ports: Ports; readonly job: AggregatorInput }) =>
    job.network.request(
      job.scheduler,
      "/hypha-progress/0.0.1",
      { job_id: job.spec.job_id, progress: "updated" },
      jobLimits.exchangeMs,
    ),
);

function sendResult({ network, directory }: AggregatorInput, peer: PeerText, out: string) {
  return Effect.scoped(Effect.gen(function* () {
    const file = yield* directory.openForReading(out);
    const stream = yield* openPatiently(network, peer, openTriesMax);
    yield* sendFile(file, stream, jobLimits);
  }));
}

/** Nothing was sent before the stream is there: only until then may it be tried again, or a result would come twice. */
function openPatiently(
  network: AggregatorInput["network"],
  peer: PeerText,
  tries: number,
): Effect.Effect<StreamHandle, TransportError> {
  return Effect.catch(
    openPush(network, peer, jobLimits.exchangeMs),
    (error) =>
      tries > 1
        ? Effect.andThen(Effect.sleep(openAgainMs), openPatiently(network, peer, tries - 1))
        : Effect.fail(error),
  );
}

/** The configuration of an `aggregate` job; another class never gets here (`worker.ts`). */
export function aggregateConfig({ executor }: JobSpec): AggregateConfig {
  if (executor.class !== "aggregate") throw new TypeError("Cannot aggregate: the job is of another class");
  return executor.config;
}
