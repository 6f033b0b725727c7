/**
 * Names of peers and addresses, and what a node shows of itself.
 *
 * @module
 */

/** A PeerID as base58btc text (`12D3KooW…`). */
export type PeerText = string;
/** A multiaddr as text. */
export type AddressText = string;

/** A node's own key and certificate chain, as TLS wants them. */
export interface NodeIdentity {
  /** Derived from the certificate's key. */
  readonly peer: PeerText;
  /** Leaf first, then intermediates: what is sent to peers. DER. */
  readonly chain: readonly Uint8Array[];
  /** The chain, PEM. */
  readonly certPem: string;
  /** The private key, PKCS#8, PEM. */
  readonly keyPem: string;
  /** Grows with each change of the pair. */
  readonly generation: number;
  /** The certificate's name, for the log. */
  readonly name: string;
  /** The end of what is sent: of the leaf, or of an intermediate that it needs. */
  readonly notAfter: Date;
}
