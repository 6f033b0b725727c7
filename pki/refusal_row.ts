/**
 * What a refusal is made of.
 *
 * @module
 */

/** The label of the certificate at fault in a message: its subject and serial. */
export interface CertificateLabel {
  /** As text. */
  readonly subject: string;
  /** Hexadecimal. */
  readonly serial: string;
}

/**
 * When a refusal arises: at `admission`; in the `handshake` before the checks; in the check of that name (`check_table.ts`),
 * the first one where several give it; when `trust files` load; while a `job` runs; at a member's `act`; or at `any` time.
 */
export type RefusalPhase =
  | "admission"
  | "handshake"
  | "tlsVersion"
  | "wellFormed"
  | "algorithm"
  | "path"
  | "validity"
  | "revocation"
  | "expectedName"
  | "identity"
  | "role"
  | "trust files"
  | "job"
  | "act"
  | "any";

/** One refusal. */
export interface RefusalRow {
  /** `_tag` of the error, and the name of its class. */
  readonly tag: string;
  /** When it arises. */
  readonly phase: RefusalPhase;
  /**
   * Every refusal is counted. Each is one line of the log and one audit record; but where no certificate was seen, those with
   * `summary` are summed up for each host and minute, because any stranger can cause them, as fast as packets arrive.
   */
  readonly logged?: "summary";
  /** The refusal names the path on which it arose. */
  readonly tried?: true;
  /** What an operator can do. Holds no word of a peer's. */
  readonly hint: string;
  /** What happened, for people, from the refusal's fields. */
  readonly message: (fields: never) => string;
}
