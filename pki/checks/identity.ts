/**
 * Who is the peer, and may its role connect?
 *
 * @module
 */
import * as Result from "effect/Result";
import type { Certificate, MemberRole, SubjectAltName } from "../certificate.ts";
import { peerIdOf } from "../peer_id.ts";
import { PeerIdMismatch, RoleNotAllowed, type UnsupportedKeyAlgorithm } from "../refusal.ts";
import type { Policy } from "../trust.ts";
import type { Proof } from "./proof.ts";
import type { WellFormed } from "./well_formed.ts";

/** What the leaf proves about its holder. Only {@linkcode checkIdentity} makes one. */
export interface PeerIdentity extends Proof<"PeerIdentity"> {
  /** PeerID of the leaf's key, base58btc text. */
  readonly peer: string;
  /** The subject's common name, or the whole subject where it has none. */
  readonly name: string;
  /** The leaf's subject, for people. */
  readonly subject: string;
  /** Subject alternative names with their kind in front: `DNS:gateway-01`, `IP:0.0.0.0`, `URI:spiffe://…`. */
  readonly names: readonly string[];
  /** The role that the certificate grants; undefined where it names none. */
  readonly role: MemberRole | undefined;
  /**
   * The trust domain: that of the URI SAN; else that of the anchor which vouches for the leaf ({@linkcode ofDomain}); undefined
   * for a leaf of the node's own bundle without a URI SAN.
   */
  readonly domain: string | undefined;
  /** What the URI SANs claim where that is not exactly one known role: `checkRole` refuses it. */
  readonly roleClaim?: string;
  /** The leaf's serial, hexadecimal. */
  readonly serial: string;
  /** The leaf's issuer, for people. */
  readonly issuer: string;
  /** The leaf's last moment of validity. */
  readonly notAfter: Date;
}

/** Proof that the identity's role may connect. Only {@linkcode checkRole} makes one. */
export interface RoleAllowed extends Proof<"RoleAllowed"> {
  /** The role that was allowed. */
  readonly role: MemberRole | undefined;
}

/** What the certificate of an identity in hardware names in place of a role. Its key serves no TLS: no policy lets it connect. */
const hardwareClaim = "identity";
const roles: readonly MemberRole[] = ["gateway", "scheduler", "worker", "data", "ca"];

const prefixes: Readonly<Record<SubjectAltName["type"], string>> = {
  dns: "DNS",
  ip: "IP",
  uri: "URI",
  email: "email",
  directory: "directory",
  other: "other",
};

/**
 * Reads the holder's identity from the leaf, and checks that it is the peer that was dialled.
 *
 * Reads only: the checks before it proved that the leaf can be trusted. `checkRole` refuses an unclear role.
 *
 * @param wellFormed The chain; only its leaf counts.
 * @param expectedPeer PeerID that was dialled, as base58btc text; undefined where none was named.
 * @returns The identity, or `peer-id-mismatch`.
 */
export function checkIdentity(
  wellFormed: WellFormed,
  expectedPeer?: string,
): Result.Result<PeerIdentity, PeerIdMismatch | UnsupportedKeyAlgorithm> {
  const { leaf } = wellFormed;
  const known = identities.get(leaf) ?? readIdentity(leaf);
  identities.set(leaf, known);
  if (Result.isFailure(known) || expectedPeer === undefined || expectedPeer === known.success.peer) return known;
  return Result.fail(new PeerIdMismatch({ expected: expectedPeer, actual: known.success.peer }));
}

/** A connection's leaf is read once, and evaluated again with each change of trust. */
const identities = new WeakMap<Certificate, ReturnType<typeof readIdentity>>();

function readIdentity(leaf: Certificate): Result.Result<PeerIdentity, UnsupportedKeyAlgorithm> {
  const peer = peerIdOf(leaf);
  if (Result.isFailure(peer)) return Result.fail(peer.failure);
  const identity = {
    peer: peer.success,
    name: leaf.subject.commonName ?? leaf.subject.text,
    subject: leaf.subject.text,
    names: leaf.subjectAltNames.map(({ type, value }) => `${prefixes[type]}:${value}`),
    ...readRole(leaf),
    serial: leaf.serial,
    issuer: leaf.issuer.text,
    notAfter: leaf.period.notAfter,
  };
  return Result.succeed(identity as unknown as PeerIdentity);
}

/**
 * The identity in the trust domain that vouches for its leaf. A leaf that names no domain is a member of that one: a namesake
 * of a member of the node's own is another member.
 *
 * @param domain The domain of the chosen path; undefined for the node's own bundle.
 */
export function ofDomain(identity: PeerIdentity, domain: string | undefined): PeerIdentity {
  if (domain === undefined || identity.domain !== undefined) return identity;
  return { ...identity, domain } as unknown as PeerIdentity;
}

/**
 * Checks that the role of an identity may connect. A leaf without a URI SAN has no role: it passes unless the policy
 * requires one, independent of `allowedRoles`. A leaf whose URI SANs do not name exactly one known role is always refused.
 *
 * @returns Proof of the check, or `role-not-allowed`.
 */
export function checkRole(identity: PeerIdentity, policy: Policy): Result.Result<RoleAllowed, RoleNotAllowed> {
  const { role, roleClaim } = identity;
  const allowed = roleClaim !== hardwareClaim && (policy.roles === "ignore" ||
    (role === undefined ? roleClaim === undefined && policy.roles === "optional" : policy.allowedRoles.includes(role)));
  if (allowed) return Result.succeed({ role } as unknown as RoleAllowed);
  return Result.fail(
    new RoleNotAllowed({
      certificate: { subject: identity.subject, serial: identity.serial },
      role: role ?? roleClaim ?? "a node without a role",
      allowed: policy.allowedRoles,
    }),
  );
}

/** Role and trust domain of the one URI SAN, `spiffe://<domain>/<role>/<name>`; or what it claims, where it has another form. */
function readRole(leaf: Certificate): Pick<PeerIdentity, "role" | "domain" | "roleClaim"> {
  const uris = leaf.subjectAltNames.filter(({ type }) => type === "uri").map(({ value }) => value);
  if (uris.length === 0) return { role: undefined, domain: undefined };
  const [uri] = uris as [string];
  // Trust domain and path segments as the SPIFFE-ID specification spells them (§2.1, §2.2).
  const parts = /^spiffe:\/\/([a-z0-9._-]{1,255})\/([a-zA-Z0-9._-]+)\/([a-zA-Z0-9._-]+(?:\/[a-zA-Z0-9._-]+)*)$/.exec(
    uri,
  );
  if (uris.length > 1) return { role: undefined, domain: undefined, roleClaim: `all of ${uris.join(", ")}` };
  // A reader that resolves "." and ".." finds another role than one that takes the first segment.
  if (parts === null || uri.split("/").some((segment) => segment === "." || segment === "..")) {
    return { role: undefined, domain: undefined, roleClaim: uri };
  }
  const [, domain, segment] = parts as unknown as [string, string, string];
  const role = roles.find((known) => known === segment);
  return role === undefined ? { role, domain, roleClaim: segment } : { role, domain };
}
