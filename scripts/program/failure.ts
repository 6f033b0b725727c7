/**
 * How a program says that it could not do what it was asked.
 *
 * @module
 */
import { Data } from "effect";

/** 0 met, 1 not met, 2 usage; 130 when a second signal ended it at once. */
export type ExitCode = 0 | 1 | 2 | 130;

/** Ends the program with `exitCode`, after saying `message` on standard error where there is one left to say. */
export class ProgramFailed extends Data.TaggedError("ProgramFailed")<{
  readonly exitCode: ExitCode;
  readonly said: string | undefined;
}> {
  override get message(): string {
    return this.said ?? `exit code ${this.exitCode}`;
  }
}
