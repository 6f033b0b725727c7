/**
 * Why the register cannot be used.
 *
 * @module
 */
import { Data } from "effect";

/** What is wrong with the register's file or with the place where it is. */
export type RegisterProblem =
  | "locked"
  | "full"
  | "corrupt"
  | "foreign"
  | "open-to-others"
  | "missing"
  | "unusable"
  /** The audit log cannot be written: nothing was changed. */
  | "unrecorded";

/** The register could not be read or written. What was to be issued was not. */
export class RegisterFailure extends Data.TaggedError("RegisterFailure")<{
  readonly problem: RegisterProblem;
  readonly file: string;
  readonly detail: string;
}> {
  /** What happened, in one line. */
  override get message(): string {
    return `Cannot use register ${this.file}: ${this.detail}`;
  }
}

/** SQLite's primary result codes, and its words for them: Deno gives no code (https://sqlite.org/rescode.html). */
const sqliteProblems: readonly (readonly [problem: RegisterProblem, codes: readonly number[], words: RegExp])[] = [
  ["locked", [5, 6], /database (?:table )?is locked/],
  ["full", [13], /database or disk is full/],
  ["corrupt", [11], /malformed|corrupt/],
  ["foreign", [26], /file is not a database/],
];

/** SQLite's words do not name who holds the lock. */
const inUse = "another process uses it: a CA that runs, or another command";

/** The failure that an error of SQLite or of the file system stands for. */
export function registerFailureOf(file: string, error: unknown): RegisterFailure {
  if (error instanceof RegisterFailure) return error;
  const { errcode, message } = error as { readonly errcode?: number; readonly message?: string };
  const detail = message ?? String(error);
  const known = sqliteProblems.find(([, codes, words]) =>
    errcode === undefined ? words.test(detail) : codes.includes(errcode & 0xff)
  );
  const problem = known?.[0] ?? "unusable";
  return new RegisterFailure({ problem, file, detail: problem === "locked" ? inUse : detail });
}
