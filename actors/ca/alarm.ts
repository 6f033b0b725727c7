/**
 * What an operator of a CA has to look at.
 *
 * @module
 */

/**
 * A token was used with a second key, one certificate was renewed for two keys, a certificate came that the register lost, a request
 * waits for a decision or for approvals, or an approved operation could not be done, or not in time.
 */
export type CaAlarm =
  | {
    readonly kind: "token-used";
    /** SPIFFE ID of the token's node. */
    readonly identity: string;
    readonly firstAddress: string;
    readonly address: string;
  }
  | {
    readonly kind: "renewal-forked";
    /** SPIFFE ID of the certificate, or its subject. */
    readonly identity: string;
    readonly fingerprint: string;
    readonly address: string;
  }
  | {
    /** The register is a backup's, and did not know this certificate of ours: it was entered. */
    readonly kind: "certificate-unknown";
    readonly identity: string;
    readonly fingerprint: string;
    readonly address: string;
  }
  | {
    readonly kind: "request-pending";
    readonly identity: string;
    /** What `hypha-ca approve` takes. */
    readonly id: string;
    readonly address: string;
  }
  | {
    readonly kind: "approvals-pending";
    /** Of the node that enrols; of another operation its name. */
    readonly identity: string;
    readonly operation: string;
    /** What `hypha-ca approve` takes. */
    readonly id: string;
  }
  | {
    /** It is tried again until the request expires. */
    readonly kind: "approved-not-done";
    readonly identity: string;
    readonly operation: string;
    readonly id: string;
    readonly reason: string;
  }
  | {
    /** Enough persons approved it, and it is not done: it has to be requested again. */
    readonly kind: "approved-lapsed";
    readonly identity: string;
    readonly operation: string;
    readonly id: string;
    readonly reason: string;
  };

/** How loud the log is about each. */
export const alarmLevels = {
  "token-used": "error",
  "renewal-forked": "error",
  "certificate-unknown": "warn",
  "request-pending": "info",
  "approvals-pending": "info",
  "approved-not-done": "error",
  "approved-lapsed": "error",
} as const satisfies Record<CaAlarm["kind"], string>;
