/**
 * A CA's record of its revocations: a text file next to its certificate, one line for each revocation, fit for review in
 * version control.
 *
 * ```text
 * # Revocations of CN=Acme CA, O=Acme. Kept by hypha-certutil; do not remove lines.
 * authority	5a0c…
 * number	7
 * base	6	1
 * 4f31…	2026-11-25T02:00:00Z	keyCompromise	CN=worker-03
 * ```
 *
 * `number` is the last list's; `base` the last complete list's, and how many of the lines it holds.
 *
 * @module
 */
import { Result } from "effect";
import { type RevocationReason, revocationReasons } from "../../pki/issue/mod.ts";
import { CertutilError } from "./certutil_error.ts";

/** One revoked certificate. */
export interface Revocation {
  /** Hexadecimal, lower case, no leading zeros. */
  readonly serial: string;
  /** Milliseconds 0. */
  readonly date: Date;
  readonly reason: RevocationReason;
  /** For the reader; may be empty. */
  readonly subject: string;
}

/** What a CA has revoked. */
export interface RevocationRecord {
  /** Key identifier of the CA, hexadecimal. */
  readonly authority: string;
  /** Number of the last list made; 0 before the first. */
  readonly number: bigint;
  /** The last complete list, on which deltas build; undefined before the first. */
  readonly base: { readonly number: bigint; readonly entries: number } | undefined;
  /** In the order in which they came. */
  readonly revocations: readonly Revocation[];
}

/** Where a CA's record of revocations is. */
export function revocationRecordOf(
  { caCert, record }: { readonly caCert: string; readonly record?: string | undefined },
): string {
  return record ?? `${caCert}.revoked.tsv`;
}

/** The form in which serials are compared. */
export function plainSerial(serial: string): string {
  return serial.toLowerCase().replace(/^0+(?=.)/, "");
}

/** Writes a record; `subject` names the CA for the reader. */
export function formatRecord(record: RevocationRecord, subject: string): string {
  const lines = record.revocations.map(({ serial, date, reason, subject }) =>
    [serial, date.toISOString().replace(/\.\d+Z$/, "Z"), reason, printable(subject)].join("\t")
  );
  return [
    `# Revocations of ${printable(subject)}. Kept by hypha-certutil; do not remove lines.`,
    `authority\t${record.authority}`,
    `number\t${record.number}`,
    ...(record.base === undefined ? [] : [`base\t${record.base.number}\t${record.base.entries}`]),
    ...lines,
    "",
  ].join("\n");
}

/** Text fit for one field of a record. Names are quoted by the certificate parser; a tab or line end must still not get into a line of its own. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, "?");
}

/**
 * Reads a record.
 *
 * @param file Its path, for the message, which names the line too.
 */
export function parseRecord(text: string, file: string): Result.Result<RevocationRecord, CertutilError> {
  let authority: string | undefined;
  let number: bigint | undefined;
  let base: RevocationRecord["base"];
  const revocations: Revocation[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const fields = line.replace(/\r$/, "").split("\t");
    const [first = "", second = "", third = ""] = fields;
    if (first === "authority" && /^[0-9a-f]{2,128}$/.test(second)) authority = second;
    else if (first === "number" && /^\d{1,48}$/.test(second)) number = BigInt(second);
    else if (first === "base" && /^\d{1,48}$/.test(second) && /^\d{1,9}$/.test(third)) {
      base = { number: BigInt(second), entries: Number(third) };
    } else {
      const revocation = parseRevocation(fields);
      if (revocation === undefined) {
        return Result.fail(
          malformed(
            file,
            `line ${index + 1} is not a revocation (serial, time, reason and subject, with tabs between)`,
          ),
        );
      }
      revocations.push(revocation);
    }
  }
  if (authority === undefined) return Result.fail(malformed(file, "its line `authority` is missing"));
  if (number === undefined) return Result.fail(malformed(file, "its line `number` is missing"));
  if (base !== undefined && (base.number > number || base.entries > revocations.length)) {
    return Result.fail(malformed(file, "its line `base` tells of more than the record holds"));
  }
  return Result.succeed({ authority, number, base, revocations });
}

function parseRevocation([serial, date, reason, subject = ""]: readonly string[]): Revocation | undefined {
  const time = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(date ?? "") ? new Date(date!) : undefined;
  if (serial === undefined || !/^[0-9a-f]{1,40}$/.test(serial)) return undefined;
  if (time === undefined || Number.isNaN(time.getTime())) return undefined;
  if (reason === undefined || !Object.hasOwn(revocationReasons, reason)) return undefined;
  return { serial: plainSerial(serial), date: time, reason: reason as RevocationReason, subject };
}

function malformed(file: string, detail: string): CertutilError {
  const remedy = "Put back its last good state; every revocation that it misses would be taken back.";
  return new CertutilError({ what: "use revocation record", file, detail, remedy });
}
