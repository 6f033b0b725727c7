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
import { refuseUnapproved } from "./approval/approval_files.ts";
import { type Authority, type AuthorityFiles, isIssuedBy, readAuthority } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";
import { readCrlFile } from "./crl_file.ts";
import { checkSequence, type KnownLists, listedRevocations, type NextRecord, nextRecord } from "./crl_sequence.ts";
import { holdLock } from "./file_lock.ts";
import { readCertificateFile, readIfThere, readTextIfThere } from "./input_file.ts";
import { checkDays } from "./lifetime.ts";
import { issuing, type Outcome, writeOutputs } from "./outcome.ts";
import type { Output } from "./replacement.ts";
import {
  formatRecord,
  parseRecord,
  plainSerial,
  type Revocation,
  type RevocationRecord,
  revocationRecordOf,
} from "./revocation_record.ts";

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
  /** The CA has made no list before: without record and without list, there is nothing to continue. */
  readonly first?: boolean;
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
    yield* Effect.fromResult(checkIssued(certificate, authority.certificate, options));
    if (certificate.basicConstraints?.ca === true) yield* refuseUnapproved(options.caCert, "revoke-ca");
    return yield* addToList(options, authority, certificate, options.reason);
  });
}

/** A revocation that enough persons have approved. */
export interface ApprovedRevocation {
  readonly certificate: Certificate;
  readonly reason: RevocationReason;
  /** The record of approved operations, which is written with the list, and before it. */
  readonly entry: Output;
}

/** As {@linkcode revoke}, for a certificate that an approved request holds. */
export function revokeApproved(options: MakeCrl, { certificate, reason, entry }: ApprovedRevocation): Making {
  return Effect.gen(function* () {
    const authority = yield* readAuthority(options);
    const files = { cert: certificate.subject.text, caCert: options.caCert };
    yield* Effect.fromResult(checkIssued(certificate, authority.certificate, files));
    return yield* addToList(options, authority, certificate, reason, [entry]);
  });
}

const addToList = Effect.fnUntraced(function* (
  options: MakeCrl,
  authority: Authority,
  { serial, subject }: Certificate,
  reason: RevocationReason,
  before: readonly Output[] = [],
) {
  const now = yield* Clock.currentTimeMillis;
  const date = new Date(now - now % 1_000);
  const revocation = { serial: plainSerial(serial), date, reason, subject: subject.text };
  return yield* continueList(options, authority, revocation, before);
});

/** The first certificate of a file. */
export const firstCertificate = Effect.fnUntraced(function* (file: string) {
  const [der] = yield* readCertificateFile(file, { what: "certificate", flag: "--cert" });
  const remedy = "Give the certificate to revoke, in PEM or DER, with --cert.";
  const refuse = ({ message: detail }: { readonly message: string }) =>
    new CertutilError({ what: "read certificate", file, detail, remedy });
  return yield* Effect.fromResult(Result.mapError(parseCertificate(der!), refuse));
});

/** A list counts for its issuer's certificates only: revoking another's would look done and do nothing. */
export function checkIssued(
  certificate: Certificate,
  issuer: Certificate,
  files: Pick<Revoke, "cert" | "caCert">,
): Result.Result<void, CertutilError> {
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
  if (isIssuedBy(certificate, { certificate: issuer })) return Result.void;
  const named = sameBytes(certificate.issuer.der, issuer.subject.der);
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
function continueList(
  options: MakeCrl,
  authority: Authority,
  revocation: Revocation | undefined,
  before: readonly Output[] = [],
): Making {
  const recordPath = revocationRecordOf(options);
  return Effect.scoped(Effect.gen(function* () {
    const { days } = yield* Effect.fromResult(checkDays(options.days));
    // Always in the same order: otherwise two processes that need both locks could deadlock.
    for (const path of [recordPath, options.outCrl].toSorted()) yield* holdLock(path);
    const recordText = yield* readTextIfThere(recordPath, { what: "revocation record", flag: "--record" });
    const crls = yield* readIfThere(options.outCrl, { what: "revocation lists", flag: "--out-crl" });
    const file = yield* Effect.fromResult(readCrlFile(crls, options.outCrl, authority));
    const record = yield* Effect.fromResult(knownRecord(recordText, recordPath, authority));
    const listed = yield* Effect.fromResult(listedRevocations(file, options.outCrl));
    const known: KnownLists = { authority: authority.keyId, record, recordPath, listed, listPath: options.outCrl };
    yield* Effect.fromResult(checkSequence(known, options.first === true));
    const next = yield* Effect.fromResult(nextRecord(known, { revocation, delta: options.delta === true }));
    const now = yield* Clock.currentTimeMillis;
    const pem = yield* issuing("make revocation list", () =>
      issueCrl({
        issuer: authority.issuer,
        revoked: next.record.revocations.slice(next.base?.entries ?? 0),
        base: next.base?.number,
        number: next.record.number,
        thisUpdate: new Date(now - crlBackdatedMs),
        nextUpdate: new Date(now + days * dayMs),
      }));
    const { text: subject } = authority.certificate.subject;
    const content = file.withOwn(pem, next.base === undefined ? "all" : "deltas");
    const files: readonly Output[] = [
      ...before,
      { path: recordPath, kind: "record", content: formatRecord(next.record, subject) },
      { path: options.outCrl, kind: "revocation-list", content },
    ];
    const { lines } = yield* writeOutputs(files, "replace", [], [options.caCert, options.caKey]);
    const warnings = [...authority.warnings, ...file.warnings, ...next.warnings];
    return { lines: [...lines, summaryOf(next, subject)], warnings };
  }));
}

function summaryOf({ record, base }: NextRecord, subject: string): string {
  const { number, revocations } = record;
  const added = base === undefined ? "" : `, ${revocations.length - base.entries} since list ${base.number}`;
  return `list ${number} of ${subject}: ${revocations.length} revoked${added}`;
}

function knownRecord(
  text: string | undefined,
  file: string,
  { keyId, certificate }: Authority,
): Result.Result<RevocationRecord | undefined, CertutilError> {
  if (text === undefined) return Result.succeed(undefined);
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
