/**
 * The sequence of a CA's revocation lists: each contains the revocations of those before it, and a higher number. What
 * came before is in the CA's record and in the file that the new list is written to.
 *
 * @module
 */
import { Result } from "effect";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { CertutilError } from "./certutil_error.ts";
import type { CrlFile } from "./crl_file.ts";
import { plainSerial, type Revocation, type RevocationRecord } from "./revocation_record.ts";

/** The known lists of a CA. */
export interface KnownLists {
  /** Key identifier of the CA, hexadecimal. */
  readonly authority: string;
  /** Undefined where there is no record. */
  readonly record: RevocationRecord | undefined;
  readonly recordPath: string;
  readonly listed: ListedRevocations;
  readonly listPath: string;
}

/** What the CA's own lists in a file contain. */
export interface ListedRevocations {
  readonly revocations: readonly Revocation[];
  /** The highest number; 0 where there is no list. */
  readonly number: bigint;
  /** Number of the newest complete list; undefined where there is none. */
  readonly complete: bigint | undefined;
  /** Number of the complete list on which the newest delta builds; undefined where there is no delta. */
  readonly deltaBase: bigint | undefined;
  readonly count: number;
}

/** Reads the entries and numbers of the CA's own lists in a file. */
export function listedRevocations(file: CrlFile, path: string): Result.Result<ListedRevocations, CertutilError> {
  return Result.gen(function* () {
    const revocations: Revocation[] = [];
    let number = 0n;
    let complete: bigint | undefined;
    let delta: { readonly number: bigint; readonly base: bigint } | undefined;
    // Complete lists first: a record that was lost gets its order back from them.
    const isDelta = ({ baseNumber }: { readonly baseNumber?: string | undefined }) => Number(baseNumber !== undefined);
    for (const list of file.own.toSorted((a, b) => isDelta(a) - isDelta(b))) {
      const entries = yield* Result.mapError(revokedEntries(list), ({ message: detail }) => {
        const remedy = "Name another file with --out-crl, or move this one away.";
        return new CertutilError({ what: "continue revocation list in", file: path, detail, remedy });
      });
      for (const { serial, date, reason = "unspecified" } of entries) {
        revocations.push({ serial: plainSerial(serial), date, reason, subject: "" });
      }
      const own = BigInt(list.number ?? 0);
      if (own > number) number = own;
      if (list.baseNumber === undefined) complete = own > (complete ?? -1n) ? own : complete;
      else if (own >= (delta?.number ?? -1n)) delta = { number: own, base: BigInt(list.baseNumber) };
    }
    return { revocations, number, complete, deltaBase: delta?.base, count: file.own.length };
  });
}

/**
 * Refuses to make a list where earlier revocations would be forgotten: with neither record nor list, unless it is the
 * CA's first; and where only a delta is there, without the complete list that it builds on.
 */
export function checkSequence(known: KnownLists, first: boolean): Result.Result<void, CertutilError> {
  const { record, recordPath, listed, listPath } = known;
  const refuse = (detail: string, remedy: string) =>
    Result.fail(new CertutilError({ what: "make revocation list", file: listPath, detail, remedy }));
  const newest = listed.number > (record?.number ?? 0n) ? listed.number : record?.number ?? 0n;
  if (first && (listed.count > 0 || newest > 0n)) {
    return refuse(`it is not the CA's first, which has made list ${newest} before`, "Leave --first out.");
  }
  if (!first && record === undefined && listed.count === 0) {
    return refuse(
      `there is neither the CA's record ${recordPath} nor an earlier list of it, so that its revocations would be forgotten`,
      "Name the record with --record, or put the CA's last list there; if the CA has never made one, add --first.",
    );
  }
  const { deltaBase: base, complete = -1n } = listed;
  if (base !== undefined && complete < base && (record?.number ?? -1n) < base) {
    return refuse(
      `the newest list in it is a delta on list ${base}, which is neither in it nor in the CA's record`,
      "Put the complete list back into the file, or name the record with --record.",
    );
  }
  return Result.void;
}

/** What the next list adds, and of which sort it is. */
export interface NextList {
  readonly revocation: Revocation | undefined;
  readonly delta: boolean;
}

/** The record as it is once the next list is made. */
export interface NextRecord {
  readonly record: RevocationRecord;
  /** What a delta builds on; undefined for a complete list. */
  readonly base: RevocationRecord["base"];
  readonly warnings: readonly string[];
}

/**
 * The next record: the revocations of the record, those of the lists that the record lacks, and the new one. The number
 * is higher than any that is known.
 */
export function nextRecord(
  { authority, record, recordPath, listed, listPath }: KnownLists,
  { revocation, delta }: NextList,
): Result.Result<NextRecord, CertutilError> {
  const known = record ?? { authority, number: 0n, base: undefined, revocations: [] };
  const all = new Map(known.revocations.map((each) => [each.serial, each]));
  const before = all.size;
  for (const each of listed.revocations) if (!all.has(each.serial)) all.set(each.serial, each);
  const recovered = all.size - before;
  const warnings = [
    ...(record === undefined && listed.count > 0
      ? [`there was no record ${recordPath}: made it from list ${listed.number} in ${listPath}`]
      : []),
    ...(recovered === 0 ? [] : [`took ${recovered} revocations over from the list, the record lacked them`]),
  ];
  const old = revocation && all.get(revocation.serial);
  if (old !== undefined) warnings.push(`already revoked at ${old.date.toISOString()} (${old.reason})`);
  else if (revocation !== undefined) all.set(revocation.serial, revocation);
  const number = (listed.number > known.number ? listed.number : known.number) + 1n;
  const base = delta ? baseOf(known, listed.complete) : undefined;
  if (delta && base === undefined) return Result.fail(nothingToBuildOn());
  const revocations = [...all.values()];
  const next = base ?? { number, entries: revocations.length };
  return Result.succeed({ record: { authority, number, base: next, revocations }, base, warnings });
}

/** The complete list that a delta builds on. If the record does not know that list, the delta repeats its entries that the record lacks. */
function baseOf(known: RevocationRecord, complete: bigint | undefined): RevocationRecord["base"] {
  if (known.base !== undefined && known.base.number >= (complete ?? 0n)) return known.base;
  return complete === undefined ? undefined : { number: complete, entries: 0 };
}

function nothingToBuildOn(): CertutilError {
  return new CertutilError({
    what: "make delta",
    detail: "there is no complete list to build on",
    remedy: "Make one first: hypha-certutil gen-crl without --delta.",
  });
}
