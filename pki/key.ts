/**
 * Private keys: PKCS#8 in PEM (RFC 5958), version 1 or 2.
 *
 * @module
 */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { Buffer } from "node:buffer";
import * as Data from "effect/Data";
import * as Result from "effect/Result";
import { sameBytes } from "./bytes.ts";
import type { Certificate, KeyAlgorithm } from "./certificate.ts";
import { decodeDer, tags } from "./der.ts";
import { formatPem, parsePem } from "./pem.ts";
import { readPublicKey } from "./public_key.ts";

/** A private key. Holds the secret itself: not for logs, snapshots or context. */
export interface PrivateKey {
  /** The kind of key. */
  readonly algorithm: KeyAlgorithm;
  /** The algorithm's name, for messages. */
  readonly label: string;
  /** PKCS#8 version 1, also where version 2 was read. */
  readonly pkcs8: Uint8Array;
  /** The public key that belongs to it. */
  readonly spki: Uint8Array;
}

/** A text that is not a private key that a node can use. */
export class KeyError extends Data.TaggedError("KeyError")<{
  readonly problem:
    | "pem"
    | "no-key"
    | "several-keys"
    | "encrypted"
    | "traditional-format"
    | "malformed"
    | "unsupported";
  readonly detail: string;
  readonly hint: string;
  /** Line of the block at fault, from 1. */
  readonly line?: number;
}> {
  /** What happened, in one line. */
  override get message(): string {
    return `Cannot read private key: ${this.detail}`;
  }
}

/** The one PKCS#8 label (RFC 7468 §10). */
const label = "PRIVATE KEY";
const convert = "openssl pkcs8 -topk8 -nocrypt -in KEY.pem -out KEY.pkcs8.pem";
const generate = "Make a key with: hypha-certutil gen-cert (or openssl genpkey -algorithm ed25519).";

/**
 * Reads the private key of a PEM file: exactly one, in PKCS#8, not encrypted (specification: "Certificate
 * Requirements"). Other blocks, such as certificates, are ignored.
 *
 * @param pem The file's text.
 * @returns The key; or the error, with the command that corrects it.
 *
 * @example A key in the traditional format
 * ```ts
 * import * as assert from "uvu/assert";
 * import { Result } from "effect";
 * import { parsePrivateKey } from "hypha-runtime/pki";
 *
 * const outcome = parsePrivateKey("-----BEGIN EC PRIVATE KEY-----\nMAA=\n-----END EC PRIVATE KEY-----\n");
 * assert.is(Result.isFailure(outcome) && outcome.failure.problem, "traditional-format");
 * ```
 */
export function parsePrivateKey(pem: string): Result.Result<PrivateKey, KeyError> {
  // Asked before the PEM is parsed: encrypted traditional keys have headers, which are no PEM of ours.
  const traditional = /-----BEGIN ((?:RSA|EC|DSA|OPENSSH) PRIVATE KEY)-----/.exec(pem);
  if (traditional !== null) {
    const hint = traditional[1]!.startsWith("OPENSSH") ? generate : `Convert it with: ${convert}`;
    return failure("traditional-format", `${traditional[1]} is not the PKCS#8 format`, hint);
  }
  const blocks = parsePem(pem);
  if (Result.isFailure(blocks)) {
    const { detail, line } = blocks.failure;
    return failure("pem", detail, "Look at the file at the line named here, or copy it again.", line);
  }
  const encrypted = blocks.success.find((block) => block.label === `ENCRYPTED ${label}`);
  if (encrypted !== undefined) {
    return failure(
      "encrypted",
      "it is encrypted",
      `Decrypt it with: openssl pkcs8 -in KEY.pem -out PLAIN.pem`,
      encrypted.line,
    );
  }
  const [block, second] = blocks.success.filter((found) => found.label === label);
  if (block === undefined) return failure("no-key", `no block ${label} in it`, generate);
  if (second !== undefined) {
    return failure("several-keys", "more than one key in it", "Leave one key in the file.", second.line);
  }
  return readKey(block.der, block.line);
}

/** Whether a private key belongs to the public key of a certificate. */
export function keyMatches(certificate: Certificate, key: PrivateKey): boolean {
  return sameBytes(certificate.publicKey.spki, key.spki);
}

/**
 * A key as PEM that the TLS libraries of both runtimes take: PKCS#8 version 1. OpenSSL before 3.5 cannot read
 * version 2, which the existing network's tool writes.
 */
export function toTlsPem(key: PrivateKey): string {
  return formatPem(label, key.pkcs8);
}

function readKey(der: Uint8Array, line: number): Result.Result<PrivateKey, KeyError> {
  const pkcs8 = decodeDer(der, (cursor) => {
    const fields = cursor.enter(tags.sequence, "PrivateKeyInfo");
    if (fields.small("version") > 1) fields.fail("the version is neither 1 nor 2");
    fields.read(tags.sequence, "key algorithm");
    const algorithm = fields.whole;
    fields.read(tags.octetString, "private key");
    const secret = fields.whole;
    while (fields.peek() === 0xa0 || fields.peek() === 0x81) fields.readAny("attributes or public key");
    fields.finish("PrivateKeyInfo");
    return versionOne(algorithm, secret);
  });
  const broken = (detail: string) => failure("malformed", detail, `${generate} Or convert it with: ${convert}`, line);
  if (Result.isFailure(pkcs8)) return broken(pkcs8.failure.detail);
  let spki: Uint8Array;
  try {
    const secret = createPrivateKey({ key: Buffer.from(pkcs8.success), format: "der", type: "pkcs8" });
    const exported = createPublicKey(secret).export({ format: "der", type: "spki" });
    spki = new Uint8Array(exported);
  } catch {
    return broken("the library cannot read the key in it");
  }
  const publicKey = decodeDer(spki, readPublicKey);
  if (Result.isFailure(publicKey)) return broken(publicKey.failure.detail);
  const { algorithm, label: name } = publicKey.success;
  if (algorithm === "unknown") return failure("unsupported", `${name} is not supported`, generate, line);
  return Result.succeed({ algorithm, label: name, pkcs8: pkcs8.success, spki });
}

/** `SEQUENCE { 0, algorithm, secret }`: without attributes and public key. */
function versionOne(algorithm: Uint8Array, secret: Uint8Array): Uint8Array {
  const content = [0x02, 0x01, 0x00, ...algorithm, ...secret];
  const size = content.length;
  const length = size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, size >> 8, size & 0xff];
  return new Uint8Array([0x30, ...length, ...content]);
}

function failure(
  problem: KeyError["problem"],
  detail: string,
  hint: string,
  line?: number,
): Result.Result<never, KeyError> {
  return Result.fail(new KeyError({ problem, detail, hint, ...(line === undefined ? {} : { line }) }));
}
