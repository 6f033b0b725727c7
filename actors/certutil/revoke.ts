/**
 * Revoking certificates and making revocation lists.
 *
 * @module
 */
import { Clock, Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, isSelfIssued, parseCertificate } from "../../pki/certificate.ts";
import { issueCrl, type RevocationReason } from "../../pki/issue/mod.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { verifySignature } from "../../pki/signature.ts";
import { type Authority, type AuthorityFiles, readAuthority } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";
import { type CrlFile, readCrlFile } from "./crl_file.ts";
import { holdLock } from "./file_lock.ts";
import { readCertificateFile, readIfThere } from "./input_file.ts";
import { checkDays } from "./lifetime.ts";
import { issuing, type Outcome, writeOutputs } from "./outcome.ts";
import { formatRecord, parseRecord, plainSerial, type Revocation, type RevocationRecord } from "./revocation_record.ts";

const dayMs = 24 * 60 * 60 * 1_000;

/** How long before its making a list becomes valid: nodes' clocks may lag. */
export const crlBackdatedMs = 5 * 60 * 1_000;

/** A list to make. */
export interface MakeCrl extends AuthorityFiles {
  /** Days until the next list is due. */
  readonly days: number;
  /**
   * Where the list goes. The file may hold lists of other CAs, which stay; the CA's own list in it is replaced, since
   * it continues the old one.
   */
  readonly outCrl: string;
  /** Where the CA's revocations are recorded; `<caCert>.revoked.tsv` when undefined. */
  readonly record?: string | undefined;
  /** A list of what the last complete one lacks, in place of a complete one; complete ones in the file stay. */
  readonly delta?: boolean;
}

/** A certificate to revoke. */
export interface Revoke extends MakeCrl {
  /** The certificate's file; of several in it, the first. */
  readonly cert: string;
  readonly reason: RevocationReason;
}

type Making = Effect.Effect<Outcome, CertutilError, FileSystem | Path>;

/** Makes a list of what the CA has revoked so far, with a new number and new dates. */
export function makeCrl(options: MakeCrl): Making {
  return Effect.flatMap(readAuthority(options), (authority) => continueList(options, authority, undefined));
}

/**
 * Records a revocation and makes the list that tells of it. A certificate that is revoked already keeps its date and
 * reason; the list is made nevertheless.
 */
export function revoke(options: Revoke): Making {
  return Effect.gen(function* () {
    const authority = yield* readAuthority(options);
    const certificate = yield* firstCertificate(options.cert);
    yield* Effect.fromResult(checkIssued(certificate, authority, options));
    const now = yield* Clock.currentTimeMillis;
    return yield* continueList(options, authority, {
      serial: plainSerial(certificate.serial),
      date: new Date(now - now % 1_000),
      reason: options.reason,
      subject: certificate.subject.text,
    });
  });
}

const firstCertificate = Effect.fnUntraced(function* (file: string) {
  const [der] = yield* readCertificateFile(file, { what: "certificate", flag: "--cert" });
  const remedy = "Give the certificate to revoke, in PEM or DER, with --cert.";
  const refuse = ({ message: detail }: { readonly message: string }) =>
    new CertutilError({ what: "read certificate", file, detail, remedy });
  return yield* Effect.fromResult(Result.mapError(parseCertificate(der!), refuse));
});

/** A list counts for its issuer's certificates only: revoking another's would look done and do nothing. */
function checkIssued(
  certificate: Certificate,
  { certificate: issuer }: Authority,
  files: Revoke,
): Result.Result<void, CertutilError> {
  const { tbs: data, signatureAlgorithm: algorithm, signature } = certificate;
  if (certificate.fingerprint === issuer.fingerprint) {
    return Result.fail(
      new CertutilError({
        what: "revoke",
        file: files.cert,
        detail: "it is the CA's own certificate, which no list takes back",
        remedy: isSelfIssued(issuer)
          ? "Take the root out of every node's trust_pem; nodes take the change up without a restart."
          : "Give the certificate and key of the CA above it with --ca-cert and --ca-key.",
      }),
    );
  }
  const named = sameBytes(certificate.issuer.der, issuer.subject.der);
  if (named && verifySignature({ data, algorithm, signature }, issuer.publicKey)) return Result.void;
  const signer = named ? "another CA of the same name" : certificate.issuer.text;
  return Result.fail(
    new CertutilError({
      what: "revoke",
      file: files.cert,
      detail: `it was issued by ${signer}, not by ${files.caCert}`,
      remedy: "Give the certificate and key of the CA that issued it with --ca-cert and --ca-key.",
    }),
  );
}

/** Reads record and list under their locks, adds to them, and writes both or neither. */
function continueList(options: MakeCrl, authority: Authority, revocation: Revocation | undefined): Making {
  const recordPath = options.record ?? `${options.caCert}.revoked.tsv`;
  return Effect.scoped(Effect.gen(function* () {
    const { days } = yield* Effect.fromResult(checkDays(options.days));
    // Always in the same order, or two who want both could wait for each other.
    for (const path of [recordPath, options.outCrl].toSorted()) yield* holdLock(path);
    const recordText = yield* readIfThere(recordPath, { what: "revocation record", flag: "--record" });
    const crlText = yield* readIfThere(options.outCrl, { what: "revocation lists", flag: "--out-crl" });
    const file = yield* Effect.fromResult(readCrlFile(crlText, options.outCrl, authority));
    const known = yield* Effect.fromResult(knownRecord(recordText, recordPath, authority));
    const listed = yield* Effect.fromResult(listedRevocations(file, options.outCrl));
    const { record, base, warnings } = yield* Effect.fromResult(
      advance(known, { ...listed, revocation, delta: options.delta === true }),
    );
    const now = yield* Clock.currentTimeMillis;
    const pem = yield* issuing("make revocation list", () =>
      issueCrl({
        issuer: authority,
        revoked: record.revocations.slice(base?.entries ?? 0),
        base: base?.number,
        number: record.number,
        thisUpdate: new Date(now - crlBackdatedMs),
        nextUpdate: new Date(now + days * dayMs),
      }));
    const files = [
      { path: recordPath, content: formatRecord(record, authority.certificate.subject.text) },
      { path: options.outCrl, content: file.withOwn(pem, base === undefined ? "all" : "deltas") },
    ];
    const { lines } = yield* writeOutputs(files, "replace");
    const added = base === undefined ? "" : `, ${record.revocations.length - base.entries} since list ${base.number}`;
    const summary = `list ${record.number} of ${authority.certificate.subject.text}: ` +
      `${record.revocations.length} revoked${added}`;
    return { lines: [...lines, summary], warnings: [...authority.warnings, ...warnings] };
  }));
}

function knownRecord(
  text: string | undefined,
  file: string,
  { keyId, certificate }: Authority,
): Result.Result<RevocationRecord, CertutilError> {
  if (text === undefined) return Result.succeed({ authority: keyId, number: 0n, base: undefined, revocations: [] });
  return Result.flatMap(parseRecord(text, file), (record) => {
    if (record.authority === keyId) return Result.succeed(record);
    return Result.fail(
      new CertutilError({
        what: "use revocation record",
        file,
        detail: `it belongs to another CA than ${certificate.subject.text} (key ${record.authority})`,
        remedy: "Name this CA's record with --record, or move the old CA's away.",
      }),
    );
  });
}

/** What the CA's own lists in the file tell: their entries, their highest number, the newest complete one. */
function listedRevocations(file: CrlFile, path: string): Result.Result<Listed, CertutilError> {
  return Result.gen(function* () {
    const revocations: Revocation[] = [];
    let number = 0n;
    let complete: bigint | undefined;
    // Complete lists first: a record that was lost gets its order back from them.
    for (
      const list of file.own.toSorted((a, b) => Number(a.baseNumber !== undefined) - Number(b.baseNumber !== undefined))
    ) {
      const entries = yield* Result.mapError(revokedEntries(list), ({ message: detail }) => {
        const remedy = "Name another file with --out-crl, or move this one away.";
        return new CertutilError({ what: "continue revocation list in", file: path, detail, remedy });
      });
      for (const { serial, date, reason = "unspecified" } of entries) {
        revocations.push({ serial: plainSerial(serial), date, reason, subject: "" });
      }
      const own = BigInt(list.number ?? 0);
      if (own > number) number = own;
      if (list.baseNumber === undefined && own > (complete ?? -1n)) complete = own;
    }
    return { revocations, number, complete };
  });
}

interface Listed {
  readonly revocations: readonly Revocation[];
  readonly number: bigint;
  /** Number of the newest complete list. */
  readonly complete: bigint | undefined;
}

interface Advance extends Listed {
  readonly revocation: Revocation | undefined;
  readonly delta: boolean;
}

interface Advanced {
  readonly record: RevocationRecord;
  /** What a delta builds on; undefined for a complete list. */
  readonly base: RevocationRecord["base"];
  readonly warnings: readonly string[];
}

/**
 * The next record: what the record knows, what the list in force knows beyond it (a record may have been lost, and a
 * list made from an empty one would take every revocation back), and the new revocation. The number goes beyond both.
 */
function advance(
  known: RevocationRecord,
  { revocations: listed, number: listedNumber, complete, revocation, delta }: Advance,
): Result.Result<Advanced, CertutilError> {
  const all = new Map(known.revocations.map((each) => [each.serial, each]));
  const before = all.size;
  for (const each of listed) if (!all.has(each.serial)) all.set(each.serial, each);
  const recovered = all.size - before;
  const warnings = recovered === 0 ? [] : [`took ${recovered} revocations over from the list, the record lacked them`];
  const old = revocation && all.get(revocation.serial);
  if (old !== undefined) warnings.push(`already revoked at ${old.date.toISOString()} (${old.reason})`);
  else if (revocation !== undefined) all.set(revocation.serial, revocation);
  const number = (listedNumber > known.number ? listedNumber : known.number) + 1n;
  const base = delta ? baseOf(known, complete) : undefined;
  if (delta && base === undefined) return Result.fail(nothingToBuildOn());
  const revocations = [...all.values()];
  const next = base ?? { number, entries: revocations.length };
  return Result.succeed({ record: { authority: known.authority, number, base: next, revocations }, base, warnings });
}

/** The complete list that a delta builds on. Of one that the record does not know, a delta repeats what is not in the record. */
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
