/**
 * Name constraints (RFC 5280 §4.2.1.10): which names the CAs of a path may speak for.
 *
 * Fails closed: a name of a constrained kind that cannot be compared refuses the path. That includes every name of a kind
 * that is not processed here, such as otherName.
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Certificate, isSelfIssued, labelOf, type SubjectAltName } from "../certificate.ts";
import { decodeDer } from "../der.ts";
import { foldRelativeName, type NameAttribute, readRelativeNames } from "../distinguished_name.ts";
import type { Path } from "./find_paths.ts";
import { BudgetExceeded, NameConstraint } from "../refusal.ts";

/** Comparisons of a name with a constraint, in one search (Go crypto/x509 and webpki: 250,000). */
export const nameComparisonsMax = 250_000;

/** Counts comparisons over a whole search. */
export interface ComparisonBudget {
  comparisons: number;
}

/**
 * Why a name on `path` lies outside of what a CA above it may speak for; undefined where none does.
 *
 * @param path Leaf first, the anchor last; the anchor's constraints count too.
 * @param budget Counts comparisons; all paths of a search share it.
 */
export function refuseNames(path: Path, budget: ComparisonBudget): NameConstraint | BudgetExceeded | undefined {
  for (let above = path.length - 1; above > 0; above--) {
    const constraints = path[above]!.nameConstraints;
    if (constraints === undefined) continue;
    const permitted = prepare(constraints.permitted);
    const excluded = prepare(constraints.excluded);
    for (let below = above - 1; below >= 0; below--) {
      const certificate = path[below]!;
      if (below > 0 && isSelfIssued(certificate)) continue;
      const name = findOutside(certificate, permitted, excluded, budget);
      if (name === exhausted) return new BudgetExceeded({ what: "name comparisons", max: nameComparisonsMax });
      if (name !== undefined) return new NameConstraint({ certificate: labelOf(certificate), name });
    }
  }
  return undefined;
}

/** A constraint or name, with directory names folded once. */
interface Prepared {
  readonly name: SubjectAltName;
  readonly relative: readonly string[] | undefined;
}

const exhausted = Symbol("exhausted");

/** The first name of a certificate that is excluded, not permitted, or cannot be compared. */
function findOutside(
  certificate: Certificate,
  permitted: readonly Prepared[],
  excluded: readonly Prepared[],
  budget: ComparisonBudget,
): string | typeof exhausted | undefined {
  for (const subject of prepare(namesOf(certificate))) {
    const shown = `${subject.name.type} name ${subject.name.value}`;
    let allowed: boolean | undefined;
    for (const constraint of permitted) {
      if (!sameKind(subject.name, constraint.name)) continue;
      if (++budget.comparisons > nameComparisonsMax) return exhausted;
      allowed = allowed === true || isWithin(subject, constraint, "permitted");
      if (allowed) break;
    }
    if (allowed === false) return shown;
    for (const constraint of excluded) {
      if (!sameKind(subject.name, constraint.name)) continue;
      if (++budget.comparisons > nameComparisonsMax) return exhausted;
      if (isWithin(subject, constraint, "excluded")) return shown;
    }
  }
  return undefined;
}

/** Whether a constraint applies to names of that kind; kinds that are not processed are distinguished by their tag. */
function sameKind(name: SubjectAltName, constraint: SubjectAltName): boolean {
  return name.type === constraint.type && (name.type !== "other" || name.value === constraint.value);
}

/** Alternative names, the subject, and the e-mail addresses in it where no alternative name is one. */
function namesOf(certificate: Certificate): readonly SubjectAltName[] {
  const names: SubjectAltName[] = [...certificate.subjectAltNames];
  if (certificate.subject.text !== "") {
    names.push({ type: "directory", value: certificate.subject.text, octets: certificate.subject.der });
  }
  if (!names.some(({ type }) => type === "email")) {
    for (const { oid, text } of relativeNames(certificate.subject.der).flat()) {
      if (oid === "1.2.840.113549.1.9.1") names.push({ type: "email", value: text ?? "" });
    }
  }
  return names;
}

function prepare(names: readonly SubjectAltName[]): readonly Prepared[] {
  return names.map((name) => ({
    name,
    relative: name.type === "directory" ? relativeNames(name.octets!).map(foldRelativeName) : undefined,
  }));
}

function relativeNames(der: Uint8Array): readonly (readonly NameAttribute[])[] {
  return Result.getOrThrow(decodeDer(der, (cursor) => readRelativeNames(cursor, "name"))); // it parsed before
}

/** Whether a name lies within a constraint. What cannot be compared is not within a permitted one, and is in an excluded one. */
function isWithin(subject: Prepared, constraint: Prepared, use: "permitted" | "excluded"): boolean {
  const within = compare(subject, constraint, use);
  return within ?? use === "excluded";
}

function compare(subject: Prepared, constraint: Prepared, use: "permitted" | "excluded"): boolean | undefined {
  switch (subject.name.type) {
    case "dns":
      return isDnsWithin(subject.name.value.toLowerCase(), constraint.name.value.toLowerCase(), use);
    case "uri":
      return isHostWithin(hostOfUri(subject.name.value), constraint.name.value.toLowerCase());
    case "email":
      return isEmailWithin(subject.name.value, constraint.name.value);
    case "ip":
      return isAddressWithin(subject.name.octets!, constraint.name.octets!);
    case "directory":
      return constraint.relative!.every((part, index) => subject.relative![index] === part);
    case "other":
      return undefined;
  }
}

const label = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const hostName = new RegExp(`^(?=.{1,253}$)${label}(?:\\.${label})*$`);

/**
 * `example.com` covers itself and all below it; the empty constraint covers everything. A wildcard name lies within a
 * permitted subtree only if every name that it matches does, and within an excluded one if any of them does.
 */
function isDnsWithin(name: string, constraint: string, use: "permitted" | "excluded"): boolean | undefined {
  const wildcard = name.startsWith("*.");
  const base = wildcard ? name.slice(2) : name;
  if (!hostName.test(base)) return undefined;
  if (constraint === "") return true;
  if (!hostName.test(constraint)) return undefined;
  if (base === constraint || base.endsWith(`.${constraint}`)) return true;
  // *.example.com matches a.example.com too, which an excluded a.example.com covers.
  return wildcard && use === "excluded" && constraint.endsWith(`.${base}`) &&
    !constraint.slice(0, -base.length - 1).includes(".");
}

/** `host` covers that host alone, `.host` all below it (URIs and e-mail). */
function isHostWithin(host: string | undefined, constraint: string): boolean | undefined {
  if (host === undefined) return undefined;
  const bare = constraint.startsWith(".") ? constraint.slice(1) : constraint;
  if (!hostName.test(bare)) return undefined;
  return constraint.startsWith(".") ? host.endsWith(constraint) : host === constraint;
}

/** The host of a URI with an authority; undefined for anything unusual: no authority, user information, an address. */
function hostOfUri(uri: string): string | undefined {
  const host = /^[a-z][a-z0-9+.-]*:\/\/([^/?#@\\]*)(?:[/?#]|$)/i.exec(uri)?.[1]?.toLowerCase().replace(/:\d*$/, "");
  if (host === undefined || !hostName.test(host) || /^[\d.]+$/.test(host)) return undefined;
  return host;
}

/** `user@host` covers one mailbox, whose local part keeps its letter case; `host` and `.host` as for URIs. */
function isEmailWithin(address: string, constraint: string): boolean | undefined {
  const at = address.lastIndexOf("@");
  const host = address.slice(at + 1).toLowerCase();
  // Quoted local parts may hold an @. They are not supported: two readers would split them at different places.
  if (at < 1 || address.indexOf("@") !== at || !hostName.test(host)) return undefined;
  const split = constraint.lastIndexOf("@");
  if (split === 0) return undefined; // neither a mailbox nor a host
  if (split < 0) return isHostWithin(host, constraint.toLowerCase());
  return address.slice(0, at) === constraint.slice(0, split) && host === constraint.slice(split + 1).toLowerCase();
}

/** Network and mask, one behind the other; IPv4 and IPv6 never cover each other. */
function isAddressWithin(address: Uint8Array, constraint: Uint8Array): boolean {
  if (constraint.length !== address.length * 2) return false;
  return address.every((octet, index) => {
    const mask = constraint[address.length + index]!;
    return (octet & mask) === (constraint[index]! & mask);
  });
}
