/**
 * Descriptions of failures of the file system.
 *
 * @module
 */
import type { PlatformError } from "effect/PlatformError";

const problems: Readonly<Record<string, string>> = {
  EDQUOT: "its user's quota of the disk is used up",
  EFBIG: "it would be larger than this process may write",
  EIO: "its disk has a fault",
  ELOOP: "its symbolic links form a circle",
  EMFILE: "this process has too many files open",
  ENAMETOOLONG: "its name is too long",
  ENOSPC: "its disk is full",
  ENOTDIR: "a part of its path is not a folder",
  EROFS: "its disk is mounted read-only",
};

/** Describes the system's error; its own message where this table has no description. */
export function fileProblem(error: PlatformError): string {
  const cause = error.reason.cause as { readonly code?: unknown } | undefined;
  return systemProblem({ code: cause?.code, message: error.message });
}

/** The same of an error as the runtime throws it. */
export const systemProblem = ({ code, message }: { readonly code?: unknown; readonly message: string }): string =>
  problems[String(code)] ?? message;
