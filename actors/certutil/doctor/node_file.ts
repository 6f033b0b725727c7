/**
 * A file that a node's configuration names.
 *
 * @module
 */
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import { pemOf } from "../../files/file_kind.ts";
import { readInputBytes } from "../input_file.ts";
import { type Finding, wrong } from "./finding.ts";

/** Its content and permission bits. */
export interface NodeFile {
  readonly path: string;
  readonly bytes: Uint8Array;
  /** As PEM where it is in DER. */
  readonly text: string;
  readonly mode: number;
}

/** Reads a file; an error is a finding. */
export function readNodeFile(
  path: string,
  { key, what, mend }: { readonly key: string; readonly what: string; readonly mend: string },
): Effect.Effect<NodeFile | Finding, never, FileSystem> {
  const reading = Effect.gen(function* () {
    const bytes = yield* readInputBytes(path, { what, flag: key });
    const { mode } = yield* (yield* FileSystem).stat(path);
    const text = pemOf(bytes);
    return { path, bytes, text, mode: mode & 0o777 };
  });
  return Effect.match(reading, {
    onSuccess: (file): NodeFile | Finding => file,
    onFailure: (error) =>
      wrong(`${key.replace("_pem", "")}-file`, path, "detail" in error ? error.detail : error.message, mend),
  });
}
