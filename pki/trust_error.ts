/**
 * Why no trust snapshot can be made of a bundle or of a file of revocation lists.
 *
 * @module
 */
import * as Data from "effect/Data";
import * as Result from "effect/Result";
import type { CrlRollback, CrlSignature } from "./refusal.ts";

/** The fields of {@linkcode TrustError}. */
export interface TrustProblem {
  /** The input at fault. */
  readonly input: "trust_pem" | "crls_pem";
  /** The kind of error, for programs. */
  readonly problem:
    | "pem"
    | "empty"
    | "wrong-label"
    | "certificate"
    | "no-ca"
    | "bundle"
    | "crl"
    | "crl-signature"
    | "crl-rollback"
    | "too-many";
  /** Line of the PEM block at fault, from 1; undefined where it is the whole. */
  readonly line: number | undefined;
  /** The same, for people. */
  readonly detail: string;
  /** What an operator can do. */
  readonly hint: string;
  /** The refusal that caused it, where there is one: `crl-signature` or `crl-rollback`. */
  readonly refusal?: CrlSignature | CrlRollback;
  /** The trust domain whose input it is; undefined for the node's own. */
  readonly domain?: string;
}

/** A trust bundle or a file of revocation lists that no snapshot can be made of. The caller knows the file. */
export class TrustError extends Data.TaggedError("TrustError")<TrustProblem> {
  /** What happened, in one line. */
  override get message(): string {
    const where = this.line === undefined ? "" : ` at line ${this.line}`;
    const whose = this.domain === undefined ? "" : ` of trust domain ${this.domain}`;
    return `Cannot use ${this.input}${whose}${where}: ${this.detail}`;
  }
}

/** Fails with a {@linkcode TrustError}. */
export function refuseTrust(problem: TrustProblem): Result.Result<never, TrustError> {
  return Result.fail(new TrustError(problem));
}
