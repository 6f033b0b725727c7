/**
 * Which paths a job may name inside its work directory: the rules that need no file system, and the error when one
 * of them, or the file system, refuses.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Data, Result } from "effect";

/** Why a path is not opened. Each code is stable. */
export type PathRefusalCode =
  | "empty"
  | "absolute"
  | "traversal"
  | "nul"
  | "too-long"
  | "too-deep"
  | "symlink"
  | "not-a-directory"
  | "not-a-file"
  | "hard-link"
  | "other-device";

const details: Readonly<Record<PathRefusalCode, string>> = {
  "empty": "empty path components are not allowed",
  // The existing workers' wording, which executors may have learnt to read.
  "absolute": "absolute paths are not allowed",
  "traversal": "path traversal is not allowed",
  "nul": "NUL characters are not allowed in paths",
  "too-long": "path is too long",
  "too-deep": "path has too many components",
  "symlink": "symbolic links are not followed",
  "not-a-directory": "path leads through something that is not a directory",
  "not-a-file": "path does not name a regular file",
  "hard-link": "files with more than one name are not allowed",
  "other-device": "path leads to another file system",
};

/** A path that a job may not use: nothing was read or written. */
export class PathRefused extends Data.TaggedError("PathRefused")<{
  readonly code: PathRefusalCode;
  readonly path: string;
}> {
  /** The reason in words, without the path. */
  get detail(): string {
    return details[this.code];
  }
  override get message(): string {
    return `Cannot use path ${JSON.stringify(this.path.slice(0, 256))}: ${this.detail}`;
  }
}

/** The file system would not: `not-found`, or the system's own code such as `ENOSPC`. */
export class WorkFileFailed extends Data.TaggedError("WorkFileFailed")<{
  readonly code: string;
  readonly path: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot access ${JSON.stringify(this.path.slice(0, 256))}: ${this.detail}`;
  }
}

/** Both. */
export type PathError = PathRefused | WorkFileFailed;

/** Bytes of a component: NAME_MAX of the common file systems. */
export const componentBytesMax = 255;
/** Bytes of a path: PATH_MAX of Linux, less what the directory's own path takes is not known here. */
export const pathBytesMax = 4_096;
/** Components of a path: each costs an open descriptor for a moment. */
export const componentsMax = 32;

/**
 * Splits a relative path and checks each component, before anything is opened. The descriptor walk itself obeys `..`,
 * and a trailing slash makes the system follow a link, so this check comes first and is not optional.
 *
 * Checks text only: what the names lead to is checked while they are opened.
 */
export function parsePath(path: string): Result.Result<readonly [string, ...string[]], PathRefused> {
  const refuse = (code: PathRefusalCode) => Result.fail(new PathRefused({ code, path }));
  if (path === "") return refuse("empty");
  if (path.length > pathBytesMax || Buffer.byteLength(path) > pathBytesMax) return refuse("too-long");
  if (path.includes("\0")) return refuse("nul");
  if (path.startsWith("/")) return refuse("absolute");
  const parts = path.split("/");
  // Traversal is told before emptiness: `..//x` is first of all an attempt to get out.
  if (parts.includes("..")) return refuse("traversal");
  if (parts.some((part) => part === "" || part === ".")) return refuse("empty");
  if (parts.length > componentsMax) return refuse("too-deep");
  if (parts.some((part) => Buffer.byteLength(part) > componentBytesMax)) return refuse("too-long");
  return Result.succeed(parts as [string, ...string[]]);
}
