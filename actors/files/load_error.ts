/**
 * Why a file that a node cannot run without was not loaded.
 *
 * @module
 */
import { Data } from "effect";

/** The problem with a file, for programs; `detail` and `mend` are for people. */
export type LoadProblem =
  | "missing"
  | "not-a-file"
  | "unreadable"
  | "too-large"
  | "empty"
  | "malformed"
  | "open-to-others"
  | "mismatch"
  | "expired"
  | "not-yet-valid"
  /** The certificate is of a node of another role. */
  | "role-not-allowed"
  | "rejected";

/** A file could not be loaded: its path, the problem, and the command that corrects it. */
export class LoadError extends Data.TaggedError("LoadError")<{
  readonly file: string;
  /** The line at fault, from 1, where there is one. */
  readonly line: number | undefined;
  readonly problem: LoadProblem;
  readonly detail: string;
  readonly mend: string;
}> {
  /** What happened, in one line. */
  override get message(): string {
    const place = this.line === undefined ? this.file : `${this.file}:${this.line}`;
    return `Cannot load ${place}: ${this.detail}. ${this.mend}`;
  }
}
