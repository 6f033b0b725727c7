/**
 * `hypha-certutil audit`: verifies a log, proves a record, shows records.
 *
 * @module
 */
import { readFileSync, statSync } from "node:fs";
import { basename } from "node:path";
import { Effect } from "effect";
import type { AuditRecord } from "../audit/audit_record.ts";
import { type AuditKey, formatAuditKey, parseAuditKey } from "../audit/checkpoint.ts";
import { AuditFinding } from "../audit/finding.ts";
import { checkProof, parseProof, proveRecord, type RecordProof, type WantedRecord } from "../audit/prove_record.ts";
import type { FoundCheckpoint } from "../audit/read_checkpoints.ts";
import { noLog, readVerifierKey, type VerifiedLog, verifyLog } from "../audit/verify_log.ts";
import { walkSegments } from "../audit/walk_log.ts";
import { headPath, readHead } from "../witness/head_files.ts";
import { CertutilError } from "./certutil_error.ts";
import { plainSerial } from "./revocation_record.ts";
import { shellWord } from "../files/shell_word.ts";

/** Options of all commands. */
interface KeyOption {
  /** Verifier key, or the path of a file with it; the log's own `audit.vkey` by default. */
  readonly key?: string | undefined;
}

/** Options of `audit verify`. */
export interface VerifyAuditOptions extends KeyOption {
  readonly dir: string;
  /** Path of checkpoints that a witness keeps: the `witness` folder of its state directory, a file of it, or copied checkpoints. */
  readonly witness?: string | undefined;
}

/** Verifies a log; a finding where it is not in order. */
export function verifyAudit(
  { dir, key, witness }: VerifyAuditOptions,
): Effect.Effect<VerifiedLog | AuditFinding, CertutilError> {
  return Effect.gen(function* () {
    const read = yield* keyOf(dir, key);
    if (read instanceof AuditFinding) return read;
    const known = witness === undefined ? undefined : yield* Effect.promise(() => witnessedBy(witness, read));
    return known instanceof AuditFinding ? known : verifyLog(dir, read, known);
  });
}

/** What a witness holds of a log; the path itself where it is a file of checkpoints. */
async function witnessedBy(path: string, key: AuditKey): Promise<string | readonly FoundCheckpoint[] | AuditFinding> {
  const isFolder = statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
  const held = await heldAt(isFolder ? headPath(path, key.name) : path);
  const file = isFolder && held !== undefined ? basename(headPath(path, key.name)) : path;
  const found = (code: AuditFinding["code"], detail: string) =>
    new AuditFinding({ code, file, line: undefined, detail });
  if (held instanceof Error) return found("unreadable", `it cannot be read (${held.message})`);
  if (!isFolder && (held === undefined || held === "damaged")) return path;
  if (held === "damaged") return found("unreadable", "it holds no state of a log");
  if (held?.head.origin !== key.name) return found("unreadable", `the witness holds no state of ${key.name}`);
  const heads = held.fork === undefined ? [held.head] : [held.head, held.fork.held, held.fork.other];
  const other = heads.find(({ binding }) => binding.key !== formatAuditKey(key));
  if (other !== undefined) {
    return found("checkpoint-signature", `the witness holds ${other.size} records of the log that another key signed`);
  }
  return heads.map((head) => ({ ...head, file, line: 1 }));
}

const heldAt = (path: string) => readHead(path).catch((error: Error) => error);

/** Options of `audit prove`. */
export interface ProveOptions extends KeyOption {
  readonly dir: string;
  /** Number of the record. Either this or `serial` is given. */
  readonly seq?: number | undefined;
  /** Serial of an issued certificate, hexadecimal: the record of its issuance is meant, in the log of a CA. */
  readonly serial?: string | undefined;
}

/** Proves a record. */
export function proveAudit({ dir, seq, serial, key }: ProveOptions): Effect.Effect<RecordProof, CertutilError> {
  const what = serial === undefined ? `prove record ${seq ?? ""} of` : `prove the issuance of certificate ${serial} by`;
  const failed = (detail: string, remedy: string) =>
    Effect.fail(new CertutilError({ what, file: dir, detail, remedy }));
  return Effect.gen(function* () {
    const wanted = wantedOf({ seq, serial });
    if (wanted === undefined) {
      return yield* failed("which record is not clear", "Give the number of a record, or --serial HEX, and not both.");
    }
    const read = yield* keyOf(dir, key);
    const proof = read instanceof AuditFinding ? read : proveRecord(dir, wanted, read);
    if (proof === "no-record") {
      const type = serial === undefined ? "" : " --type certificate.issued";
      return yield* failed(
        "the log does not have it",
        `Look for it: hypha-certutil audit show${type} -d ${shellWord(dir)}.`,
      );
    }
    if (proof === "no-checkpoint") {
      return yield* failed("no checkpoint covers it yet", "A running node makes one within a minute: try again.");
    }
    if (proof instanceof AuditFinding) return yield* failed(proof.message, "The log was changed: keep a copy of it.");
    return proof;
  });
}

function wantedOf({ seq, serial }: Pick<ProveOptions, "seq" | "serial">): WantedRecord | undefined {
  if (serial === undefined || seq !== undefined) return serial === undefined ? seq : undefined;
  const plain = plainSerial(serial.replaceAll(":", "")); // OpenSSL prints them with colons
  return /^[0-9a-f]+$/.test(plain) ? issuanceOf(plain) : undefined;
}

const issuanceOf = (serial: string) => ({ type, detail }: AuditRecord): boolean =>
  type === "certificate.issued" && detail["serial"] === serial;

/** Options of `audit check`. */
export interface CheckProofOptions {
  /** Path of the proof. */
  readonly file: string;
  readonly key: string;
}

/** Checks a proof: the record where it holds, else what is wrong. */
export function checkAuditProof(
  { file, key }: CheckProofOptions,
): Effect.Effect<RecordProof | { readonly problem: string }, CertutilError> {
  return Effect.gen(function* () {
    const read = yield* givenKey(key);
    const proof = parseProof(yield* textOf(file, "read proof"));
    if (proof === undefined) return { problem: "it is no proof" };
    const problem = checkProof(proof, read);
    return problem === undefined ? proof : { problem };
  });
}

/** Options of `audit show`: all that are given must hold. */
export interface ShowOptions {
  readonly dir: string;
  /** RFC 3339; `until` is not included. */
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  /** The outcome: a refusal's code. */
  readonly code?: string | undefined;
  readonly type?: string | undefined;
  /** Part of the peer's name or PeerID. */
  readonly peer?: string | undefined;
}

/** What is done with the records that are shown. */
export interface ShownRecords {
  readonly onRecord: (record: AuditRecord, line: string) => void;
  /** Runs after the records of each segment, and where a finding ends them. */
  readonly onSegment: Effect.Effect<void>;
}

/** Passes on the records that the options describe, in their order; a finding where the log is not in order up to there. */
export function showAudit(
  options: ShowOptions,
  { onRecord, onSegment }: ShownRecords,
): Effect.Effect<AuditFinding | undefined, CertutilError> {
  return Effect.gen(function* () {
    const since = yield* instantOf(options.since, "--since");
    const until = yield* instantOf(options.until, "--until");
    const { dir, code, type, peer } = options;
    const segments = walkSegments(dir, {
      onRecord: ({ record, text }) => {
        const isShown = (since === undefined || record.ts >= since) && (until === undefined || record.ts < until) &&
          (code === undefined || record.outcome === code) && (type === undefined || record.type === type) &&
          (peer === undefined || record.peer?.includes(peer) === true);
        if (isShown) onRecord(record, text);
      },
    });
    while (true) {
      const { done, value } = segments.next();
      yield* onSegment;
      if (done !== true) continue;
      if (value instanceof AuditFinding) return value;
      return value.state === undefined ? noLog() : undefined;
    }
  });
}

function instantOf(text: string | undefined, flag: string): Effect.Effect<string | undefined, CertutilError> {
  if (text === undefined) return Effect.succeed(undefined);
  const at = new Date(text);
  if (!Number.isNaN(+at)) return Effect.succeed(at.toISOString());
  const detail = `${JSON.stringify(text)} is no instant`;
  return Effect.fail(new CertutilError({ what: `take ${flag}`, detail, remedy: "Write it as 2026-01-31T12:00:00Z." }));
}

function keyOf(dir: string, key: string | undefined): Effect.Effect<AuditKey | AuditFinding, CertutilError> {
  return key === undefined ? Effect.sync(() => readVerifierKey(dir)) : givenKey(key);
}

function givenKey(key: string): Effect.Effect<AuditKey, CertutilError> {
  return Effect.gen(function* () {
    const read = parseAuditKey(key) ?? parseAuditKey((yield* textOf(key, "read verifier key")).trim());
    if (read !== undefined) return read;
    const remedy = "Give NAME+ID+KEY, or a file with it: the log's audit.vkey.";
    return yield* new CertutilError({ what: "read verifier key", file: key, detail: "it is none", remedy });
  });
}

function textOf(file: string, what: string): Effect.Effect<string, CertutilError> {
  return Effect.try({
    try: () => readFileSync(file, "utf8"),
    catch: (error) => {
      const detail = error instanceof Error ? error.message : String(error);
      return new CertutilError({ what, file, detail, remedy: "Check the path." });
    },
  });
}
