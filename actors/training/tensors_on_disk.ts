/**
 * Tensor files of a training, read and written piece by piece.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Effect, type Scope } from "effect";
import { FileSystem } from "effect/FileSystem";
import { openAside } from "../files/aside_file.ts";
import type { FileNotWritten } from "../files/write_whole.ts";
import { type MalformedSafetensors, openTensorFile, type TensorFile } from "../learning/mod.ts";
import { CheckpointFailed, failedAt } from "./checkpoints.ts";
import type { FileFit } from "./round_record.ts";

/** Opens a tensor file for reading. */
export function openTensors(
  path: string,
): Effect.Effect<
  TensorFile<CheckpointFailed | MalformedSafetensors>,
  CheckpointFailed | MalformedSafetensors,
  FileSystem | Scope.Scope
> {
  const failed = failedAt(path);
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const handle = yield* Effect.mapError(files.open(path, { flag: "r" }), failed);
    const { size, type } = yield* Effect.mapError(handle.stat, failed);
    if (type !== "File") return yield* Effect.fail(new CheckpointFailed({ path, detail: "it is no file" }));
    return yield* openTensorFile<CheckpointFailed>({
      sizeBytes: Number(size),
      read: (into, position) => Effect.mapError(handle.read(into, { position: BigInt(position) }), failed),
    });
  });
}

/** A tensor file in the making. */
export interface TensorsOut {
  write(bytes: Uint8Array): Effect.Effect<void, FileNotWritten>;
  /** Gives the file its name; returns its size and digest. */
  readonly commit: Effect.Effect<FileFit, FileNotWritten>;
}

/** Begins a tensor file; `temporary` as for `openAside`. */
export function createTensors(
  path: string,
  temporary?: string,
): Effect.Effect<TensorsOut, FileNotWritten, FileSystem | Scope.Scope> {
  return Effect.map(openAside(path, temporary), (file) => {
    const hash = createHash("sha256");
    let sizeBytes = 0;
    return {
      write: (bytes: Uint8Array) =>
        Effect.suspend(() => {
          hash.update(bytes);
          sizeBytes += bytes.length;
          return file.write(bytes);
        }),
      commit: Effect.map(file.commit, () => ({ sizeBytes, sha256: hash.digest("hex") })),
    };
  });
}
