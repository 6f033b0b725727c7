/**
 * Why no record can be written.
 *
 * @module
 */
import { Data } from "effect";

/** A log that cannot be opened, or cannot be written now. */
export class LogUnusable extends Data.TaggedError("LogUnusable")<{
  readonly dir: string;
  readonly problem: "unreadable" | "unwritable" | "damaged" | "key" | "locked";
  readonly detail: string;
}> {
  override get message(): string {
    const what = this.problem === "unwritable" ? "write to" : "continue";
    return `Cannot ${what} audit log ${this.dir}: ${this.detail}`;
  }
}
