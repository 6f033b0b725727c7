/**
 * Name constraints (RFC 5280 §4.2.1.10): which names the CAs of a path may speak for.
 *
 * Fails closed: a name of a constrained kind that cannot be compared refuses the path. That includes every name of a kind
 * that is not processed here, such as otherName.
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Certificate, isSelfIssued, labelOf, type NameConstraints, type SubjectAltName } from "../certificate.ts";
import { decodeDer } from "../der.ts";
import { foldRelativeName, type NameAttribute, readRelativeNames } from "../distinguished_name.ts";
import type { Path } from "./find_paths.ts";
import { BudgetExceeded, NameConstraint } from "../refusal.ts";

/**
 * Comparisons of a name with a constraint, in one search (Go crypto/x509 and webpki: 250,000). Those of other kinds, the octets of
 * directory names that are folded, and each 256 characters of a long name count as well: nothing that a CA puts in is free.
 */
export const nameComparisonsMax = 250_000;
const charactersOfOne = 256;

/** Counts comparisons over a whole search, and keeps what they need. */
export interface ComparisonBudget {
  comparisons: number;
  /** Missing until a CA has constraints. */
  prepared?: {
    readonly names: Map<Certificate, readonly SubjectAltName[]>;
    /** Directory names, folded. */
    readonly folded: Map<SubjectAltName, readonly string[]>;
  };
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
    const { names, folded } = budget.prepared ??= { names: new Map(), folded: new Map() };
    for (let below = above - 1; below >= 0; below--) {
      const certificate = path[below]!;
      if (below > 0 && isSelfIssued(certificate)) continue;
      const subjects = names.get(certificate) ?? namesOf(certificate);
      names.set(certificate, subjects);
      const name = findOutside(subjects, constraints, { budget, folded });
      if (name === exhausted) return new BudgetExceeded({ what: "name comparisons", max: nameComparisonsMax });
      if (name !== undefined) return new NameConstraint({ certificate: labelOf(certificate), name });
    }
  }
  return undefined;
}

interface Search {
  readonly budget: ComparisonBudget;
  readonly folded: Map<SubjectAltName, readonly string[]>;
}

const exhausted = Symbol("exhausted");

/** The first name that is excluded, not permitted, or cannot be compared. */
function findOutside(
  subjects: readonly SubjectAltName[],
  { permitted, excluded }: NameConstraints,
  search: Search,
): string | typeof exhausted | undefined {
  const { folded } = search;
  const within: Comparison = { use: "permitted", folded };
  const outside: Comparison = { use: "excluded", folded };
  for (const subject of subjects) {
    const shown = `${subject.type} name ${subject.value}`;
    let allowed: boolean | undefined;
    for (const constraint of permitted) {
      if (isExhausting(search, subject, constraint)) return exhausted;
      if (!sameKind(subject, constraint)) continue;
      allowed = isWithin(subject, constraint, within);
      if (allowed) break;
    }
    if (allowed === false) return shown;
    for (const constraint of excluded) {
      if (isExhausting(search, subject, constraint)) return exhausted;
      if (sameKind(subject, constraint) && isWithin(subject, constraint, outside)) return shown;
    }
  }
  return undefined;
}

/** Counts a comparison that is to come. Whether it is one too many. */
function isExhausting({ budget, folded }: Search, subject: SubjectAltName, constraint: SubjectAltName): boolean {
  budget.comparisons += 1;
  if (sameKind(subject, constraint)) {
    budget.comparisons += Math.floor((subject.value.length + constraint.value.length) / charactersOfOne);
    for (const name of subject.type === "directory" ? [subject, constraint] : []) {
      if (!folded.has(name)) budget.comparisons += name.octets!.length;
    }
  }
  return budget.comparisons > nameComparisonsMax;
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

/** A directory name as it is compared. */
function foldedOf(name: SubjectAltName, folded: Search["folded"]): readonly string[] {
  const known = folded.get(name);
  if (known !== undefined) return known;
  const relative = relativeNames(name.octets!).map(foldRelativeName);
  folded.set(name, relative);
  return relative;
}

function relativeNames(der: Uint8Array): readonly (readonly NameAttribute[])[] {
  return Result.getOrThrow(decodeDer(der, (cursor) => readRelativeNames(cursor, "name"))); // it parsed before
}

/** Whether a name lies within a constraint. What cannot be compared is not within a permitted one, and is in an excluded one. */
function isWithin(subject: SubjectAltName, constraint: SubjectAltName, as: Comparison): boolean {
  return compare(subject, constraint, as) ?? as.use === "excluded";
}

interface Comparison extends Pick<Search, "folded"> {
  readonly use: "permitted" | "excluded";
}

function compare(
  subject: SubjectAltName,
  constraint: SubjectAltName,
  { use, folded }: Comparison,
): boolean | undefined {
  switch (subject.type) {
    case "dns":
      return isDnsWithin(subject.value.toLowerCase(), constraint.value.toLowerCase(), use);
    case "uri":
      return isHostWithin(hostOfUri(subject.value), constraint.value.toLowerCase());
    case "email":
      return isEmailWithin(subject.value, constraint.value);
    case "ip":
      return isAddressWithin(subject.octets!, constraint.octets!);
    case "directory": {
      const parts = foldedOf(subject, folded);
      return foldedOf(constraint, folded).every((part, index) => parts[index] === part);
    }
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
