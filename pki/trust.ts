/**
 * What a node trusts at one moment: anchors, revocation lists, policy, and a generation number that grows with each
 * change. Immutable: a change of trust is a new snapshot.
 *
 * @module
 */
import type { Certificate, KeyAlgorithm, Role } from "./certificate.ts";
import type { RevocationIndex } from "./crl.ts";

/** What a node accepts. The strict choice is the default in each case. */
export interface Policy {
  /** Key algorithms of leaves and of CAs (RSA means 2048 bits or more). */
  readonly leafAlgorithms: readonly KeyAlgorithm[];
  readonly caAlgorithms: readonly KeyAlgorithm[];
  /** How long past its `nextUpdate` a revocation list still counts, in milliseconds. */
  readonly crlGraceMs: number;
  /** Whether a leaf must carry a role in its URI SAN. */
  readonly roles: "require" | "optional";
  /** Roles that may connect; all of them by default. */
  readonly allowedRoles: readonly Role[];
}

/** Ed25519 only, a day of grace for lists, roles optional, every role may connect. */
export const defaultPolicy: Policy = {
  leafAlgorithms: ["ed25519"],
  caAlgorithms: ["ed25519"],
  crlGraceMs: 24 * 60 * 60 * 1_000,
  roles: "optional",
  allowedRoles: ["gateway", "scheduler", "worker", "data"],
};

/** What a node trusts at one moment. */
export interface TrustSnapshot {
  /** Grows by one with each change of trust on this node. */
  readonly generation: number;
  readonly anchors: readonly Certificate[];
  /** Changes exactly when the set of anchors or the policy changed: signatures are repeated only then. */
  readonly anchorsId: string;
  /** One index per issuer that has a list; undefined when no revocation list is configured. */
  readonly revocation: RevocationIndex | undefined;
  readonly policy: Policy;
}
