/**
 * Standard output of commands that only show something.
 *
 * @module
 */
import process from "node:process";

/** Ends the program when the reader of its output is gone, as `head` is when it has its lines: nothing is left to do. */
export function endWithReader(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(0);
  });
}
