/**
 * Files of approvals next to a CA's certificate: the policy, and the record of what was executed.
 *
 * ```text
 * # Approved operations of CN=Acme Root CA. Kept by hypha-certutil; do not remove lines.
 * authority	5a0c…
 * 9f86…	2026-11-25T02:00:00Z	issue-intermediate	4f31…	alice,bob
 * ```
 *
 * `authority` is the SHA-256 of the CA's public key. A line has nonce, time, operation, SHA-256 of the request, approvers.
 *
 * @module
 */
import { lstatSync, realpathSync } from "node:fs";
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type ApprovalPolicy, type OperationName, parseApprovalPolicy } from "../../../pki/approval/approval_policy.ts";
import type { ApprovalRefused } from "../../../pki/approval/approval_refused.ts";
import { sha256 } from "../../../pki/approval/canonical_line.ts";
import type { Approved } from "../../../pki/approval/verify_approvals.ts";
import { type Certificate, parseCertificate } from "../../../pki/certificate.ts";
import { CertutilError } from "../certutil_error.ts";
import { readCertificateFile, readInput, readTextIfThere } from "../input_file.ts";
import { printable } from "../revocation_record.ts";

const [policyEnding, recordEnding] = [".approvers.json", ".approved.tsv"];

/** Where the policy of a CA is. Where the file exists, the operations that it lists wait for approvals. */
export function approvalPolicyOf(caCert: string): string {
  return `${ownFile(caCert)}${policyEnding}`;
}

/** Where the record of what was executed with approvals is. */
export function approvalRecordOf(caCert: string): string {
  return `${ownFile(caCert)}${recordEnding}`;
}

/** The file itself, where a symbolic link names it: a link must not lead around the approvals. */
function ownFile(path: string): string {
  try {
    return lstatSync(path).isSymbolicLink() ? realpathSync(path) : path;
  } catch {
    // Who reads the certificate says what is wrong with it.
    return path;
  }
}

/** A refusal in the operator's words. */
export function fromApprovalRefused(file: string, { code, detail, hint }: ApprovalRefused): CertutilError {
  return new CertutilError({ what: "accept approvals of", file, detail: `${code}: ${detail}`, remedy: hint });
}

/** Reads a file of lines; the line feed at its end is none of them. */
export function readLines(
  path: string,
  what: string,
  flag: string,
): Effect.Effect<readonly string[], CertutilError, FileSystem> {
  return Effect.map(readInput(path, { what, flag }), (text) => text.replace(/\n$/, "").split("\n"));
}

/** Reads a policy. */
export function readPolicy(path: string): Effect.Effect<ApprovalPolicy, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const text = yield* readInput(path, { what: "approval policy", flag: "--policy" });
    const policy = parseApprovalPolicy(text.replace(/\n$/, ""));
    return yield* Effect.fromResult(Result.mapError(policy, (refused) => fromApprovalRefused(path, refused)));
  });
}

/** Reads a CA's certificate: the first of its file. */
export function readCa(caCert: string): Effect.Effect<Certificate, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const [der] = yield* readCertificateFile(caCert, { what: "CA certificate", flag: "--ca-cert" });
    const refuse = ({ message: detail }: { readonly message: string }) =>
      new CertutilError({ what: "read CA certificate", file: caCert, detail, remedy: "Name another file." });
    return yield* Effect.fromResult(Result.mapError(parseCertificate(der!), refuse));
  });
}

/** The name by which requests call a CA: SHA-256 of its public key, hexadecimal. */
export function caIdOf({ publicKey }: Certificate): string {
  return sha256(publicKey.spki);
}

/**
 * Refuses an operation that waits for approvals. Where the record exists and the policy does not, everything is refused:
 * the policy was removed. The same where one of the two lies in the folder of a link to the certificate.
 */
export function refuseUnapproved(
  caCert: string,
  operation: OperationName,
  act: { readonly what: string; readonly remedy: string } = {
    what: `do ${operation} with`,
    remedy:
      `Make a request with hypha-certutil request ${operation}, and run hypha-certutil execute with its approvals.`,
  },
): Effect.Effect<void, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const path = approvalPolicyOf(caCert);
    const refuse = (detail: string, remedy: string) =>
      new CertutilError({ what: act.what, file: caCert, detail, remedy });
    const there = yield* readTextIfThere(path, { what: "approval policy", flag: "--ca-cert" });
    if (there === undefined) {
      for (const file of [approvalRecordOf(caCert), `${caCert}${policyEnding}`, `${caCert}${recordEnding}`]) {
        const kept = yield* readTextIfThere(file, { what: "record of approved operations", flag: "--ca-cert" });
        if (kept === undefined) continue;
        return yield* refuse(`${file} is there, and the policy ${path} is not`, "Put the policy back.");
      }
      return;
    }
    const { operations, threshold, approvers } = yield* readPolicy(path);
    if (!operations.includes(operation)) return;
    return yield* refuse(`${threshold} of ${approvers.length} persons must approve ${operation} (${path})`, act.remedy);
  });
}

/** Refuses node certificates of a CA whose intermediates wait for approvals: one of them can name a CA. */
export function refuseNodeUnapproved(caCert: string): Effect.Effect<void, CertutilError, FileSystem> {
  return refuseUnapproved(caCert, "issue-intermediate", {
    what: "sign a node certificate with",
    remedy: "Sign it with an intermediate: hypha-certutil request issue-intermediate requests one.",
  });
}

/** The empty record of a CA whose first policy is made. */
export function emptyApprovalRecord(ca: Certificate): string {
  const subject = printable(ca.subject.text);
  return `# Approved operations of ${subject}. Kept by hypha-certutil; do not remove lines.\nauthority\t${
    caIdOf(ca)
  }\n`;
}

/** What was executed with approvals. */
export interface ApprovalRecord {
  readonly nonces: ReadonlySet<string>;
  /** The record with one more line. */
  readonly with: (approved: Approved, at: Date) => string;
}

/** Reads the record. A missing one is refused: without it no replay would be noticed. */
export function readApprovalRecord(
  caCert: string,
  ca: Certificate,
): Effect.Effect<ApprovalRecord, CertutilError, FileSystem> {
  const file = approvalRecordOf(caCert);
  const refuse = (detail: string) =>
    new CertutilError({
      what: "use record of approved operations",
      file,
      detail,
      remedy: "Put back its last good state: an operation that it lacks could be executed again.",
    });
  return Effect.gen(function* () {
    const text = yield* readTextIfThere(file, { what: "record of approved operations", flag: "--ca-cert" });
    if (text === undefined) return yield* refuse("there is no such file");
    const [head = "", authority, ...lines] = text.split("\n");
    if (!head.startsWith("# Approved operations of ")) return yield* refuse("it is none");
    if (authority !== `authority\t${caIdOf(ca)}`) return yield* refuse("it belongs to another CA");
    if (lines.pop() !== "") return yield* refuse("its last line is incomplete");
    const wrong = lines.findIndex((line) => !/^[0-9a-f]{64}(\t[^\t]+){4}$/.test(line));
    if (wrong >= 0) return yield* refuse(`line ${wrong + 3} is no approved operation`);
    return {
      nonces: new Set(lines.map((line) => line.slice(0, 64))),
      with: ({ request, approvers }, at) => {
        const time = at.toISOString().replace(/\.\d+Z$/, "Z");
        const who = approvers.map(({ name }) => name).join(",");
        return `${text}${[request.nonce, time, request.operation.name, request.digest, who].join("\t")}\n`;
      },
    };
  });
}
