/**
 * Chain building and validation (RFC 5280 §6), each check a function of its own, composed by `verifyPath`.
 *
 * @module
 */
import type { Certificate, Role } from "./certificate.ts";

declare const proof: unique symbol;

/** A chain that parsed: the leaf and whatever else the peer sent, in its order. Only `checkWellFormed` makes one. */
export interface WellFormed {
  readonly [proof]: "WellFormed";
  readonly leaf: Certificate;
  readonly others: readonly Certificate[];
}

/** Proof that the leaf's key algorithm is allowed. Only `checkAlgorithm` makes one. */
export interface AlgorithmAllowed {
  readonly [proof]: "AlgorithmAllowed";
}

/** One candidate: leaf first, the anchor last. */
export type Path = readonly [leaf: Certificate, ...issuers: Certificate[]];

/** Candidate paths whose signatures and constraints hold; at least one. Only `findPaths` makes one. */
export interface PathsFound {
  readonly [proof]: "PathsFound";
  readonly paths: readonly Path[];
  /** How many signatures were verified to find them. */
  readonly signatureChecks: number;
}

/** The candidates that are inside their validity period at `at`; at least one. Only `checkValidity` makes one. */
export interface WithinValidity {
  readonly [proof]: "WithinValidity";
  readonly paths: readonly Path[];
  readonly at: Date;
}

/** The path that is not revoked, and when the first of its certificates expires. Only `checkRevocation` makes one. */
export interface NotRevoked {
  readonly [proof]: "NotRevoked";
  readonly path: Path;
  readonly expiresAt: Date;
}

/** What the leaf proves about its holder. Only `checkIdentity` makes one. */
export interface PeerIdentity {
  readonly [proof]: "PeerIdentity";
  /** PeerID of the leaf's key, base58btc text. */
  readonly peer: string;
  /** The subject's common name, or the whole subject where it has none. */
  readonly name: string;
  readonly subject: string;
  readonly names: readonly string[];
  readonly role: Role | undefined;
  readonly domain: string | undefined;
  readonly serial: string;
  readonly issuer: string;
  readonly notAfter: Date;
}

/** Proof that the identity's role may connect. Only `checkRole` makes one. */
export interface RoleAllowed {
  readonly [proof]: "RoleAllowed";
  readonly role: Role | undefined;
}
