/**
 * What an operator of a CA has to look at.
 *
 * @module
 */

/**
 * A token was used with a second key, one certificate was renewed for two keys, a certificate came that the register lost, or a request
 * waits for a decision.
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
  };

/** How loud the log is about each. */
export const alarmLevels = {
  "token-used": "error",
  "renewal-forked": "error",
  "certificate-unknown": "warn",
  "request-pending": "info",
} as const satisfies Record<CaAlarm["kind"], string>;
