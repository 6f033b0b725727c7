/**
 * The Effects that the parameter server's machine invokes.
 *
 * @module
 */
import { Cause, Data, Deferred, Effect, Schedule } from "effect";
import { type PeerText, type StreamHandle, TransportError } from "../../../transport/port.ts";
import type { AggregateConfig, JobSpec, MemberReport, Progress } from "../../../transport/protocols/messages.ts";
import { membersReportedMax } from "../../../transport/protocols/mod.ts";
import { fromEffect } from "../../runtime/effect_actor.ts";
import { attempt } from "../../files/file_operation.ts";
import type { PathError } from "../../files/path_refused.ts";
import { aggregationDefault } from "../../config/defaults.ts";
import { handOver, saveStream } from "../copy.ts";
import { type JobLimits, jobLimits } from "../limits.ts";
import type { AggregatorInput } from "../messages.ts";
import type { PushReceiver } from "../network.ts";
import { openPull, openPush } from "../peer_streams.ts";
import { sendOnce, sendUntilSaved } from "../resend.ts";
import { labelOf } from "../training_network.ts";
import { aggregateUpdates, normRules, openTensorFile, updateBytesMax, updatesMax } from "../../learning/mod.ts";
import type { Ports } from "../../runtime/ports.ts";
import { resultDataset, velocityDataset } from "../../learning/model_references.ts";
import { fromScoped } from "../../runtime/scoped_actor.ts";

/** Concurrent copies of a result: each holds a stream and a piece of a file. */
export const sendsAtOnceMax = 8;

/** Tries of reaching a receiver, and the pause between two in milliseconds: its key may be changing. */
export const openTriesMax = 3;
export const openAgainMs = 1_000;

/** Tries of fetching the velocity, and the pause between two in milliseconds. */
const restoreTriesMax = 5;
const restoreAgainMs = 2_000;

/** Whether the scheduler keeps the model: it is handed each result before the trainers get it. */
export function keepsModel({ spec, scheduler }: Pick<AggregatorInput, "spec" | "scheduler">): boolean {
  return spec.training !== undefined && aggregateConfig(spec).results.peers.includes(scheduler);
}

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

/** This node cannot write the updates of any trainer: its disk is full, or has a fault. */
export class UpdatesNotSaved extends Data.TaggedError("UpdatesNotSaved")<{
  /** The file system's reason. */
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot save updates: ${this.detail}`;
  }
}

/** Accepts pushes for as long as it is held. */
export const receiver = fromScoped(
  "receiver",
  ({ job, peers }: { readonly ports: Ports; readonly job: AggregatorInput; readonly peers: readonly PeerText[] }) =>
    job.network.receive({ peers, waitingMax: updatesMax, round: firstRound(job.spec) }),
);

/** The next accepted push. */
export const push = fromEffect(
  "push",
  ({ receiver }: { readonly ports: Ports; readonly receiver: PushReceiver }) => receiver.next,
);

/** Saves one push, whole or not at all. Fails where this node's own files fail: another aggregator can take the update. */
export const saved = fromEffect(
  "saved",
  ({ job, stream, file, waiting }: {
    readonly ports: Ports;
    readonly job: AggregatorInput;
    readonly stream: StreamHandle;
    readonly file: string;
    /** Updates of the round that are not here yet, with this one. */
    readonly waiting: number;
  }) =>
    updateLimits(job, waiting).pipe(
      Effect.onError(() => stream.abort("not saved")),
      Effect.flatMap((limits) => saveStream(stream, job.directory, file, limits)),
      Effect.mapError((error) => "path" in error ? new UpdatesNotSaved({ detail: error.detail }) : error),
      // Its sender was left out: the file may have got its name meanwhile.
      Effect.onInterrupt(() => Effect.ignore(job.directory.remove(file))),
      // A defect too: without an outcome the round would wait for this peer forever.
      Effect.matchCauseEffect({
        onSuccess: (sizeBytes) => Effect.succeed<Saved>({ type: "whole", peer: stream.peer, file, sizeBytes }),
        onFailure: (cause) => {
          const error = Cause.squash(cause);
          return error instanceof UpdatesNotSaved
            ? Effect.fail(error)
            : Effect.succeed<Saved>({ type: "broken", peer: stream.peer, file, reason: reasonOf(error) });
        },
      }),
    ),
);

/** The result takes as much as an update in F32, and the velocity, in F64, as two. */
const aggregationShares = 3;

/**
 * The bounds of a push. The velocity has the layout of updates, from which their largest size follows. Before the first round is over
 * there is no velocity: a job names the digest of its layout only. Each update leaves room for the others of its round and for the
 * aggregation.
 */
function updateLimits(job: AggregatorInput, waiting: number): Effect.Effect<JobLimits, UpdatesNotSaved> {
  return Effect.flatMap(
    limitsOf(job, waiting + aggregationShares),
    (limits) =>
      Effect.scoped(Effect.flatMap(job.directory.openForReading(velocityFile), openTensorFile<PathError>)).pipe(
        Effect.map(({ tensors }) => ({
          ...limits,
          fileBytesMax: Math.min(limits.fileBytesMax, updateBytesMax(tensors)),
        })),
        Effect.catchIf(
          (error) => error._tag === "WorkFileFailed" && error.code === "not-found",
          () => Effect.succeed(limits),
        ),
      ),
  ).pipe(
    Effect.mapError((error) => new UpdatesNotSaved({ detail: "detail" in error ? error.detail : error.reason })),
  );
}

/** The bounds of one of so many files that share what is left of the work directory. Fails where it cannot be measured. */
function limitsOf(
  { directory, diskBytes, limits = jobLimits }: AggregatorInput,
  files: number,
): Effect.Effect<JobLimits, PathError> {
  return Effect.map(
    attempt(directory.path, () => {
      if (diskBytes === undefined) return limits.fileBytesMax;
      let leftBytes = diskBytes;
      // Open files without a name take room, too.
      for (const sizeBytes of directory.unnamed().values()) leftBytes -= sizeBytes;
      for (const { sizeBytes } of directory.walk()) leftBytes -= sizeBytes;
      return Math.max(0, Math.min(limits.fileBytesMax, Math.floor(leftBytes / files)));
    }),
    (fileBytesMax) => ({ ...limits, fileBytesMax }),
  );
}

/** Counts what averaging has read and written: a large model takes long, and shows that it goes on. */
export class AveragingSteps {
  #steps = 0;

  get steps(): number {
    return this.#steps;
  }

  count(): void {
    this.#steps++;
  }
}

/** The mean of a round's updates and the outer step. */
export const aggregated = fromEffect(
  "aggregated",
  ({ job, batch, out, averaging }: {
    readonly ports: Ports;
    readonly job: AggregatorInput;
    readonly batch: Readonly<Record<PeerText, string>>;
    readonly out: string;
    readonly averaging: AveragingSteps;
  }) => {
    const { optimizer } = aggregateConfig(job.spec);
    const rules = job.spec.aggregation ?? {};
    const updates = Object.keys(batch).toSorted().map((peer) => batch[peer] as string);
    return aggregateUpdates(job.directory, { updates, velocity: velocityFile, out }, {
      learningRate: optimizer["learning-rate"],
      momentum: optimizer.momentum,
      onStep: () => averaging.count(),
      layout: rules.layout,
      trim: rules.method === "trimmed-mean" ? rules.trim ?? aggregationDefault.trim : undefined,
      norms: {
        clipNormRatio: rules.clip_norm_ratio ?? normRules.clipNormRatio,
        maxNormRatio: rules.max_norm_ratio ?? normRules.maxNormRatio,
      },
    });
  },
);

/** The copies of a round's result: each may be ended, because its receiver needs it no more. */
export class ResultCopies {
  #ends = new Map<PeerText, Deferred.Deferred<void>>();

  /** The receivers of another result. */
  begin(peers: readonly PeerText[]): void {
    this.#ends = new Map(peers.map((peer) => [peer, Deferred.makeUnsafe<void>()]));
  }

  end(peer: PeerText): void {
    const end = this.#ends.get(peer);
    if (end !== undefined) Deferred.doneUnsafe(end, Effect.void);
  }

  /** Runs a copy until it is ended. One that was ended before does not begin. */
  run<A, E>(peer: PeerText, copy: Effect.Effect<A, E>): Effect.Effect<A | void, E> {
    const end = this.#ends.get(peer);
    return end === undefined ? copy : Effect.raceFirst(Deferred.await(end), copy);
  }
}

/** Sends a round's result to all receivers, and removes the round's files. Fails where the result cannot be read. */
export const distributed = fromEffect(
  "distributed",
  ({ job, copies, round, peers, out, spent }: {
    readonly ports: Ports;
    readonly job: AggregatorInput;
    readonly copies: ResultCopies;
    readonly round: number;
    readonly peers: readonly PeerText[];
    readonly out: string;
    readonly spent: readonly string[];
  }) =>
    Effect.gen(function* () {
      // A scheduler that keeps the model has the result already.
      const receivers = keepsModel(job) ? peers.filter((peer) => peer !== job.scheduler) : peers;
      copies.begin(receivers);
      const outcomes = yield* Effect.forEach(
        receivers,
        (peer) =>
          copies.run(peer, sendResult(job, { peer, out, round })).pipe(
            Effect.as(undefined),
            // A result that cannot be read here does not count as one that its receiver does not take.
            Effect.catchTag("TransportError", (error) => Effect.succeed({ peer, reason: error.message })),
          ),
        { concurrency: sendsAtOnceMax },
      );
      for (const file of [...spent, out]) yield* Effect.ignore(job.directory.remove(file));
      return { failed: outcomes.filter((outcome) => outcome !== undefined) };
    }),
);

/** A scheduler adds the result to the model and syncs it before it acknowledges, in milliseconds. */
const acknowledgeMs = 600_000;

/** Hands a round's result to the scheduler, which keeps the training's model. Succeeds when the scheduler has the round on disk. */
export const handed = fromEffect(
  "handed",
  ({ job, round, out }: {
    readonly ports: Ports;
    readonly job: AggregatorInput;
    readonly round: number;
    readonly out: string;
  }) =>
    Effect.scoped(Effect.gen(function* () {
      const { directory, network, scheduler, spec } = job;
      const file = yield* directory.openForReading(out);
      const stream = yield* openPush(network, scheduler, jobLimits.exchangeMs);
      const label = labelOf(network, { job: spec.job_id, round });
      yield* handOver(file, stream, { ...jobLimits, acknowledgeMs }, label);
    })),
);

/** Fetches the velocity of the round that the training goes on from. */
export const restored = fromEffect(
  "restored",
  ({ job }: { readonly ports: Ports; readonly job: AggregatorInput }) => {
    const dataset = velocityDataset(job.spec.training?.id ?? "");
    return fetchOfModel(job, dataset, velocityFile);
  },
);

/** Fetches a file of the training's model from its scheduler. */
function fetchOfModel(job: AggregatorInput, dataset: string, file: string) {
  const { network, scheduler, directory } = job;
  return Effect.gen(function* () {
    const answer = yield* network.request(scheduler, "/hypha-api/0.0.1", { Data: { dataset } }, jobLimits.exchangeMs);
    if (!("Data" in answer) || typeof answer.Data !== "object" || !("Success" in answer.Data)) {
      return yield* Effect.fail(new TransportError({ code: "failed", detail: `the scheduler gives no ${dataset}` }));
    }
    const { data_provider, index } = answer.Data.Success;
    const stream = yield* openPull(network, data_provider, { dataset, index }, jobLimits.exchangeMs);
    yield* saveStream(stream, directory, file, yield* limitsOf(job, 1));
  }).pipe(Effect.retry({ schedule: Schedule.spaced(restoreAgainMs), times: restoreTriesMax - 1 }));
}

/** Trainers that the job names as late: the aggregator before may not have sent them the newest result. */
export const lateOf = ({ spec }: Pick<AggregatorInput, "spec">): readonly PeerText[] =>
  firstRound(spec) > 1 ? spec.aggregation?.late ?? [] : [];

/** Sends the newest result to the late trainers. One that has it refuses it, and nothing is wrong. */
export const repeated = fromEffect(
  "repeated",
  ({ job }: { readonly ports: Ports; readonly job: AggregatorInput }) =>
    Effect.gen(function* () {
      const [out, round] = ["outer/late.safetensors", firstRound(job.spec) - 1];
      yield* fetchOfModel(job, resultDataset(job.spec.training?.id ?? ""), out);
      yield* Effect.forEach(lateOf(job), (peer) => Effect.ignore(sendResult(job, { peer, out, round })), {
        concurrency: sendsAtOnceMax,
        discard: true,
      });
      yield* Effect.ignore(job.directory.remove(out));
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

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function sendResult(
  { network, directory, spec }: AggregatorInput,
  { peer, out, round }: { readonly peer: PeerText; readonly out: string; readonly round: number },
) {
  const send = (opens: number) =>
    Effect.scoped(Effect.gen(function* () {
      const file = yield* directory.openForReading(out);
      const stream = yield* openPatiently(network, peer, opens);
      return yield* sendOnce(file, stream, jobLimits, labelOf(network, { job: spec.job_id, round }));
    }));
  return sendUntilSaved(send(openTriesMax), send(1));
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

/** The first round of a job. */
export function firstRound({ training }: JobSpec): number {
  return (training?.round ?? 0) + 1;
}

/** The configuration of an `aggregate` job. The worker refuses jobs of another class (`worker.ts`). */
export function aggregateConfig({ executor }: JobSpec): AggregateConfig {
  if (executor.class !== "aggregate") throw new TypeError("Cannot aggregate: the job is of another class");
  return executor.config;
}
