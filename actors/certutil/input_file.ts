/**
 * Reading what an operator points at.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { PlatformError } from "effect/PlatformError";
import { parsePem } from "../../pki/pem.ts";
import { CertutilError } from "./certutil_error.ts";

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

/** Reads a file whole. */
export function readInputBytes(path: string, role: InputRole): Effect.Effect<Uint8Array, CertutilError, FileSystem> {
  const { what, flag } = role;
  const refuse = (detail: string, remedy: string) =>
    new CertutilError({ what: `read ${what}`, file: path, detail, remedy });
  const explain = (error: PlatformError) => {
    switch (error.reason._tag) {
      case "NotFound":
        return refuse("there is no such file", `Check the path given with ${flag}.`);
      case "PermissionDenied":
        return refuse("it may not be read", "Run as its owner, or change its permissions.");
      default:
        return refuse(error.message, `Check the path given with ${flag}.`);
    }
  };
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const info = yield* Effect.mapError(files.stat(path), explain);
    if (info.type === "Directory") return yield* refuse("it is a folder", `Name a file with ${flag}.`);
    if (info.size > inputBytesMax) {
      return yield* refuse(`it is larger than ${inputBytesMax} bytes`, `Check the path given with ${flag}.`);
    }
    // A pipe ends with its writer. A device may never, and says no size.
    const endless = info.type === "CharacterDevice" || info.type === "BlockDevice";
    if (endless) return yield* refuse("it is a device", `Name a file or a pipe with ${flag}.`);
    return yield* Effect.mapError(files.readFile(path), explain);
  });
}

/** The certificates of a file: of one in PEM all of them, of one in DER the one that it is. */
export function readCertificateFile(path: string, role: InputRole): Effect.Effect<
  readonly Uint8Array[],
  CertutilError,
  FileSystem
> {
  const refuse = (detail: string) =>
    new CertutilError({ what: `read ${role.what}`, file: path, detail, remedy: "Give it in PEM or DER." });
  return Effect.gen(function* () {
    const bytes = yield* readInputBytes(path, role);
    if (bytes[0] === 0x30) return [bytes];
    const parsed = Result.mapError(parsePem(new TextDecoder().decode(bytes)), ({ message }) => refuse(message));
    const blocks = yield* Effect.fromResult(parsed);
    const found = blocks.filter(({ label }) => label === "CERTIFICATE").map(({ der }) => der);
    return found.length === 0 ? yield* refuse("it holds no certificate") : found;
  });
}

/** Reads a text file whole; undefined where there is none. */
export function readIfThere(
  path: string,
  role: InputRole,
): Effect.Effect<string | undefined, CertutilError, FileSystem> {
  return Effect.flatMap(FileSystem, (files) =>
    Effect.matchEffect(files.stat(path), {
      onFailure: (error) => error.reason._tag === "NotFound" ? Effect.succeed(undefined) : readInput(path, role),
      onSuccess: () => readInput(path, role),
    }));
}
