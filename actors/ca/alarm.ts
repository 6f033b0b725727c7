/**
 * What an operator of a CA has to look at.
 *
 * @module
 */

/** A token was used with a second key, or one certificate was renewed for two keys. */
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
