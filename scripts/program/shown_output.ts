/**
 * Standard output of commands that only show something.
 *
 * @module
 */
import process from "node:process";

/** Ends the program when the reader of its output is gone, as `head` is when it has its lines: nothing is left to do. */
export function endWithReader(): void {
  process.stdout.on("error", endIfGone);
}

/** Waits until the reader has taken all that was printed: a pipe's waits in memory. Ends the program when the reader is gone. */
export async function outputTaken(): Promise<void> {
  const { stdout } = process;
  if (stdout.writableLength === 0) return;
  await new Promise<void>((resolve) => {
    stdout.once("error", endIfGone);
    stdout.write("", (error) => {
      if (error) return; // its event follows
      stdout.off("error", endIfGone);
      resolve();
    });
  });
}

function endIfGone(error: NodeJS.ErrnoException): void {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
}
