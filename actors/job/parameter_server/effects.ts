/**
 * The Effects that the parameter server's machine invokes.
 *
 * @module
 */
import { Cause, Effect } from "effect";
import type { PeerText, StreamHandle, TransportError } from "../../../transport/port.ts";
import type { AggregateConfig, JobSpec, MemberReport, Progress } from "../../../transport/protocols/messages.ts";
import { membersReportedMax } from "../../../transport/protocols/mod.ts";
import { fromEffect } from "../../runtime/effect_actor.ts";
import { saveStream, sendFile } from "../copy.ts";
import { jobLimits } from "../limits.ts";
import type { AggregatorInput } from "../messages.ts";
import type { PushReceiver } from "../network.ts";
import { openPush } from "../peer_streams.ts";
import { labelOf } from "../training_network.ts";
import { aggregateUpdates, updatesMax } from "../../learning/mod.ts";
import type { Ports } from "../../runtime/ports.ts";
import { fromScoped } from "../../runtime/scoped_actor.ts";

/** Concurrent copies of a result: each holds a stream and a piece of a file. */
export const sendsAtOnceMax = 8;

/** Tries of reaching a receiver, and the pause between two in milliseconds: its key may be changing. */
export const openTriesMax = 3;
export const openAgainMs = 1_000;

const velocityFile = "outer/velocity.safetensors";

/** Results that were not sent, and why. */
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

/** Accepts pushes for as long as it is held. */
export const receiver = fromScoped(
  "receiver",
  ({ job, peers }: { readonly ports: Ports; readonly job: AggregatorInput; readonly peers: readonly PeerText[] }) =>
    job.network.receive({ peers, waitingMax: updatesMax, round: 1 }),
);

/** The next accepted push. */
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
    saveStream(stream, job.directory, file, job.limits ?? jobLimits).pipe(
      // A defect too: without an outcome the round would wait for this peer forever.
      Effect.matchCause({
        onSuccess: (sizeBytes): Saved => ({ type: "whole", peer: stream.peer, file, sizeBytes }),
        onFailure: (cause): Saved => ({ type: "broken", peer: stream.peer, file, reason: reasonOf(cause) }),
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

/** Sends a round's result to all receivers, and removes the round's files. */
export const distributed = fromEffect(
  "distributed",
  ({ job, round, peers, out, spent }: {
    readonly ports: Ports;
    readonly job: AggregatorInput;
    readonly round: number;
    readonly peers: readonly PeerText[];
    readonly out: string;
    readonly spent: readonly string[];
  }) =>
    Effect.gen(function* () {
      const outcomes = yield* Effect.forEach(
        peers,
        (peer) =>
          Effect.match(sendResult(job, { peer, out, round }), {
            onSuccess: () => undefined,
            onFailure: (error) => ({ peer, reason: error.message }),
          }),
        { concurrency: sendsAtOnceMax },
      );
      for (const file of [...spent, out]) yield* Effect.ignore(job.directory.remove(file));
      return { failed: outcomes.filter((outcome) => outcome !== undefined) };
    }),
);

/** What is told to the scheduler of a round. */
export interface RoundInput {
  readonly ports: Ports;
  readonly job: AggregatorInput;
  readonly round: number;
  readonly members: readonly MemberReport[];
}

/** Sends progress with the round's report. A scheduler that names no training is one of the existing network and gets no report. */
function tellScheduler({ job, round, members }: RoundInput, progress: Progress) {
  const report = { round, members: members.slice(0, membersReportedMax) };
  return job.network.request(
    job.scheduler,
    "/hypha-progress/0.0.1",
    { job_id: job.spec.job_id, progress, ...(job.network.training === undefined ? {} : { report }) },
    jobLimits.exchangeMs,
  );
}

/** Reports a finished round to the scheduler, with what became of each member. */
export const reported = fromEffect("reported", (input: RoundInput) => tellScheduler(input, "updated"));

/** Tells the scheduler whose updates the round misses. */
export const missed = fromEffect(
  "missed",
  (input: RoundInput) => tellScheduler(input, { metrics: { round: input.round, metrics: {} } }),
);

function reasonOf(cause: Cause.Cause<Error>): string {
  const error = Cause.squash(cause);
  return error instanceof Error ? error.message : String(error);
}

function sendResult(
  { network, directory, spec }: AggregatorInput,
  { peer, out, round }: { readonly peer: PeerText; readonly out: string; readonly round: number },
) {
  return Effect.scoped(Effect.gen(function* () {
    const file = yield* directory.openForReading(out);
    const stream = yield* openPatiently(network, peer, openTriesMax);
    yield* sendFile(file, stream, jobLimits, labelOf(network, { job: spec.job_id, round }));
  }));
}

/** Opening a stream may be repeated, because no byte was sent. A repeated copy could deliver the result twice. */
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

/** The configuration of an `aggregate` job. The worker refuses jobs of another class (`worker.ts`). */
export function aggregateConfig({ executor }: JobSpec): AggregateConfig {
  if (executor.class !== "aggregate") throw new TypeError("Cannot aggregate: the job is of another class");
  return executor.config;
}
