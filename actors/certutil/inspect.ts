/**
 * Shows what is in a file, PEM or DER: certificates, revocation lists, signing requests, keys (never the secret).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { parseCrl } from "../../pki/crl.ts";
import { IssueError } from "../../pki/issue/mod.ts";
import { readCsrDer } from "../../pki/issue/read_csr.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { parsePrivateKey, type PrivateKey } from "../../pki/key.ts";
import { decodeDer, tags } from "../../pki/der.ts";
import { keyIdOf } from "../../pki/issue/extensions.ts";
import { readPublicKey } from "../../pki/public_key.ts";
import { peerIdOf, peerIdOfKey } from "../../pki/peer_id.ts";
import { formatPem, parsePem, type PemBlock } from "../../pki/pem.ts";
import { CertutilError } from "./certutil_error.ts";
import { pemOf } from "../files/file_kind.ts";
import { readInputBytes } from "./input_file.ts";
import { nameText } from "./node_names.ts";
import { decryptKey } from "./passphrase.ts";

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

/**
 * Reads a file and describes its blocks; each value of a file in DER is one block.
 *
 * @param passin Where the passphrase of an encrypted key is; without it, the report on such a key is only that it is encrypted.
 */
export function inspect(
  file: string,
  passin?: string | undefined,
): Effect.Effect<Inspection, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    const bytes = yield* readInputBytes(file, { what: "file", flag: "FILE" });
    const read = pemOf(bytes);
    if (bytes[0] === tags.sequence && !read.startsWith("-----BEGIN ")) {
      // Read as a certificate, so that the message names what is wrong with it.
      const block = inspectBlock({ label: "CERTIFICATE", der: bytes, line: 1 });
      return { file, ok: block.error === undefined, blocks: [block] };
    }
    const text = passin === undefined ? read : yield* decryptKey(read, file, passin);
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
      remedy: "Give certificates, revocation lists, requests or keys in PEM, or one of them in DER.",
    });
  const parsed = Result.mapError(parsePem(text), ({ message }) => refuse(message));
  return Result.flatMap(
    parsed,
    (blocks) => {
      if (blocks.length > 0) return Result.succeed(blocks);
      return Result.fail(refuse(text.trim() === "" ? "it is empty" : "it is neither PEM nor DER"));
    },
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
        Result.map(parsePrivateKey(formatPem(label, der)), describeKey),
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
    names: certificate.subjectAltNames.map(nameText),
    keyUsage: certificate.keyUsage ?? null,
    extendedKeyUsage: certificate.extendedKeyUsage ?? null,
    subjectKeyId: certificate.subjectKeyId ?? null,
    authorityKeyId: certificate.authorityKeyId ?? null,
    unknownCritical: certificate.unknownCritical,
    fingerprint: certificate.fingerprint,
    peer: Result.isSuccess(peer) ? peer.success : null,
  };
}

function describeCrl(der: Uint8Array): Result.Result<Readonly<Record<string, unknown>>, { readonly message: string }> {
  return Result.gen(function* () {
    const list = yield* parseCrl(der);
    const revoked = yield* revokedEntries(list);
    return {
      issuer: list.issuer.text,
      number: list.number ?? null,
      baseNumber: list.baseNumber ?? null,
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

/** A key's public part; the secret is not shown. */
function describeKey({ label, spki }: PrivateKey): Readonly<Record<string, unknown>> {
  const publicKey = Result.getOrThrow(decodeDer(spki, readPublicKey));
  return {
    algorithm: label,
    format: "PKCS#8",
    publicKey: Buffer.from(publicKey.raw).toString("hex"),
    subjectKeyId: Buffer.from(keyIdOf(publicKey.raw)).toString("hex"),
    peer: peerIdOfKey(publicKey) ?? null,
  };
}

function describeCsr(der: Uint8Array): Result.Result<Readonly<Record<string, unknown>>, { readonly message: string }> {
  return Result.try({
    try: () => {
      const { subject, publicKey, names } = readCsrDer(der);
      return {
        subject: subject.text,
        key: publicKey.label,
        names: names.map(nameText),
      };
    },
    catch: (error) => {
      if (!(error instanceof IssueError)) throw error;
      return { message: `Cannot read request: ${error.detail}` };
    },
  });
}
