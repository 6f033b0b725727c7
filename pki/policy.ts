/**
 * What a node accepts of certificates and lists.
 *
 * @module
 */
import type { KeyAlgorithm, MemberRole } from "./certificate.ts";

/** What a node accepts. The strict choice is the default in each case. */
export interface Policy {
  /** Key algorithms of leaves and of CAs (RSA means 2048 bits or more). */
  readonly leafAlgorithms: readonly KeyAlgorithm[];
  /** Key algorithms that a CA's certificate may have. */
  readonly caAlgorithms: readonly KeyAlgorithm[];
  /** How long past its `nextUpdate` a revocation list still counts, in milliseconds. */
  readonly crlGraceMs: number;
  /**
   * Whether a leaf must carry a role in its URI SAN. `ignore` is for programs that verify other certificates than nodes':
   * a URI SAN may say anything then.
   */
  readonly roles: "require" | "optional" | "ignore";
  /** Roles that may connect; all of them by default. */
  readonly allowedRoles: readonly MemberRole[];
  /**
   * OIDs of the purposes that every extended key usage on a path must allow; serverAuth and clientAuth by default.
   * Not for the configuration of nodes: for programs that verify other certificates than theirs.
   */
  readonly purposes?: readonly string[];
  /**
   * `network`, the default: key identifiers of CAs and leaves, and the CRL number, may be absent, which those of the
   * existing network are. `rfc5280`: they are required where the RFC requires them of an issuer.
   */
  readonly profile?: "network" | "rfc5280";
  /** Whether every path must meet the CA/Browser Forum's rules beyond RFC 5280 (`checks/web_pki.ts`); ignored by default. */
  readonly webPki?: "require" | "ignore";
}

/** Ed25519 only, a day of grace for lists, roles optional, every role may connect. */
export const defaultPolicy: Policy = {
  leafAlgorithms: ["ed25519"],
  caAlgorithms: ["ed25519"],
  crlGraceMs: 24 * 60 * 60 * 1_000,
  roles: "optional",
  allowedRoles: ["gateway", "scheduler", "worker", "data", "ca"],
};
