/**
 * A data node's directory: the files that are slices, and their order.
 *
 * @module
 */
import { Data, Effect, type PlatformError, Result } from "effect";
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
  /** Names of empty files: they are no slices, because a puller cannot tell one from a slice that is missing. */
  readonly empty: readonly string[];
  /** Names of files that this node cannot read, and names that are not UTF-8 (U+FFFD for each wrong byte): no pull of one succeeds. */
  readonly unreadable: readonly string[];
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
 * Lists a directory's slices: its regular files that it can read and that are not empty, links and hidden files left out, sorted by name. (The existing nodes take
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
    const slices: string[] = [], empty: string[] = [], unreadable: string[] = [];
    for (const name of names.toSorted()) {
      const file = path.join(directory, name);
      const status = yield* Effect.result(fs.lstat(file));
      if (Result.isFailure(status)) {
        // A file that was removed meanwhile is none. A name that is not UTF-8 cannot be opened as the text that it is listed as.
        if (status.failure.reason._tag !== "NotFound" || name.includes("\ufffd")) unreadable.push(name);
        continue;
      }
      if (status.success.type !== "File") continue;
      // Deno answers `access` from the file's mode alone, without the user's groups.
      const isReadable = Result.isSuccess(yield* Effect.result(Effect.scoped(fs.open(file, { flag: "r" }))));
      (!isReadable ? unreadable : Number(status.success.size) === 0 ? empty : slices).push(name);
    }
    if (slices.length === 0) {
      const files = [...countOf(empty, "empty"), ...countOf(unreadable, "unreadable")].join(" and ");
      return yield* Effect.fail(
        unusable(
          `${files === "" ? "no files in it" : `${files} files in it and no others`}; put one file a slice there`,
        ),
      );
    }
    return { name: path.basename(directory), directory, slices, empty, unreadable };
  });
}

function countOf(names: readonly string[], what: string): readonly string[] {
  return names.length === 0 ? [] : [`${names.length} ${what}`];
}
