/**
 * What is wrong with an audit log.
 *
 * @module
 */
import { Data } from "effect";

/** The kind of a defect. */
export type FindingCode =
  /** A file cannot be read. */
  | "unreadable"
  /** A line is no canonical record. */
  | "malformed"
  /** A line's number does not follow the one before. */
  | "sequence"
  /** A line's `prev` is not the hash of the line before. */
  | "chain"
  /** A line is earlier than the one before. */
  | "clock-back"
  /** A line names another node than the log. */
  | "node"
  /** A segment is missing, or out of place. */
  | "segment"
  /** Fewer records than a checkpoint covers. */
  | "truncated"
  /** A checkpoint is no signed note of this log. */
  | "checkpoint-malformed"
  /** A checkpoint has no valid signature of the log's key. */
  | "checkpoint-signature"
  /** A checkpoint's root is not the records'. */
  | "checkpoint-root"
  /** A checkpoint covers fewer records than the one before. */
  | "checkpoint-order";

/** A defect of a log: where it is, and what it is. */
export class AuditFinding extends Data.TaggedError("AuditFinding")<{
  readonly code: FindingCode;
  /** Name of the file. */
  readonly file: string;
  /** From 1; undefined where it is about the whole file. */
  readonly line: number | undefined;
  readonly detail: string;
}> {
  override get message(): string {
    const place = this.line === undefined ? this.file : `${this.file}:${this.line}`;
    return `${place}: ${this.detail}`;
  }
}
