/**
 * The result of a command.
 *
 * @module
 */
import { Effect, Option } from "effect";
import { FileSystem } from "effect/FileSystem";
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
 *
 * What a symbolic link names is written, not the link: those who read the link's target see it. A key takes the link's place.
 */
export function writeOutputs(
  files: readonly Output[],
  existing: ExistingFiles,
  warnings: readonly string[] = [],
  inputs: readonly string[] = [],
): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  return Effect.gen(function* () {
    const read = inputs.filter((input) => !isPkcs11Uri(input));
    const taken = new Map<string, string>();
    for (const path of read) taken.set(yield* placeOf(path), "the command reads it");
    const placed: Output[] = [];
    for (const file of files) {
      const place = yield* placeOf(file.path);
      const detail = taken.get(place);
      const remedy = "Choose another name.";
      if (detail !== undefined) return yield* new CertutilError({ what: "write", file: file.path, detail, remedy });
      taken.set(place, "two of the files have this name");
      const isLink = place !== (yield* Path).resolve(file.path);
      placed.push(isLink && !keyKinds.has(file.kind) ? { ...file, path: place } : file);
    }
    yield* checkNoKey(files);
    yield* checkReplaced(files, existing, read);
    yield* Effect.mapError(writeWhole(placed, existing), fromFileNotWritten);
    return { lines: files.map(({ path }) => `wrote ${path}`), warnings };
  });
}

const keyKinds: ReadonlySet<Output["kind"]> = new Set(["private-key", "encrypted-key"]);

/** The file that a path names, through symbolic links, also where it is not there yet. */
export const placeOf = Effect.fnUntraced(function* (path: string) {
  const [files, paths] = [yield* FileSystem, yield* Path];
  const link = yield* Effect.option(files.readLink(path));
  if (Option.isNone(link)) return paths.resolve(path);
  return yield* Effect.catch(
    files.realPath(path),
    () =>
      Effect.match(files.realPath(paths.dirname(path)), {
        onSuccess: (folder) => paths.resolve(folder, link.value),
        onFailure: () => paths.resolve(path),
      }),
  );
});

/** Commands copy text of one file into another, and a file may hold more than its reader looks for. */
function checkNoKey(files: readonly Output[]): Effect.Effect<void, CertutilError> {
  const holdsKey = ({ content }: Output) =>
    holdsBlock(typeof content === "string" ? content : pemOf(content), "private key");
  const open = files.find((file) => !keyKinds.has(file.kind) && holdsKey(file));
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
