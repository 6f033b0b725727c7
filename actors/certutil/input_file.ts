/**
 * Reading what an operator points at.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { PlatformError } from "effect/PlatformError";
import { tags } from "../../pki/der.ts";
import { parsePem } from "../../pki/pem.ts";
import { fileProblem } from "../files/file_problem.ts";
import { placeTried } from "../files/place_tried.ts";
import { CertutilError } from "./certutil_error.ts";
import { type BlockKind, holdsBlock, kindNames, kindOf, pemOf } from "../files/file_kind.ts";

/** Largest file that is read, in bytes: a revocation list of a million entries in PEM is a fifth of it. */
export const inputBytesMax = 256 * 1024 * 1024;

/** A file's place in a command: what it holds, and the flag that names it. */
export interface InputRole {
  /** `CA key`, `certificate`… */
  readonly what: string;
  readonly flag: string;
}

/** Reads a text file whole. */
export function readInput(path: string, role: InputRole): Effect.Effect<string, CertutilError, FileSystem> {
  return Effect.map(readInputBytes(path, role), (bytes) => new TextDecoder().decode(bytes));
}

/**
 * Reads a file of PEM blocks as PEM; a file in DER is converted. A file without a block of the kind that is looked for
 * is refused, and the message names its content.
 */
export function readPemInput(
  path: string,
  role: InputRole,
  kind: BlockKind,
): Effect.Effect<string, CertutilError, FileSystem> {
  return Effect.flatMap(readInputBytes(path, role), (bytes) => Effect.fromResult(pemInput(bytes, path, role, kind)));
}

function pemInput(
  bytes: Uint8Array,
  path: string,
  { what, flag }: InputRole,
  kind: BlockKind,
): Result.Result<string, CertutilError> {
  const text = pemOf(bytes);
  if (holdsBlock(text, kind)) return Result.succeed(text);
  const held = kindOf(bytes);
  const detail = held === "empty"
    ? "it is empty"
    : held === "unknown" && bytes[0] === tags.sequence
    ? `it is neither a ${kind} nor another file that is known here, or it is damaged`
    : held === "unknown"
    ? "it is neither PEM nor DER"
    : `it holds ${kindNames[held]}, not a ${kind}`;
  return Result.fail(
    new CertutilError({
      what: `read ${what}`,
      file: path,
      detail,
      remedy: `Name a ${kind} in PEM or DER with ${flag}.`,
    }),
  );
}

/** Reads a file whole. */
export function readInputBytes(path: string, role: InputRole): Effect.Effect<Uint8Array, CertutilError, FileSystem> {
  const { what, flag } = role;
  const refuse = (detail: string, remedy: string) =>
    new CertutilError({ what: `read ${what}`, file: path, detail, remedy });
  const explain = (error: PlatformError) => {
    switch (error.reason._tag) {
      case "NotFound":
        return refuse(`there is no such file${placeTried(path)}`, `Check the path given with ${flag}.`);
      case "PermissionDenied":
        return refuse("it may not be read", "Run as its owner, or change its permissions.");
      default:
        return refuse(fileProblem(error), `Check the path given with ${flag}.`);
    }
  };
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const info = yield* Effect.mapError(files.stat(path), explain);
    if (info.type === "Directory") return yield* refuse("it is a folder", `Name a file with ${flag}.`);
    if (info.size > inputBytesMax) {
      return yield* refuse(`it is larger than ${inputBytesMax} bytes`, `Check the path given with ${flag}.`);
    }
    // A pipe ends with its writer. A device may never end, and has no size.
    const endless = info.type === "CharacterDevice" || info.type === "BlockDevice";
    if (endless) return yield* refuse("it is a device", `Name a file or a pipe with ${flag}.`);
    return yield* Effect.mapError(files.readFile(path), explain);
  });
}

/** The certificates of a file in PEM or DER, in their order. Blocks of other kinds are passed over. */
export function readCertificateFile(path: string, role: InputRole): Effect.Effect<
  readonly Uint8Array[],
  CertutilError,
  FileSystem
> {
  const refuse = (detail: string) =>
    new CertutilError({ what: `read ${role.what}`, file: path, detail, remedy: "Give it in PEM or DER." });
  return Effect.gen(function* () {
    const text = yield* readPemInput(path, role, "certificate");
    const blocks = yield* Effect.fromResult(Result.mapError(parsePem(text), ({ message }) => refuse(message)));
    return blocks.filter(({ label }) => label === "CERTIFICATE").map(({ der }) => der);
  });
}

/** Reads a whole file; undefined where it does not exist. */
export function readIfThere(
  path: string,
  role: InputRole,
): Effect.Effect<Uint8Array | undefined, CertutilError, FileSystem> {
  return Effect.flatMap(FileSystem, (files) =>
    Effect.matchEffect(files.stat(path), {
      onFailure: (error) => error.reason._tag === "NotFound" ? Effect.succeed(undefined) : readInputBytes(path, role),
      onSuccess: () => readInputBytes(path, role),
    }));
}

/** Reads a whole text file; undefined where it does not exist. */
export function readTextIfThere(
  path: string,
  role: InputRole,
): Effect.Effect<string | undefined, CertutilError, FileSystem> {
  return Effect.map(readIfThere(path, role), (bytes) => bytes && new TextDecoder().decode(bytes));
}
