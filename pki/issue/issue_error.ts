/**
 * Why something could not be issued.
 *
 * @module
 */
import * as Data from "effect/Data";

/** What was wrong with what an issuing function was given; the functions reject with it. */
export class IssueError extends Data.TaggedError("IssueError")<{
  readonly problem:
    | "common-name"
    | "country"
    | "san"
    | "validity"
    | "issuer-certificate"
    | "issuer-key"
    | "issuer-mismatch"
    | "issuer-not-ca"
    | "key"
    | "csr"
    | "csr-role"
    | "serial"
    | "crl";
  readonly detail: string;
}> {
  /** What happened, in one line. */
  override get message(): string {
    return `Cannot issue: ${this.detail}`;
  }
}
