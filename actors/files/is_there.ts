/**
 * Whether a file is there.
 *
 * @module
 */
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { PlatformError } from "effect/PlatformError";

/** Fails where that cannot be seen. (For `FileSystem.exists` Deno asks the user's id, which the permissions of a node do not allow.) */
export function isThere(path: string): Effect.Effect<boolean, PlatformError, FileSystem> {
  return Effect.flatMap(FileSystem, (files) => Effect.as(files.stat(path), true)).pipe(
    Effect.catchIf(({ reason }) => reason._tag === "NotFound", () => Effect.succeed(false)),
  );
}
