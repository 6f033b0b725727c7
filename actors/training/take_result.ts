/**
 * One push of a round's result to the scheduler, from its head to its acknowledgement.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import type { StreamHandle, TransportError } from "../../transport/port.ts";
import type { TrainingKey } from "../../transport/protocols/messages.ts";
import { openAside } from "../files/aside_file.ts";
import { readLabel } from "../files/labelled_stream.ts";
import { isFramed, readStreamFile } from "../files/stream_file.ts";
import { headerMaxBytes, type MalformedSafetensors, type OuterOptions, type ResultRejected } from "../learning/mod.ts";
import { type Checkpoint, incomingPath } from "./checkpoints.ts";
import { checkNextRound, type KeepingFailed, keepRound, type ModelPlace, type RoundFacts } from "./keep_model.ts";

/** A result that receives no bytes for this long is broken, in milliseconds. */
const idleMs = 60_000;

/** What a push is judged by. */
export interface ResultRules extends ModelPlace {
  readonly training: TrainingKey;
  readonly before: Checkpoint;
  /** Rounds that the aggregator reported. */
  readonly reported: number;
  readonly facts: RoundFacts;
  readonly outer: OuterOptions;
}

/** The outcome of a push. */
export type TakenResult =
  /** The round is on disk. `shortage`: the next one has no room. */
  | {
    readonly type: "kept";
    readonly checkpoint: Checkpoint;
    readonly resultBytes: number;
    readonly shortage: string | undefined;
  }
  /** The round was on disk already, and its sender did not hear of it. */
  | { readonly type: "repeated" }
  /** Of another training, run or round, or of one that was not reported: the stream was reset. */
  | { readonly type: "refused"; readonly reason: string };

/** A push that failed. `isRepeated`: its sender is one of ours and will send it again. */
export interface FailedResult {
  readonly type: "failed";
  readonly isRepeated: boolean;
  readonly error: KeepingFailed | TransportError | MalformedSafetensors | ResultRejected;
}

/**
 * Takes a result and keeps the round. The stream is ended when the round is on disk, which acknowledges it, and reset where anything
 * fails.
 */
export function takeResult(
  offered: StreamHandle,
  rules: ResultRules,
): Effect.Effect<TakenResult | FailedResult, never, FileSystem | Path> {
  return Effect.gen(function* () {
    const { stream, label } = yield* readLabel(offered, { idleMs });
    const { training, before: { record: { round } } } = rules;
    const isOurs = label === undefined ||
      (label.training === training.id && label.scheduler === training.scheduler && label.run === training.run);
    if (!isOurs) return yield* refuse(stream, "another training or run");
    if (label !== undefined && label.round === round) {
      yield* readStreamFile(stream, () => Effect.void, { fileBytesMax: resultBytesMax(rules), idleMs });
      yield* stream.end;
      return { type: "repeated" } as const;
    }
    if (label !== undefined && label.round !== round + 1) {
      return yield* refuse(stream, `round ${label.round} instead of ${round + 1}`);
    }
    // A worker of the existing network sends a result before it reports the round, and labels no push.
    if (round + 1 > rules.reported + (label === undefined ? 1 : 0)) {
      return yield* refuse(stream, `round ${round + 1} was not reported`);
    }
    const kept = Effect.gen(function* () {
      // An aggregator of the existing network sends its result once: it is taken where it fits, whatever is free.
      if (isFramed(stream.protocol)) yield* checkNextRound(rules.folder, rules.before.record);
      const resultBytes = yield* saveResult(stream, rules);
      const checkpoint = yield* keepRound(rules, rules.before, rules);
      yield* Effect.ignore(stream.end);
      const shortage = yield* shortageAfter(rules, checkpoint);
      return { type: "kept", checkpoint, resultBytes, shortage } as const;
    });
    return yield* Effect.catch(
      kept,
      (error) =>
        Effect.as(stream.abort("not kept"), { type: "failed", isRepeated: isFramed(stream.protocol), error } as const),
    );
  }).pipe(
    Effect.catch((error) => Effect.as(offered.abort("not kept"), { type: "failed", isRepeated: true, error } as const)),
    Effect.onInterrupt(() => offered.abort("the scheduler stops")),
  );
}

/** Why the next round has no room; undefined where it has, and after the last one. */
function shortageAfter({ folder, rounds }: ModelPlace, { record }: Checkpoint): Effect.Effect<string | undefined> {
  if (record.round >= rounds) return Effect.succeed(undefined);
  return Effect.match(checkNextRound(folder, record), {
    onFailure: ({ message }) => message,
    onSuccess: () => undefined,
  });
}

function refuse(stream: StreamHandle, reason: string) {
  return Effect.as(stream.abort(reason), { type: "refused", reason } as const);
}

/** A result has as many elements as the parameters, in F32, and a header of its own. */
function resultBytesMax({ before }: ResultRules): number {
  return before.record.parameters.sizeBytes + headerMaxBytes + 8;
}

function saveResult(stream: StreamHandle, rules: ResultRules) {
  return Effect.scoped(Effect.gen(function* () {
    const file = yield* openAside(incomingPath(rules.folder));
    const limits = { fileBytesMax: resultBytesMax(rules), idleMs };
    const resultBytes = yield* readStreamFile(stream, (piece) => file.write(piece.slice()), limits);
    yield* file.commit;
    return resultBytes;
  }));
}
