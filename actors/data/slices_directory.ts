/**
 * A data node's directory: the files that are slices, and their order.
 *
 * @module
 */
import { Data, Effect, type PlatformError } from "effect";
import { FileSystem } from "effect/FileSystem";
import { Path } from "effect/Path";

/** Slices of one directory. With more files the node does not start. */
export const slicesMax = 1_000_000;

/** A data set on disk. */
export interface Dataset {
  /** The directory's own name, which is the data set's name on the network. */
  readonly name: string;
  readonly directory: string;
  /** File names, sorted by code units: slice `i` is the file at `i`. */
  readonly slices: readonly string[];
}

/** The directory cannot be served. */
export class DatasetUnusable extends Data.TaggedError("DatasetUnusable")<{
  readonly path: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot serve data set ${this.path}: ${this.detail}`;
  }
}

/**
 * Lists a directory's slices: its regular files, links and hidden files left out, sorted by name. (The existing nodes take
 * the file system's own order, in which a slice's index can change from one start to the next.)
 */
export function scanDataset(datasetPath: string): Effect.Effect<Dataset, DatasetUnusable, FileSystem | Path> {
  return Effect.gen(function* () {
    const fs = yield* FileSystem;
    const path = yield* Path;
    const directory = path.resolve(datasetPath);
    const unusable = (detail: string) => new DatasetUnusable({ path: datasetPath, detail });
    const failed = (error: PlatformError.PlatformError) => unusable(error.message);
    const names = (yield* Effect.mapError(fs.readDirectory(directory), failed)).filter((name) => !name.startsWith("."));
    if (names.length > slicesMax) return yield* Effect.fail(unusable(`more than ${slicesMax} files`));
    const slices: string[] = [];
    for (const name of names.toSorted()) {
      const status = yield* Effect.mapError(fs.lstat(path.join(directory, name)), failed);
      if (status.type === "File") slices.push(name);
    }
    if (slices.length === 0) return yield* Effect.fail(unusable("no files in it; put one file a slice there"));
    return { name: path.basename(directory), directory, slices };
  });
}
