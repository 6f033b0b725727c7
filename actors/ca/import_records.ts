/**
 * Taking over a CA whose certificates `hypha-certutil` issued: its two text records become rows of the register.
 *
 * @module
 */
import { Effect, Result } from "effect";
import { toHex } from "../../pki/bytes.ts";
import type { Issuer } from "../../pki/issue/mod.ts";
import { CertutilError } from "../certutil/certutil_error.ts";
import { parseRecord, plainSerial, type RevocationRecord } from "../certutil/revocation_record.ts";
import type { CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { nameOf } from "./certificate_rows.ts";
import { enterLists, enterNumber, enterRevocations, lastPosition, type RevocationRow } from "./crl_rows.ts";
import { makeLists } from "./make_lists.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** One of the records: its text and its path, for messages. */
export interface RecordText {
  readonly file: string;
  readonly text: string;
}

/** The records of a CA. */
export interface CaRecords {
  /** `CA-CERT.revoked.tsv`: with it no revocation is forgotten. */
  readonly revoked: RecordText;
  /** `CA-CERT.issued.tsv`; undefined where the CA has issued nothing. */
  readonly issued: RecordText | undefined;
}

/** What was taken over. */
export interface Imported {
  readonly certificates: number;
  readonly revocations: number;
  /** Number of the first list, decimal: above the records' last one. */
  readonly number: string;
}

/** Records that were read. */
export interface ReadRecords {
  /** Of the revocations. */
  readonly file: string;
  readonly known: RevocationRecord;
  readonly issued: readonly IssuedLine[];
}

/** Reads the records of an issuer. */
export function readRecords(
  { revoked, issued }: CaRecords,
  { keyId }: Pick<Issuer, "keyId">,
): Result.Result<ReadRecords, CertutilError> {
  return Result.gen(function* () {
    const known = yield* parseRecord(revoked.text, revoked.file);
    if (known.authority !== toHex(keyId)) {
      return yield* Result.fail(unusable(revoked, "it is the record of another CA"));
    }
    return { file: revoked.file, known, issued: issued === undefined ? [] : yield* parseIssued(issued) };
  });
}

/**
 * Enters the records, and makes the first lists above their number, in one transaction.
 *
 * A certificate that was imported is known by its fingerprint: it can be renewed and revoked. From then on `hypha-certutil` must not
 * make lists of this CA: peers would refuse them as a roll-back.
 */
export function importRecords(
  ca: CertificateAuthority,
  { file, known, issued }: ReadRecords,
  at: Date,
): Effect.Effect<Imported, CertutilError | CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.gen(function* () {
    const ends = new Map(issued.map(({ serial, notAfter }) => [serial, +notAfter]));
    const { position, isUsed } = yield* Effect.fromResult(ca.register.read((register) => ({
      position: lastPosition(register),
      isUsed: register.first("SELECT 1 FROM certificates LIMIT 1") !== undefined,
    })));
    if (position > 0 || isUsed) return yield* unusable({ file }, "the register is in use already");
    const added = known.revocations.map(({ serial, date, reason }, index): RevocationRow => ({
      position: position + 1 + index,
      issuer: ca.issuerId,
      serial,
      revoked: +date,
      reason,
      not_after: ends.get(serial) ?? null,
    }));
    const lists = yield* makeLists(ca, { signer: ca, added, at, above: known.number });
    return yield* Effect.fromResult(ca.register.transaction<Imported, never>((register) => {
      for (const each of issued) enterIssued(register, ca.issuerId, each);
      enterRevocations(register, added);
      enterNumber(register, ca.issuerId, known.number);
      enterLists(register, lists);
      const number = lists.at(-1)!.number;
      return Result.succeed({ certificates: issued.length, revocations: added.length, number });
    }));
  }));
}

/** A certificate of the record of what was issued. */
interface IssuedLine {
  readonly serial: string;
  readonly notBefore: Date;
  readonly notAfter: Date;
  readonly fingerprint: string;
  readonly identity: string;
}

/** Reads the record of what was issued; each line has one certificate. */
function parseIssued(record: RecordText): Result.Result<readonly IssuedLine[], CertutilError> {
  const lines = record.text.split("\n").map((line) => line.replace(/\r$/, ""));
  const read: IssuedLine[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.trim() === "" || line.startsWith("#")) continue;
    const each = parseLine(line.split("\t"));
    if (each === undefined) return Result.fail(unusable(record, `line ${index + 1} is not an issued certificate`));
    read.push(each);
  }
  return Result.succeed(read);
}

function parseLine(fields: readonly string[]): IssuedLine | undefined {
  const [serial = "", begin = "", end = "", fingerprint = "", subject = "", names = ""] = fields;
  const dates = [begin, end].map((text) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/.test(text) ? new Date(text) : undefined);
  const [notBefore, notAfter] = dates;
  if (!/^[0-9a-f]{1,40}$/.test(serial) || !/^[0-9a-f]{64}$/.test(fingerprint)) return undefined;
  if (notBefore === undefined || notAfter === undefined || Number.isNaN(+notBefore + +notAfter)) return undefined;
  const uri = names.split(",").find((name) => name.startsWith("URI:spiffe://"))?.slice("URI:".length);
  return { serial: plainSerial(serial), notBefore, notAfter, fingerprint, identity: uri ?? subject };
}

function enterIssued(rows: RegisterRows, issuer: string, line: IssuedLine): void {
  rows.change(
    "INSERT OR IGNORE INTO certificates VALUES (?, ?, ?, ?, ?, NULL, ?, ?, NULL, NULL, NULL)",
    line.fingerprint,
    issuer,
    line.serial,
    line.identity,
    nameOf(line.identity),
    +line.notBefore,
    +line.notAfter,
  );
}

function unusable({ file }: Pick<RecordText, "file">, detail: string): CertutilError {
  const remedy = "Give the records of the CA that is to go on: CA-CERT.revoked.tsv and CA-CERT.issued.tsv.";
  return new CertutilError({ what: "import record", file, detail, remedy });
}
