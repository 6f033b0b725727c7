/**
 * Members: what a role's books remember of a peer.
 *
 * A PeerID may hold several certificates at once: a renewal with the same key, another role, another trust domain. An honest
 * renewal is the same member; another role is another one. Serial and dates are not part of it: they are for the log and for
 * revocation.
 *
 * @module
 */
import type { MemberRole } from "./certificate.ts";
import type { PeerIdentity } from "./path.ts";
import type { TrustSnapshot } from "./trust_snapshot.ts";

/** A member, as text that is equal for equal members: PeerID, trust domain, role, and SPIFFE name or subject and issuer. */
export type Member = string & { readonly member: unique symbol };

/** A member that is connected, and where it is reached. */
export interface ConnectedMember {
  /** PeerID, base58btc text. */
  readonly peer: string;
  /** What its certificate proved. */
  readonly member: Member;
  /** The role that its certificate names. */
  readonly role: MemberRole | undefined;
}

/** What of an identity makes the member. */
export type MemberFacts = Pick<PeerIdentity, "peer" | "domain" | "role" | "names" | "subject" | "issuer">;

/**
 * The member that an identity belongs to.
 *
 * @example A renewal with the same key is the same member
 * ```ts
 * import * as assert from "uvu/assert";
 * import { memberOf } from "hypha-runtime/pki";
 *
 * const facts = { peer: "12D3KooW…", domain: undefined, role: "worker", names: [], subject: "CN=w", issuer: "CN=ca" } as const;
 * assert.is(memberOf(facts), memberOf({ ...facts }));
 * assert.is.not(memberOf(facts), memberOf({ ...facts, role: "scheduler" }));
 * ```
 */
export function memberOf({ peer, domain, role, names, subject, issuer }: MemberFacts): Member {
  const spiffe = role === undefined ? undefined : names.find((name) => name.startsWith("URI:spiffe://"));
  const named = spiffe === undefined ? [subject, issuer] : [spiffe];
  return JSON.stringify([peer, domain ?? "", role ?? "", ...named]) as Member;
}

/** The members with one more, or with what its newest certificate proved of one of them. */
export function withConnected(members: readonly ConnectedMember[], identity: MemberFacts): readonly ConnectedMember[] {
  const { peer, role } = identity;
  return [...withoutConnected(members, identity), { peer, member: memberOf(identity), role }];
}

/** The members without one of them. */
export function withoutConnected(
  members: readonly ConnectedMember[],
  identity: MemberFacts,
): readonly ConnectedMember[] {
  const gone = memberOf(identity);
  return members.filter(({ member }) => member !== gone);
}

/**
 * Whether two members are one node with two keys: both certificates name the same trust domain, role and name, and the PeerIDs differ.
 * A certificate without a role names its node by subject and issuer.
 */
export function isRekeyed(one: Member, other: Member): boolean {
  return partsOf(one)[0] !== partsOf(other)[0] && nodeOf(one) === nodeOf(other);
}

/** The node that a member is, as text that is equal for all keys of one node: trust domain, role and name. */
export function nodeOf(member: Member): string {
  const [, ...named] = partsOf(member);
  return JSON.stringify(named);
}

const partsOf = (member: Member) => JSON.parse(member) as readonly string[];

/** Whether some connected member of a PeerID may act in a role. */
export function isConnectedAs(members: readonly ConnectedMember[], peer: string, role: MemberRole): boolean {
  return members.some((other) => other.peer === peer && standsFor(other.role, role));
}

/**
 * Whether a certificate's role is this one. A certificate without a role stands for each of them but `ca` (`docs/wire.md`,
 * "Extensions").
 */
export function standsFor(role: MemberRole | undefined, as: MemberRole): boolean {
  return role === undefined ? as !== "ca" : role === as;
}

/**
 * Whether an identity is the CA of a node's own trust domain. A certificate without a role is not, and neither is a partner's CA:
 * no policy and no rule of an operator changes that.
 *
 * @param snapshot The trust that the identity was verified under.
 */
export function isOwnCa(
  { role, domain }: Pick<PeerIdentity, "role" | "domain">,
  { ownName, domains = [] }: Pick<TrustSnapshot, "ownName" | "domains">,
): boolean {
  if (role !== "ca") return false;
  return ownName === undefined ? domains.every(({ name }) => name !== domain) : domain === ownName;
}
