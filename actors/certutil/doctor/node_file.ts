/**
 * A file that a node's configuration names.
 *
 * @module
 */
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import { readInput } from "../input_file.ts";
import { type Finding, wrong } from "./finding.ts";

/** Its text and permission bits. */
export interface NodeFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

/** Reads a file; what stands in the way is a finding. */
export function readNodeFile(
  path: string,
  { key, what, mend }: { readonly key: string; readonly what: string; readonly mend: string },
): Effect.Effect<NodeFile | Finding, never, FileSystem> {
  const reading = Effect.gen(function* () {
    const text = yield* readInput(path, { what, flag: key });
    const { mode } = yield* (yield* FileSystem).stat(path);
    return { path, text, mode: mode & 0o777 };
  });
  return Effect.match(reading, {
    onSuccess: (file): NodeFile | Finding => file,
    onFailure: (error) =>
      wrong(`${key.replace("_pem", "")}-file`, path, "detail" in error ? error.detail : error.message, mend),
  });
}
