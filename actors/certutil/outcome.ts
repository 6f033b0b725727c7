/**
 * The result of a command.
 *
 * @module
 */
import { Effect } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { Path } from "effect/Path";
import { IssueError } from "../../pki/issue/mod.ts";
import { isPkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";
import { holdsBlock, pemOf } from "../files/file_kind.ts";
import { type ExistingFiles, writeWhole } from "../files/write_whole.ts";
import { CertutilError, fromFileNotWritten, fromIssueError } from "./certutil_error.ts";
import { SignerError } from "../pkcs11/signer_error.ts";
import { fromSignerError } from "./key_source.ts";
import { checkReplaced, type Output } from "./replacement.ts";

/** Lines for the operator; the program prints them. */
export interface Outcome {
  readonly lines: readonly string[];
  readonly warnings: readonly string[];
}

/**
 * Writes files, all or none, and reports them. No two of them may be one file, and none may be a file that the command reads.
 * A file that is replaced must be of the same kind; {@linkcode checkReplaced} has the rules. Nothing but a key's file may hold a
 * private key: other files are open to all.
 */
export function writeOutputs(
  files: readonly Output[],
  existing: ExistingFiles,
  warnings: readonly string[] = [],
  inputs: readonly string[] = [],
): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const paths = yield* Path;
    const read = inputs.filter((input) => !isPkcs11Uri(input));
    const taken = new Map(read.map((path) => [paths.resolve(path), "the command reads it"]));
    for (const { path } of files) {
      const detail = taken.get(paths.resolve(path));
      const remedy = "Choose another name.";
      if (detail !== undefined) return yield* new CertutilError({ what: "write", file: path, detail, remedy });
      taken.set(paths.resolve(path), "two of the files have this name");
    }
    yield* checkNoKey(files);
    yield* checkReplaced(files, existing, read);
    yield* Effect.mapError(writeWhole(files, existing), fromFileNotWritten);
    return { lines: files.map(({ path }) => `wrote ${path}`), warnings };
  });
}

/** Commands copy text of one file into another, and a file may hold more than its reader looks for. */
function checkNoKey(files: readonly Output[]): Effect.Effect<void, CertutilError> {
  const holdsKey = ({ content }: Output) =>
    holdsBlock(typeof content === "string" ? content : pemOf(content), "private key");
  const open = files.find((file) => !["private-key", "encrypted-key"].includes(file.kind) && holdsKey(file));
  if (open === undefined) return Effect.void;
  const remedy = "Take the key out of the files that the command reads.";
  return Effect.fail(
    new CertutilError({ what: "write", file: open.path, detail: "it would hold a private key", remedy }),
  );
}

/** An issuing function as an Effect with the operator's error. */
export function issuing<A>(what: string, issue: () => Promise<A>): Effect.Effect<A, CertutilError> {
  return Effect.catch(
    Effect.tryPromise({ try: issue, catch: (error) => error }),
    (error) => {
      if (error instanceof SignerError) return Effect.fail(fromSignerError(what, error));
      return error instanceof IssueError ? Effect.fail(fromIssueError(what, error)) : Effect.die(error);
    },
  );
}
