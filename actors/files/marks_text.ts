/**
 * The file of CRL marks, `crl_marks.json`: to text and back.
 *
 * @module
 */
import type { CrlHighWaterMarks, CrlMark } from "../../pki/crl_marks.ts";
import { placeOf } from "../../pki/crl_marks.ts";
import { scopeNamePattern } from "../../pki/crl_scope.ts";

/** The content of a file of marks. */
export interface MarksRead {
  readonly marks: CrlHighWaterMarks;
  /** The problem, as the end of a sentence; readable entries count all the same. */
  readonly problem: string | undefined;
}

/** CRL numbers have at most 20 octets, 49 decimal digits (RFC 5280 §5.2.3). */
const numberPattern = /^(0|[1-9][0-9]{0,48})$/;
const hashPattern = /^[0-9a-f]{64}$/;
/** SPIFFE trust domains, and `ownDomain`. */
const domainPattern = /^(@own|[a-z0-9._-]{1,255})$/;

/** Writes marks as JSON, in the order of their places; numbers are text. */
export function formatMarks(marks: CrlHighWaterMarks): string {
  const entries = Object.entries(marks).sort(([a], [b]) => a < b ? -1 : 1).map(([, mark]) => ({
    ...mark,
    thisUpdate: mark.thisUpdate === undefined ? undefined : new Date(mark.thisUpdate).toISOString(),
  }));
  return `${JSON.stringify({ version: 1, marks: entries }, null, 2)}\n`;
}

/** Reads marks. Never fails: a malformed file has no marks, and a problem. */
export function parseMarks(text: string): MarksRead {
  const none = (problem: string): MarksRead => ({ marks: {}, problem });
  if (text.trim() === "") return none("is empty");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return none("is not JSON");
  }
  if (!isRecord(value)) return none("is not a JSON object");
  if (value["version"] !== 1) return none(`has version ${JSON.stringify(value["version"])}, where 1 is read`);
  if (!Array.isArray(value["marks"])) return none("has no list of marks");
  const read = (value["marks"] as readonly unknown[]).map(readMark);
  const wrong = read.findIndex((mark) => mark === undefined);
  const marks = Object.fromEntries(
    read.filter((mark) => mark !== undefined).map((mark) => [placeOf(mark.domain, mark.key, mark.scope), mark]),
  );
  return { marks, problem: wrong < 0 ? undefined : `has an entry that is no mark, number ${wrong + 1}` };
}

function readMark(value: unknown): CrlMark | undefined {
  if (!isRecord(value)) return undefined;
  const hashes = isRecord(value["sha256"]) ? value["sha256"] : {};
  const { domain, key, scope, number, given, thisUpdate, unapplied, named } = value;
  const date = thisUpdate === undefined ? undefined : typeof thisUpdate === "string" ? Date.parse(thisUpdate) : NaN;
  const fits = isText(domain, domainPattern) && isText(key, hashPattern) && isText(scope, scopeNamePattern) &&
    [number, given, unapplied].every((each) => each === undefined || isText(each, numberPattern)) &&
    [named, hashes["complete"], hashes["delta"]].every((each) => each === undefined || isText(each, hashPattern)) &&
    !Number.isNaN(date) && [number, date, unapplied].some((each) => each !== undefined);
  if (!fits) return undefined;
  const sha256 = { complete: hashes["complete"], delta: hashes["delta"] };
  return { domain, key, scope, number, given, thisUpdate: date, unapplied, named, sha256 } as CrlMark;
}

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isText = (value: unknown, pattern: RegExp): value is string => typeof value === "string" && pattern.test(value);
