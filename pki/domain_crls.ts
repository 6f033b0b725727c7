/**
 * The revocation lists of one trust domain: the lists of its file, joined with the lists used before.
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Issuer, type Issuers, refusedAmong } from "./bundle_revocation.ts";
import type { Certificate } from "./certificate.ts";
import { arrangeCrls, type CrlRequirement, type HeldCrl, isSignedBy, keyOfCrl } from "./crl.ts";
import {
  type CrlGroup,
  type CrlHighWaterMarks,
  domainKey,
  groupCrls,
  isNamedAlike,
  markKey,
  marksOfFiles,
  newerThan,
  placeOf,
  raiseMarks,
} from "./crl_marks.ts";
import { covers } from "./crl_scope.ts";
import { findEquivocations, findRollbacks, keepBeside, type Rollback, withKnownKeys } from "./crl_union.ts";
import type { LocatedCrl } from "./crl_reader.ts";
import { CrlEquivocation, CrlRollback } from "./refusal.ts";
import { refuseTrust, type TrustError } from "./trust_error.ts";
import type { TrustWarning } from "./trust_warning.ts";

/**
 * A file with a list that is older than its mark: `refuse`, the default, makes no snapshot of it; `report` takes it, with a
 * warning, for what it revokes. A list whose signature is not verified yet is always taken so: another CA may have its name.
 */
export type RollbackPolicy = "refuse" | "report";

/** The marks and lists known from before. */
export interface SeenBefore {
  readonly marks: CrlHighWaterMarks;
  /** By `domainKey`. */
  readonly lists: ReadonlyMap<string, readonly HeldCrl[]> | undefined;
  /** Lists of the state directory, by `domainKey`. */
  readonly learned?: ReadonlyMap<string, readonly HeldCrl[]> | undefined;
}

/** The lists of a domain. */
export interface DomainCrls {
  /** As they were read. */
  readonly lists: readonly HeldCrl[];
  /** With deltas on their bases, the newest first. */
  readonly arranged: readonly HeldCrl[];
  /** The domain's marks, raised to these lists. */
  readonly marks: CrlHighWaterMarks;
  readonly warnings: readonly TrustWarning[];
}

/**
 * Joins the lists of a domain's file with the lists used before and those of the state directory; or fails with a list of the file
 * that is older than the file had it before.
 */
export function joinCrls(
  located: readonly LocatedCrl[],
  { name, rollback = "refuse", before, cas, requirement }: {
    readonly name: string | undefined;
    readonly rollback?: RollbackPolicy | undefined;
    readonly before: SeenBefore;
    /** The domain's CAs: learned lists of others do not count. */
    readonly cas: readonly Certificate[];
    readonly requirement: CrlRequirement;
  },
): Result.Result<DomainCrls, TrustError> {
  const domain = domainKey(name);
  const learned = (before.learned?.get(domain) ?? []).filter((list) => isNotForged(list, cas));
  const seen = distinct([...before.lists?.get(domain) ?? [], ...learned]);
  const own = Object.fromEntries(Object.entries(before.marks).filter(([, mark]) => mark.domain === domain));
  const marked = raiseMarks(own, domain, seen);
  const given = withKnownKeys(located.map(({ list }) => list), seen);
  const older = findRollbacks(marksOfFiles(marked), domain, given);
  const lineOf = ({ index }: HeldCrl) => located.find(({ list }) => list.index === index)?.line;
  // A list that is compared by its name alone may be another issuer's: the check of each certificate finds its key.
  const refused = older.find(({ list }) => keyOfCrl(list) !== undefined);
  if (refused !== undefined && rollback === "refuse") return refuseOlder(refused, lineOf(refused.list), name);
  const lists = [...given, ...keepBeside(seen, given, new Set(cas.map(markKey)))];
  const marks = raiseMarks(marked, domain, lists);
  const unclear = findRollbacks(marks, domain, lists);
  const place = (list: HeldCrl) => ({ subject: list.issuer.text, domain: name, line: lineOf(list) });
  const warnings: TrustWarning[] = [
    ...older.map((each) => rollbackWarning(each, place(each.list), unclear)),
    ...unclear.filter((each) => !older.some(({ list }) => isNamedAlike(list, each.list)))
      .map((each) => lackingWarning(each, place(each.list), requirement)),
    ...findEquivocations(marks, domain, lists).map(({ list, number, hashes: sha256 }): TrustWarning => {
      const refusal = new CrlEquivocation({ issuer: list.issuer.text, number, sha256 });
      const message = `${refusal.message}. ${refusal.hint}`;
      return { code: "crl-equivocation", level: "error", ...place(list), message, refusal };
    }),
  ];
  return Result.succeed({ lists, arranged: arrangeCrls(lists), marks, warnings });
}

function refuseOlder(
  { list, number, seen }: Rollback,
  line: number | undefined,
  name: string | undefined,
): Result.Result<never, TrustError> {
  const refusal = new CrlRollback({ issuer: list.issuer.text, number, seen });
  const { message: detail, hint } = refusal;
  const domain = name === undefined ? {} : { domain: name };
  return refuseTrust({ input: "crls_pem", problem: "crl-rollback", line, detail, hint, refusal, ...domain });
}

function rollbackWarning(
  { list, number, seen }: Rollback,
  place: Pick<TrustWarning, "subject" | "domain" | "line">,
  unclear: readonly Rollback[],
): TrustWarning {
  const { issuer } = list;
  const effect = unclear.some((each) => each.list.issuer.text === issuer.text)
    ? `its entries count as revoked, but it clears no certificate, so that certificates of ${issuer.text} are refused`
    : "the node uses the newer list that it saved";
  const message =
    `the list of ${issuer.text} has number ${number}, older than ${seen}, which was seen before: ${effect}. ` +
    "Put the newest list of the CA there, and find out who put the old one back.";
  const refusal = new CrlRollback({ issuer: issuer.text, number, seen });
  return { code: "crl-rollback", level: "error", ...place, message, refusal };
}

/** An earlier process vouched for it, perhaps by its file's name alone: where the CA is known by now, the signature decides. */
function isNotForged(list: HeldCrl, cas: readonly Certificate[]): boolean {
  return cas.every((ca) => markKey(ca) !== list.vouchedBy || isSignedBy(list, ca));
}

/** The first of each content. */
function distinct(lists: readonly HeldCrl[]): readonly HeldCrl[] {
  const seen = new Set<string>();
  return lists.filter(({ sha256 }) => sha256 === undefined || (!seen.has(sha256) && seen.add(sha256)));
}

/** Of a list that is older than one learned before. */
function lackingWarning(
  { list: { issuer }, number, seen }: Rollback,
  place: Pick<TrustWarning, "subject" | "domain" | "line">,
  requirement: CrlRequirement,
): TrustWarning {
  const refused = requirement === "required" ? `, so that certificates of ${issuer.text} are refused` : "";
  const message =
    `the newest list of ${issuer.text} has number ${number}, older than ${seen}, which was used before and is ` +
    `lost: its entries count as revoked, but it clears no certificate${refused}, until the newer one is fetched again`;
  const refusal = new CrlRollback({ issuer: issuer.text, number, seen });
  return { code: "crl-rollback", level: requirement === "required" ? "error" : "warn", ...place, message, refusal };
}

/** The CAs that no list clears: the lists of their issuer are older than their marks, or missing although they have a mark. */
export function unclearAmong(
  cas: readonly Certificate[],
  issuers: Issuers,
  { arranged, marks, name }: Pick<DomainCrls, "arranged" | "marks"> & { readonly name: string | undefined },
): readonly Certificate[] {
  const domain = domainKey(name);
  // Of all lists of the domain: a key that signs under two names has one mark for both.
  const present = new Set(groupCrls(arranged).map(({ key, scope }) => placeOf(domain, key, scope)));
  const missing = Object.entries(marks).filter(([place, { scope }]) =>
    !scope.startsWith("users") && !present.has(place)
  );
  const lacking = new Set(missing.map(([, { key }]) => key));
  const older = new Map([...issuers.values()].flat().map((issuer) => [issuer, olderLists(issuer, domain, marks)]));
  const isUnclear = (ca: Certificate, issuer: Issuer) =>
    issuer.cas.some((each) => each !== ca) &&
    (lacking.has(markKey(issuer.cas[0])) || older.get(issuer)!.some(({ scope }) => covers(scope, ca)));
  return refusedAmong(cas, issuers, isUnclear, "refused");
}

/** The lists of an issuer that are older than their marks. */
function olderLists(
  { cas: [ca], lists }: Issuer,
  domain: string,
  marks: CrlHighWaterMarks,
): readonly HeldCrl[] {
  const isOlder = (group: CrlGroup) => newerThan(group, marks[placeOf(domain, markKey(ca), group.scope)]) !== undefined;
  return groupCrls(lists).filter(isOlder).flatMap((group) => group.lists);
}
