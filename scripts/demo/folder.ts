/**
 * The demo's folder: everything that it makes lies below.
 *
 * @module
 */
import { mkdtempSync, realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BrokenPromise } from "./broken_promise.ts";

/** Makes the folder below that for temporary files. */
export function makeFolder(): string {
  const parent = tmpdir();
  try {
    return realpathSync(mkdtempSync(join(parent, "hypha-demo-")));
  } catch (error) {
    const reasons: Readonly<Record<string, string>> = {
      ENOENT: "there is no such directory",
      ENOTDIR: "it is no directory",
      EACCES: "it cannot be written to",
      EROFS: "it cannot be written to",
    };
    const { code = "", message } = error as NodeJS.ErrnoException;
    const reason = reasons[code] ?? message;
    throw new BrokenPromise(
      `Cannot make a folder in ${parent}: ${reason}. Set TMPDIR to a directory that you can write to`,
    );
  }
}
