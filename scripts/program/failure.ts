/**
 * The failure of a program, and its exit.
 *
 * @module
 */
import process from "node:process";
import { Data } from "effect";

/**
 * 0 met, 1 not met, 2 usage or configuration, 3 the own certificate was revoked; 130 when a second signal ended a node at once; 129, 130
 * and 143 when SIGHUP, SIGINT and SIGTERM stopped a command.
 */
export type ExitCode = 0 | 1 | 2 | 3 | 129 | 130 | 143;

/** Ends the program with `exitCode`. Prints the message on standard error where nothing printed it yet. */
export class ProgramFailed extends Data.TaggedError("ProgramFailed")<{
  readonly exitCode: ExitCode;
  readonly notice: string | undefined;
}> {
  override get message(): string {
    return this.notice ?? `exit code ${this.exitCode}`;
  }
}

/** How long written output may take to leave, in milliseconds: the program does not wait longer for a reader that has stopped. */
const outputMs = 1_000;

/**
 * Ends the process when its output is written. Some resources of libp2p keep a process alive on some runtimes.
 */
export function exitAfterOutput(code: ExitCode): void {
  setTimeout(() => process.exit(code), outputMs);
  let waiting = 2;
  for (const stream of [process.stdout, process.stderr]) {
    stream.write("", () => {
      waiting -= 1;
      if (waiting === 0) process.exit(code);
    });
  }
}
