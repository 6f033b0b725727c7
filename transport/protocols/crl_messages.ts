/**
 * Messages about revocation lists: extensions of ours, which the existing nodes ignore (`docs/wire.md`, "Extensions").
 *
 * @module
 */

/** What a peer tells about a revocation list that it has. Only the list's own signature decides anything. */
export interface CrlNotice {
  /** SHA-256 of the issuer's SubjectPublicKeyInfo, lower-case hexadecimal. */
  readonly issuer: string;
  /** The certificates that it covers, as `scopeName` has it: `all`. */
  readonly scope: string;
  /** The CRL number, decimal. */
  readonly number: string;
  /** Of a delta: the number of the list that it brings up to date. */
  readonly base: string | null;
  /** SHA-256 of its DER, lower-case hexadecimal. */
  readonly sha256: string;
  /** Octets of its DER. */
  readonly size: number;
  /** Its `thisUpdate`, in seconds since 1970. */
  readonly updated: number;
  /** Its DER, where the notice brings it along. */
  readonly bytes?: Uint8Array;
}

/** Requests on `/hypha-crl/1`. */
export type CrlRequest =
  | { readonly Announce: readonly CrlNotice[] }
  /** The next piece of a list, from `offset` on. */
  | { readonly Pull: { readonly sha256: string; readonly offset: number } };

/** Answers on `/hypha-crl/1`. */
export type CrlResponse =
  /** Of each announced list whether the receiver wants it. It then pulls it, from whichever peer it likes. */
  | { readonly Announced: readonly ("have" | "want")[] }
  /** Empty where the peer has no such list (any more), or nothing behind the offset. */
  | { readonly Piece: Uint8Array };
