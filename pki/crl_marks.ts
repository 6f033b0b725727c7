/**
 * High-water marks of revocation lists: a list older than its mark can revoke, but not clear.
 *
 * A mark holds one effective number per trust domain, verifying key and scope: the number of the delta where one is
 * applied, else that of the complete list. A mark per kind of list would let a lost delta clear what it revoked. A CA
 * without CRL numbers is marked by dates. Only lists with a verified signature make marks: a forged list would block
 * the genuine one.
 *
 * Plain data: `actors/files/marks_text.ts` writes it to a file. A key that signs under two names has one mark for both.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { sameBytes } from "./bytes.ts";
import type { Certificate } from "./certificate.ts";
import { arrangeCrls, compareNumbers, type HeldCrl, keyOfCrl } from "./crl.ts";
import { scopeName } from "./crl_scope.ts";

/** The name of the node's own bundle in marks. No trust domain can have this name. */
export const ownDomain = "@own";

/** The highest list used under one key, for one scope. */
export interface CrlMark {
  /** Name of the trust domain, {@linkcode ownDomain} for the node's own. */
  readonly domain: string;
  /** SHA-256 of the issuer's SubjectPublicKeyInfo, lower-case hexadecimal. */
  readonly key: string;
  /** As `scopeName` has it. */
  readonly scope: string;
  /** The highest effective number, decimal; undefined where no list had one. */
  readonly number: string | undefined;
  /** Of lists without a number, the newest date in milliseconds since the epoch; undefined once one had a number. */
  readonly thisUpdate: number | undefined;
  /** The highest effective number in the operator's own file, where a learned list has a higher one; else undefined. */
  readonly given?: string | undefined;
  /** The highest number of a delta that fitted no complete list, and so revoked only. */
  readonly unapplied: string | undefined;
  /** The issuer that the list names, by {@linkcode nameOfIssuer}: finds the mark of a list whose signature is not verified yet. */
  readonly named: string | undefined;
  /** SHA-256 of the DER of the lists that made the number, lower-case hexadecimal. */
  readonly sha256: { readonly complete: string | undefined; readonly delta: string | undefined };
}

/** All marks of a node, each under its {@linkcode placeOf}. */
export type CrlHighWaterMarks = Readonly<Record<string, CrlMark>>;

/** Lists of one key and scope, and which of them are used. */
export interface CrlGroup {
  readonly key: string;
  readonly scope: string;
  /** All of them, as they were read. */
  readonly lists: readonly HeldCrl[];
  /** The complete list whose effective number is the highest, with its delta; undefined where there are deltas only. */
  readonly complete: HeldCrl | undefined;
  /** The effective number; of deltas only, the highest. */
  readonly number: string | undefined;
  readonly thisUpdate: number;
  /** The newest delta that is newer than every used list. */
  readonly unapplied: HeldCrl | undefined;
}

/** The name of a domain in marks. */
export const domainKey = (name: string | undefined): string => name ?? ownDomain;

/** Under what a mark is kept. None of the parts holds a space. */
export const placeOf = (domain: string, key: string, scope: string): string => `${domain} ${key} ${scope}`;

const keys = new WeakMap<Uint8Array, string>();

/** The key of an issuer, as marks name it. */
export function markKey({ publicKey: { spki } }: Certificate): string {
  const known = keys.get(spki);
  if (known !== undefined) return known;
  const key = createHash("sha256").update(spki).digest("hex");
  keys.set(spki, key);
  return key;
}

/** The effective number of a list: its delta's, if it has a delta. */
export const effectiveNumber = ({ number, delta }: HeldCrl): string | undefined => delta?.number ?? number;

/**
 * Sorts lists by key and scope. A list whose signature is not verified yet counts for the keys of `named` marks that have its
 * issuer, key identifier and scope; where there are none, it is left out.
 */
export function groupCrls(lists: readonly HeldCrl[], named: readonly CrlMark[] = []): readonly CrlGroup[] {
  const groups = new Map<string, { key: string; scope: string; lists: HeldCrl[] }>();
  for (const list of lists) {
    const scope = scopeName(list.scope);
    const key = keyOfCrl(list);
    for (const each of key === undefined ? keysNamed(list, scope, named) : [key]) {
      const place = placeOf("", each, scope);
      const group = groups.get(place) ?? { key: each, scope, lists: [] };
      group.lists.push(list);
      groups.set(place, group);
    }
  }
  return [...groups.values()].map((group) => ({ ...group, ...inForce(group.lists) }));
}

function keysNamed(list: HeldCrl, scope: string, marks: readonly CrlMark[]): readonly string[] {
  if (marks.length === 0) return [];
  const name = nameOfIssuer(list);
  return marks.filter((mark) => mark.named === name && mark.scope === scope).map(({ key }) => key);
}

/** The issuer that a list names: SHA-256 (hexadecimal) over the issuer's name and the key identifier. */
export function nameOfIssuer({ issuer, authorityKeyId = "" }: HeldCrl): string {
  return createHash("sha256").update(issuer.der).update(authorityKeyId).digest("hex");
}

/** Whether both lists name the same issuer and key, and cover the same. */
export function isNamedAlike(a: HeldCrl, b: HeldCrl): boolean {
  return a.authorityKeyId === b.authorityKeyId && sameBytes(a.issuer.der, b.issuer.der) &&
    scopeName(a.scope) === scopeName(b.scope);
}

/** Selects the used lists among those of one key and scope. */
export function inForce(
  lists: readonly HeldCrl[],
): Pick<CrlGroup, "complete" | "number" | "thisUpdate" | "unapplied"> {
  const arranged = arrangeCrls(lists);
  const highest = (of: readonly HeldCrl[]) =>
    of.reduce<HeldCrl | undefined>((best, each) => best === undefined || isNewer(each, best) ? each : best, undefined);
  const complete = highest(arranged.filter(({ baseNumber }) => baseNumber === undefined));
  const delta = highest(arranged.filter(({ baseNumber }) => baseNumber !== undefined));
  const number = complete === undefined ? delta?.number : effectiveNumber(complete);
  const isAhead = delta !== undefined && (complete === undefined || isNewer(delta, complete));
  const thisUpdate = (complete ?? delta)?.thisUpdate.getTime() ?? 0;
  return { complete, number, thisUpdate, unapplied: isAhead ? delta : undefined };
}

const isNewer = (a: HeldCrl, b: HeldCrl): boolean =>
  compareMarks(
    { number: effectiveNumber(a), thisUpdate: a.thisUpdate.getTime() },
    { number: effectiveNumber(b), thisUpdate: b.thisUpdate.getTime() },
  ) > 0;

interface Age {
  readonly number: string | undefined;
  readonly thisUpdate: number | undefined;
}

/** Compares marks: a number is newer than no number; without numbers the dates count. */
function compareMarks(a: Age, b: Age): number {
  if (a.number !== undefined && b.number !== undefined) return compareNumbers(a.number, b.number);
  if (a.number !== undefined || b.number !== undefined) return a.number !== undefined ? 1 : -1;
  return (a.thisUpdate ?? -Infinity) - (b.thisUpdate ?? -Infinity);
}

/** The effective number, or the date, as text. */
export const textOf = ({ number, thisUpdate }: Pick<CrlGroup, "number" | "thisUpdate">): string =>
  number ?? `none, of ${new Date(thisUpdate).toISOString()}`;

/** The number or date that a group is older than, as text; undefined where it is not older than its mark. */
export function newerThan(
  group: Pick<CrlGroup, "number" | "thisUpdate" | "unapplied">,
  mark: CrlMark | undefined,
): string | undefined {
  if (mark === undefined) return undefined;
  const marked = mark.number !== undefined || mark.thisUpdate !== undefined;
  if (marked && compareMarks(group, mark) < 0) return mark.number ?? new Date(mark.thisUpdate ?? 0).toISOString();
  const highest = group.unapplied?.number ?? group.number;
  const lost = mark.unapplied !== undefined && (highest === undefined || compareNumbers(highest, mark.unapplied) < 0);
  return lost ? mark.unapplied : undefined;
}

/** Raises the marks of a domain to these lists. Returns the same object if nothing changes. */
export function raiseMarks(
  before: CrlHighWaterMarks,
  domain: string,
  lists: readonly HeldCrl[],
): CrlHighWaterMarks {
  const raised: Record<string, CrlMark> = { ...before };
  let changed = false;
  for (const group of groupCrls(lists)) {
    const place = placeOf(domain, group.key, group.scope);
    const mark = markOf(domain, group);
    const old = before[place];
    const next = old === undefined ? mark : higher(old, mark);
    if (next === old) continue;
    raised[place] = next;
    changed = true;
  }
  return changed ? raised : before;
}

function markOf(domain: string, { key, scope, lists, complete, number, thisUpdate, unapplied }: CrlGroup): CrlMark {
  const file = lists.some(({ learned }) => learned === true)
    ? inForce(lists.filter(({ learned }) => learned !== true)).complete
    : complete;
  const given = file === undefined ? noneGiven : effectiveNumber(file);
  const named = complete ?? unapplied;
  const dated = complete !== undefined && number === undefined;
  return {
    domain,
    key,
    scope,
    number: complete === undefined ? undefined : number,
    given: complete === undefined || given === number ? undefined : given,
    thisUpdate: dated ? thisUpdate : undefined,
    unapplied: unapplied?.number,
    named: named === undefined ? undefined : nameOfIssuer(named),
    sha256: { complete: complete?.sha256, delta: complete?.delta?.sha256 },
  };
}

/** No list is older than this number. */
const noneGiven = "0";

/** The marks of the operator's own files alone: lists learned since then do not make these files old. */
export function marksOfFiles(marks: CrlHighWaterMarks): CrlHighWaterMarks {
  return Object.fromEntries(
    Object.entries(marks).map(([place, mark]) => {
      const { given } = mark;
      return [place, given === undefined ? mark : { ...mark, number: given, unapplied: undefined, given: undefined }];
    }),
  );
}

/** Marks of two sources, of each the higher: the first's where they are equal. */
export function mergeMarks(a: CrlHighWaterMarks, b: CrlHighWaterMarks): CrlHighWaterMarks {
  const merged: Record<string, CrlMark> = { ...a };
  for (const [place, mark] of Object.entries(b)) {
    const other = merged[place];
    merged[place] = other === undefined ? mark : higher(other, mark);
  }
  return merged;
}

/** The higher of two marks of one place; `a` itself where `b` adds nothing. */
function higher(a: CrlMark, b: CrlMark): CrlMark {
  const order = compareMarks(b, a);
  const top = order > 0 ? b : order === 0 ? withHashes(a, b) : a;
  const lone = [a.unapplied, b.unapplied].filter((each) => each !== undefined).sort(compareNumbers).at(-1);
  // What a delta that fitted nothing revoked is in every list from its number on.
  const unapplied = lone !== undefined && top.number !== undefined && compareNumbers(top.number, lone) >= 0
    ? undefined
    : lone;
  const given = givenOf(a, b, top);
  return top.unapplied === unapplied && top.given === given ? top : { ...top, unapplied, given };
}

/** The higher number of the operator's file; undefined where it is that of the mark. */
function givenOf(a: CrlMark, b: CrlMark, { number }: CrlMark): string | undefined {
  const [left, right] = [a.given ?? a.number, b.given ?? b.number];
  const higher = left === undefined || (right !== undefined && compareNumbers(right, left) > 0) ? right : left;
  return higher === number ? undefined : higher;
}

/** Equal numbers: the hashes of the first stay, unless it had none, or the same number is made of other parts now. */
function withHashes(a: CrlMark, b: CrlMark): CrlMark {
  const { complete, delta } = b.sha256;
  if (complete === undefined || equivocates(a, b.sha256)) return a;
  return a.sha256.complete === complete && a.sha256.delta === delta ? a : { ...a, sha256: b.sha256 };
}

/** Whether lists of a mark's own number have another content than those that made it. */
export function equivocates(mark: CrlMark, { complete, delta }: CrlMark["sha256"]): boolean {
  if (mark.number === undefined || mark.sha256.complete === undefined || complete === undefined) return false;
  if (mark.sha256.delta === undefined || delta === undefined) {
    return mark.sha256.delta === delta && mark.sha256.complete !== complete;
  }
  return mark.sha256.delta !== delta;
}
