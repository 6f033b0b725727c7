/**
 * Which lists that were in force before stay so together with those of a file: where the file's are older, and where a number has
 * two contents.
 *
 * @module
 */
import { sameBytes, toHex } from "./bytes.ts";
import { compareNumbers, type HeldCrl, keyOfCrl } from "./crl.ts";
import {
  type CrlGroup,
  type CrlHighWaterMarks,
  equivocates,
  groupCrls,
  inForce,
  isNamedAlike,
  nameOfIssuer,
  newerThan,
  placeOf,
  textOf,
} from "./crl_marks.ts";
import { scopeName } from "./crl_scope.ts";

/** Lists whose group is older than the one in force before. */
export interface Rollback {
  /** The newest of them. */
  readonly list: HeldCrl;
  /** Its number, with its delta's where it has one, or its date; and those of the mark. */
  readonly number: string;
  readonly seen: string;
}

/** Two contents under one number. */
export interface Equivocation {
  readonly list: HeldCrl;
  readonly number: string;
  /** SHA-256 of the first content and of the other, hexadecimal. */
  readonly hashes: readonly [string, string];
}

/** The files that a node keeps of one key's lists for one scope: SHA-256 of the lists in each. */
export interface KeptCrls {
  readonly key: string;
  readonly scope: string;
  readonly complete: string | undefined;
  readonly delta: string | undefined;
  /** Lists that contradict those two, under their numbers. */
  readonly other: readonly string[];
}

/**
 * Of lists that were in force before or that were learned, those that are in force together with the lists of a file: they are
 * newer, or have the number of one in force and another content. A list of an issuer that the domain has not, and of which the file
 * has no complete list of that scope, is let go: peers with certificates of that issuer are refused.
 *
 * @param kept Lists whose signature was found good, in this process or in an earlier one; and those whose issuer no peer has
 * sent yet, which stay only beside another content of their number. A forged one revokes nothing: each check of a certificate
 * verifies the list's signature.
 * @param issuers The keys of the domain's CAs, as marks name them.
 */
export function keepBeside(
  kept: readonly HeldCrl[],
  given: readonly HeldCrl[],
  issuers: ReadonlySet<string> = new Set(),
): readonly HeldCrl[] {
  const candidates = kept.filter((list) => {
    const key = keyOfCrl(list);
    return (key !== undefined || given.some((each) => isNamedAlike(each, list) && contradicts(each, list))) &&
      given.every(({ sha256 }) => sha256 === undefined || sha256 !== list.sha256) &&
      ((key !== undefined && issuers.has(key)) ||
        given.some((each) => each.baseNumber === undefined && coversAsMuch(each, list)));
  });
  // For lists that name one issuer, of one key and scope, the same others are alike: these are sorted once.
  const named = Map.groupBy(
    candidates,
    (list) => JSON.stringify([keyOfCrl(list), toHex(list.issuer.der), list.authorityKeyId, scopeName(list.scope)]),
  );
  const stay = new Set([...named.values()].flatMap((group) => {
    const alike = (lists: readonly HeldCrl[]) => lists.filter((each) => isOfOneKey(each, group[0]!));
    const file = alike(given);
    const [inFile, used] = [inForce(file), inForce([...file, ...alike(candidates)])];
    return group.filter((list) => !isSuperseded(list, file, inFile) && isUsed(list, used));
  }));
  return newestOfEachNumber(candidates.filter((list) => stay.has(list)));
}

type InForce = ReturnType<typeof inForce>;

/** Whether a list is among those used of its key and scope, or contradicts one of them. */
function isUsed(list: HeldCrl, { complete, unapplied }: InForce): boolean {
  return [complete, complete?.delta, unapplied].some((used) =>
    used !== undefined && (used.index === list.index || contradicts(used, list))
  );
}

/**
 * The lists of a file, those among them that were in force before with what was found of their signature then: a list of an
 * issuer that only peers send is read without it, and would stay beside no older one ({@linkcode keepBeside}).
 */
export function withKnownKeys(given: readonly HeldCrl[], seen: readonly HeldCrl[]): readonly HeldCrl[] {
  const keys = new Map<string, string>();
  for (const list of seen) {
    const key = list.sha256 === undefined ? undefined : keyOfCrl(list);
    if (list.sha256 !== undefined && key !== undefined) keys.set(list.sha256, key);
  }
  return given.map((list) => {
    const key = list.sha256 === undefined || keyOfCrl(list) !== undefined ? undefined : keys.get(list.sha256);
    return key === undefined ? list : { ...list, vouchedBy: key };
  });
}

/**
 * Lists with one number and different contents that are kept, of each key, scope and number. A CA that repeats a number makes
 * one more with each list; the oldest ones go, so that a copy of an old list displaces no newer one.
 */
export const contradictingMax = 8;

function newestOfEachNumber(lists: readonly HeldCrl[]): readonly HeldCrl[] {
  const groups = new Map<string, HeldCrl[]>();
  for (const list of lists) {
    const { number = "", baseNumber } = list;
    const place = [keyOfCrl(list), scopeName(list.scope), baseNumber === undefined ? "complete" : "delta", number]
      .join();
    groups.set(place, [...groups.get(place) ?? [], list]);
  }
  const newestFirst = (a: HeldCrl, b: HeldCrl) => b.thisUpdate.getTime() - a.thisUpdate.getTime();
  return [...groups.values()].flatMap((group) => group.toSorted(newestFirst).slice(0, contradictingMax));
}

const coversAsMuch = (a: HeldCrl, b: HeldCrl): boolean =>
  sameBytes(a.issuer.der, b.issuer.der) && scopeName(a.scope) === scopeName(b.scope);

/** Whether two lists are of one key: the one that signed both, or the one that both name while neither signature is verified. */
function isOfOneKey(a: HeldCrl, b: HeldCrl): boolean {
  const [left, right] = [keyOfCrl(a), keyOfCrl(b)];
  if (left !== undefined && right !== undefined) return left === right && coversAsMuch(a, b);
  return isNamedAlike(a, b);
}

/** `given` are of the same key and scope. */
function isSuperseded(
  list: HeldCrl,
  given: readonly HeldCrl[],
  { complete, number, thisUpdate }: InForce,
): boolean {
  if (given.some((each) => contradicts(each, list))) return false;
  if (complete === undefined) return false;
  if (number === undefined) return list.number === undefined && thisUpdate >= list.thisUpdate.getTime();
  return list.number === undefined || compareNumbers(number, list.number) >= 0;
}

/** Whether two lists of one key and scope, both complete or both deltas, are as old as each other and not the same. */
function contradicts(a: HeldCrl, b: HeldCrl): boolean {
  if ((a.baseNumber === undefined) !== (b.baseNumber === undefined) || a.number !== b.number) return false;
  if (a.sha256 === undefined || a.sha256 === b.sha256) return false;
  return a.number !== undefined || a.thisUpdate.getTime() === b.thisUpdate.getTime();
}

/** Lists that are older than the marks of their domain; unverified lists are found by name. */
export function findRollbacks(
  marks: CrlHighWaterMarks,
  domain: string,
  lists: readonly HeldCrl[],
): readonly Rollback[] {
  return groupCrls(lists, Object.values(marks)).flatMap((group) => {
    const seen = newerThan(group, marks[placeOf(domain, group.key, group.scope)]);
    const list = group.complete ?? group.unapplied;
    if (seen === undefined || list === undefined) return [];
    return [{ list, number: textOf(group), seen }];
  });
}

/** Lists in force that have the number of a mark, or of each other, and another content. One for each key and scope. */
export function findEquivocations(
  marks: CrlHighWaterMarks,
  domain: string,
  lists: readonly HeldCrl[],
): readonly Equivocation[] {
  const groups = groupCrls(lists, Object.values(marks));
  const found = groups.flatMap((group) => among(group.lists) ?? againstMark(marks, domain, group));
  const placed = new Set(groups.flatMap((group) => group.lists));
  const others = Map.groupBy(lists.filter((list) => !placed.has(list)), (list) => nameOfIssuer(list));
  return [...found, ...others.values().flatMap((group) => among(group) ?? [])];
}

/** The first list that contradicts one before it. */
function among(lists: readonly HeldCrl[]): readonly Equivocation[] | undefined {
  for (const list of lists) {
    const twin = lists.find((each) => each.number !== undefined && isOfOneKey(each, list) && contradicts(each, list));
    if (twin?.sha256 !== undefined && list.sha256 !== undefined) {
      return [{ list, number: twin.number!, hashes: [twin.sha256, list.sha256] }];
    }
  }
  return undefined;
}

function againstMark(marks: CrlHighWaterMarks, domain: string, { key, scope, complete, number }: CrlGroup) {
  const mark = marks[placeOf(domain, key, scope)];
  if (complete === undefined || mark === undefined || number === undefined || mark.number !== number) return [];
  const parts = { complete: complete.sha256, delta: complete.delta?.sha256 };
  if (!equivocates(mark, parts)) return [];
  const hashes = [mark.sha256.delta ?? mark.sha256.complete!, parts.delta ?? parts.complete!] as const;
  return [{ list: complete, number, hashes }];
}

/** The lists of a domain to keep, for a start that finds older ones. */
export function crlsToKeep(
  marks: CrlHighWaterMarks,
  domain: string,
  lists: readonly HeldCrl[],
): readonly KeptCrls[] {
  return groupCrls(lists).flatMap((group) => {
    const { key, scope } = group;
    const mark = marks[placeOf(domain, key, scope)];
    if (newerThan(group, mark) !== undefined) return [];
    const first = firstOf(group, mark?.sha256.complete, group.complete);
    const delta = group.complete?.delta ?? group.unapplied;
    const firstDelta = delta && firstOf(group, mark?.sha256.delta, delta);
    const twins = group.lists.filter((each) =>
      [first, firstDelta].some((chosen) => chosen !== undefined && contradicts(each, chosen))
    );
    const other = twins.map(({ sha256 }) => sha256!);
    return [{ key, scope, complete: first?.sha256, delta: firstDelta?.sha256, other: [...new Set(other)] }];
  });
}

/** Of several with the same number, the one that made the mark. */
function firstOf(group: CrlGroup, hash: string | undefined, found: HeldCrl | undefined): HeldCrl | undefined {
  if (found === undefined || found.sha256 === hash) return found;
  return group.lists.find((each) => each.sha256 === hash && contradicts(each, found)) ?? found;
}
