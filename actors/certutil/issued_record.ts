/**
 * A CA's record of the certificates that it issued: a text file next to its certificate, one line for each, fit for review in
 * version control. The record of revocations has the revoked ones.
 *
 * ```text
 * # Issued by CN=Acme CA, O=Acme. Kept by hypha-certutil; one line a certificate.
 * 4f31…	2026-11-24T02:00:00Z	2027-11-25T02:00:00Z	9f86d081…	CN=worker-03	URI:spiffe://acme/worker/w3
 * ```
 *
 * Serial, not before, not after, SHA-256 of the certificate, subject, alternative names.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import type { Path } from "effect/Path";
import { parseCertificate } from "../../pki/certificate.ts";
import type { Authority, AuthorityFiles } from "./authority.ts";
import { CertutilError } from "./certutil_error.ts";
import { holdLock } from "./file_lock.ts";
import { readTextIfThere } from "./input_file.ts";
import { nameText } from "./node_names.ts";
import { issuing, type Outcome, writeOutputs } from "./outcome.ts";
import type { Output } from "./replacement.ts";
import { plainSerial, printable } from "./revocation_record.ts";

/** What was issued, and the files that it goes into. */
export interface IssuedOutput {
  readonly der: Uint8Array;
  readonly files: readonly Output[];
  readonly warnings: readonly string[];
}

/** Where a CA's record of what it issued is. */
export function issuedRecordOf(authority: Pick<AuthorityFiles, "caCert" | "issued">): string {
  return authority.issued ?? `${authority.caCert}.issued.tsv`;
}

/**
 * Writes what was issued and the CA's record of it, all or none. The record is locked meanwhile: of two who issue at once
 * neither loses its line.
 *
 * @param read Files that the command reads in addition to the CA's. The command replaces none of them.
 */
export function writeIssued(
  files: AuthorityFiles,
  authority: Authority,
  { der, files: outputs, warnings }: IssuedOutput,
  existing: "keep" | "replace",
  read: readonly string[] = [],
): Effect.Effect<Outcome, CertutilError, FileSystem | Path> {
  const path = issuedRecordOf(files);
  return Effect.scoped(Effect.gen(function* () {
    yield* holdLock(path);
    const before = yield* readTextIfThere(path, { what: "record of issued certificates", flag: "--issued" });
    if (before !== undefined && before.trim() !== "" && !before.startsWith("# Issued by ")) {
      const [what, detail] = ["use record of issued certificates", "it is none"];
      return yield* new CertutilError({ what, file: path, detail, remedy: "Name another file with --issued." });
    }
    const subject = printable(authority.certificate.subject.text);
    const head = before ?? `# Issued by ${subject}. Kept by hypha-certutil; one line a certificate.\n`;
    const line = yield* issuing("record certificate", () => Promise.resolve(recordLine(der)));
    const content = `${head}${head === "" || head.endsWith("\n") ? "" : "\n"}${line}\n`;
    const record: Output = { path, kind: "record", content, existing: "replace" };
    const inputs = [files.caCert, files.caKey, ...read];
    const { lines } = yield* writeOutputs([...outputs, record], existing, warnings, inputs);
    return { lines, warnings };
  }));
}

function recordLine(der: Uint8Array): string {
  const { serial, period, fingerprint, subject, subjectAltNames } = Result.getOrThrow(parseCertificate(der));
  const names = subjectAltNames.map(nameText);
  const time = (at: Date) => at.toISOString().replace(/\.\d+Z$/, "Z");
  const fields = [
    plainSerial(serial),
    time(period.notBefore),
    time(period.notAfter),
    fingerprint,
    subject.text,
    names.join(","),
  ];
  return fields.map(printable).join("\t");
}
