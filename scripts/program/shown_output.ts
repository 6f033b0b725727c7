/**
 * Standard output of commands that only show something.
 *
 * @module
 */
import { once } from "node:events";
import process from "node:process";

/** Ends the program when the reader of its output is gone, as `head` is when it has its lines: nothing is left to do. */
export function endWithReader(): void {
  process.stdout.on("error", endIfGone);
}

/** Waits until the reader has taken what was printed: a pipe's waits in memory. Ends the program when the reader is gone. */
export async function outputTaken(): Promise<void> {
  if (process.stdout.writableNeedDrain) await once(process.stdout, "drain").catch(endIfGone);
}

function endIfGone(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
}
