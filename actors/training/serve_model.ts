/**
 * One pull of a training's parameters by a member, or of velocity or result by the aggregator.
 *
 * @module
 */
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { StreamHandle } from "../../transport/port.ts";
import { headerTimeoutMs, idleTimeoutMs, readPullHeader, untilPullerEnds } from "../data/serve_pull.ts";
import { isFramed, writeRefusal, writeStreamFile } from "../files/stream_file.ts";
import type { Checkpoint } from "./checkpoints.ts";
import { indexOfRound, resultDataset, velocityDataset, weightsDataset } from "../learning/model_references.ts";

const limits = { idleMs: idleTimeoutMs };

/** The files of a round. */
export type ModelFile = "parameters" | "velocity" | "result";

/** The part of the member that pulls: what the aggregator continues with is for it alone. */
export type Puller = "trainer" | "aggregator";

/** The outcome of a pull. */
export type ModelPull =
  | { readonly type: "served"; readonly file: ModelFile; readonly sizeBytes: number }
  /** Another data set or round: the stream ended without a byte of file. */
  | { readonly type: "unknown"; readonly dataset: string; readonly index: number }
  | { readonly type: "broken"; readonly reason: string };

/** Serves the newest finished round. Never fails: every failure is an outcome, and each outcome ends the stream. */
export function serveModel(
  stream: StreamHandle,
  { record, ...paths }: Checkpoint,
  { trainingId, puller }: { readonly trainingId: string; readonly puller: Puller },
): Effect.Effect<ModelPull, never, FileSystem> {
  return Effect.gen(function* () {
    const header = yield* Effect.timeout(readPullHeader(stream), headerTimeoutMs);
    if (typeof header === "string") {
      yield* stream.abort(header);
      return { type: "broken", reason: header } as const;
    }
    const { dataset, index } = header;
    const file = fileOf(dataset, trainingId);
    const isHere = file === "parameters" || (file !== undefined && puller === "aggregator" && record.round > 0);
    if (!isHere || index !== indexOfRound(record.round)) {
      yield* isFramed(stream.protocol) ? writeRefusal(stream, "not-found", limits) : stream.end;
      yield* untilPullerEnds(stream);
      return { type: "unknown", dataset: dataset.slice(0, 256), index } as const;
    }
    const sizeBytes = yield* writeFile(stream, paths[file]);
    yield* untilPullerEnds(stream);
    return { type: "served", file, sizeBytes } as const;
  }).pipe(
    Effect.catch((error) => Effect.as(stream.abort("pull failed"), { type: "broken", reason: error.message } as const)),
    Effect.catchDefect((defect) =>
      Effect.as(stream.abort("pull failed"), { type: "broken", reason: String(defect) } as const)
    ),
    Effect.onInterrupt(() => stream.abort("the scheduler stops")),
  );
}

function fileOf(dataset: string, trainingId: string): ModelFile | undefined {
  if (dataset === weightsDataset(trainingId)) return "parameters";
  if (dataset === velocityDataset(trainingId)) return "velocity";
  return dataset === resultDataset(trainingId) ? "result" : undefined;
}

function writeFile(stream: StreamHandle, path: string) {
  return Effect.scoped(Effect.gen(function* () {
    const files = yield* FileSystem;
    const file = yield* files.open(path, { flag: "r" });
    const { size } = yield* file.stat;
    return yield* writeStreamFile(
      stream,
      { sizeBytes: Number(size), read: (into: Uint8Array) => file.read(into) },
      limits,
    );
  }));
}
