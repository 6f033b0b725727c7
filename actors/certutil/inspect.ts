/**
 * Shows what is in a PEM file: certificates, revocation lists, signing requests, keys (never the secret).
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { IssueError } from "../../pki/issue/mod.ts";
import { readCsrDer } from "../../pki/issue/read_csr.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { parsePrivateKey } from "../../pki/key.ts";
import { peerIdOf } from "../../pki/peer_id.ts";
import { formatPem, parsePem, type PemBlock } from "../../pki/pem.ts";
import { CertutilError } from "./certutil_error.ts";
import { readInput } from "./input_file.ts";

/** Entries of a revocation list that are shown; the count tells of the rest. */
export const entriesShownMax = 1_000;

/** One block, as plain JSON data. `error` is there exactly when the block is malformed. */
export interface InspectedBlock {
  readonly label: string;
  /** Line on which the block begins, from 1. */
  readonly line: number;
  readonly kind: "certificate" | "revocation-list" | "signing-request" | "private-key" | "unknown";
  readonly fields: Readonly<Record<string, unknown>>;
  readonly error?: string;
}

/** A file's blocks; `ok` when all of them could be read. */
export interface Inspection {
  readonly file: string;
  readonly ok: boolean;
  readonly blocks: readonly InspectedBlock[];
}

/** Reads a PEM file and describes its blocks. */
export function inspect(file: string): Effect.Effect<Inspection, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const text = yield* readInput(file, { what: "file", flag: "FILE" });
    const blocks = yield* Effect.fromResult(readBlocks(text, file));
    const inspected = blocks.map(inspectBlock);
    return { file, ok: inspected.every(({ error }) => error === undefined), blocks: inspected };
  });
}

function readBlocks(text: string, file: string): Result.Result<readonly PemBlock[], CertutilError> {
  const refuse = (detail: string) =>
    new CertutilError({
      what: "inspect",
      file,
      detail,
      remedy: "Give a file in PEM; convert DER with: openssl x509 -inform DER -in FILE.",
    });
  const parsed = Result.mapError(parsePem(text), ({ message }) => refuse(message));
  return Result.flatMap(
    parsed,
    (blocks) => blocks.length === 0 ? Result.fail(refuse("it holds no PEM block")) : Result.succeed(blocks),
  );
}

type Described = Omit<InspectedBlock, "label" | "line">;

function inspectBlock({ label, der, line }: PemBlock): InspectedBlock {
  return { label, line, ...describe(label, der) };
}

function describe(label: string, der: Uint8Array): Described {
  switch (label) {
    case "CERTIFICATE":
      return described("certificate", Result.map(parseCertificate(der), describeCertificate));
    case "X509 CRL":
    case "CRL":
      return described("revocation-list", describeCrl(der));
    case "CERTIFICATE REQUEST":
    case "NEW CERTIFICATE REQUEST":
      return described("signing-request", describeCsr(der));
    case "PRIVATE KEY":
    case "ENCRYPTED PRIVATE KEY":
      return described(
        "private-key",
        Result.map(parsePrivateKey(formatPem(label, der)), ({ label: algorithm }) => ({ algorithm, format: "PKCS#8" })),
      );
    default:
      return { kind: "unknown", fields: {}, error: `blocks of this kind are not known here` };
  }
}

function described(
  kind: InspectedBlock["kind"],
  outcome: Result.Result<Readonly<Record<string, unknown>>, { readonly message: string }>,
): Described {
  if (Result.isSuccess(outcome)) return { kind, fields: outcome.success };
  return { kind, fields: {}, error: outcome.failure.message };
}

function describeCertificate(certificate: Certificate): Readonly<Record<string, unknown>> {
  const { subject, issuer, serial, period, publicKey, basicConstraints } = certificate;
  const peer = peerIdOf(certificate);
  return {
    subject: subject.text,
    issuer: issuer.text,
    serial,
    notBefore: period.notBefore.toISOString(),
    notAfter: period.notAfter.toISOString(),
    key: publicKey.label,
    ca: basicConstraints?.ca === true,
    pathLength: basicConstraints?.pathLength ?? null,
    names: certificate.subjectAltNames.map(labelled),
    keyUsage: certificate.keyUsage ?? null,
    extendedKeyUsage: certificate.extendedKeyUsage ?? null,
    subjectKeyId: certificate.subjectKeyId ?? null,
    authorityKeyId: certificate.authorityKeyId ?? null,
    unknownCritical: certificate.unknownCritical,
    fingerprint: certificate.fingerprint,
    peer: Result.isSuccess(peer) ? peer.success : null,
  };
}

/** A name as `--san` takes it. */
function labelled({ type, value }: { readonly type: string; readonly value: string }): string {
  return `${["dns", "ip", "uri"].includes(type) ? type.toUpperCase() : type}:${value}`;
}

function describeCrl(der: Uint8Array): Result.Result<Readonly<Record<string, unknown>>, { readonly message: string }> {
  return Result.gen(function* () {
    const list = yield* parseCrl(der);
    const revoked = yield* revokedEntries(list);
    return {
      issuer: list.issuer.text,
      number: list.number,
      thisUpdate: list.thisUpdate.toISOString(),
      nextUpdate: list.nextUpdate.toISOString(),
      authorityKeyId: list.authorityKeyId ?? null,
      entries: revoked.length,
      revoked: revoked.slice(0, entriesShownMax).map(({ serial, date, reason }) => ({
        serial,
        date: date.toISOString(),
        reason: reason ?? "unspecified",
      })),
    };
  });
}

function describeCsr(der: Uint8Array): Result.Result<Readonly<Record<string, unknown>>, { readonly message: string }> {
  return Result.try({
    try: () => {
      const { subject, publicKey, names } = readCsrDer(der);
      return {
        subject: subject.text,
        key: publicKey.label,
        names: (names ?? []).map(labelled),
      };
    },
    catch: (error) => {
      if (!(error instanceof IssueError)) throw error;
      return { message: `Cannot read request: ${error.detail}` };
    },
  });
}
