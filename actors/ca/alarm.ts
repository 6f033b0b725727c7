/**
 * What an operator of a CA has to look at.
 *
 * @module
 */

/** Somebody used what belongs to another, or two use the same. */
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
  };
