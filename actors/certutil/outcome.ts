/**
 * What a command has to say when it has done its work.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { IssueError } from "../../pki/issue/mod.ts";
import { type ExistingFiles, type OutputFile, writeWhole } from "../files/write_whole.ts";
import { CertutilError, fromFileNotWritten, fromIssueError } from "./certutil_error.ts";

/** Lines for the operator; printing them is the program's work. */
export interface Outcome {
  readonly lines: readonly string[];
  readonly warnings: readonly string[];
}

/** Writes files, all or none, and says so. */
export function writeOutputs(
  files: readonly OutputFile[],
  existing: ExistingFiles,
  warnings: readonly string[] = [],
): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.as(Effect.mapError(writeWhole(files, existing), fromFileNotWritten), {
    lines: files.map(({ path }) => `wrote ${path}`),
    warnings,
  });
}

/** An issuing function as an Effect with the operator's error. */
export function issuing<A>(what: string, issue: () => Promise<A>): Effect.Effect<A, CertutilError> {
  return Effect.catch(
    Effect.tryPromise({ try: issue, catch: (error) => error }),
    (error) => error instanceof IssueError ? Effect.fail(fromIssueError(what, error)) : Effect.die(error),
  );
}
