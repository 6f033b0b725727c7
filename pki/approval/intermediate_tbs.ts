/**
 * The bytes that a CA signs for an intermediate, as approvers see them: what they hold beyond what is shown is refused.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import * as Result from "effect/Result";
import { sameBytes } from "../bytes.ts";
import type { Certificate } from "../certificate.ts";
import { encodeTbs, randomSerial } from "../issue/certificate_template.ts";
import type { IssuePeriod } from "../issue/certificate_template.ts";
import { intermediateExtensions } from "../issue/issue_intermediate.ts";
import { keyIdOf } from "../issue/extensions.ts";
import { encodeName, type SubjectName } from "../issue/name.ts";
import { signatureAlgorithmOf } from "../issue/signing_key.ts";
import { parseTbs } from "./parse_tbs.ts";

/** What the to-be-signed bytes of an intermediate are made of. */
export interface IntermediateTbs extends SubjectName, IssuePeriod {
  /** The CA that is to sign. */
  readonly issuer: Certificate;
  /** The key to certify. */
  readonly publicKey: Certificate["publicKey"];
  readonly pathLength: number;
}

/**
 * Composes the to-be-signed bytes (`tbsCertificate`) of an intermediate, with a fresh serial.
 *
 * @throws {IssueError} When a name, the period or the CA's key is not usable.
 */
export function composeIntermediateTbs(parts: IntermediateTbs): Uint8Array {
  const { issuer, publicKey, pathLength } = parts;
  const keyId = issuer.subjectKeyId === undefined
    ? keyIdOf(issuer.publicKey.raw)
    : Buffer.from(issuer.subjectKeyId, "hex");
  const template = {
    serial: randomSerial(),
    issuer: issuer.subject.der,
    subject: encodeName(parts),
    period: parts,
    spki: publicKey.spki,
    extensions: intermediateExtensions(publicKey.raw, keyId, pathLength),
  };
  return encodeTbs(template, signatureAlgorithmOf(issuer.publicKey.spki));
}

/**
 * Reads the to-be-signed bytes of an intermediate: what {@linkcode composeIntermediateTbs} would write for the same
 * fields, byte for byte. The result has no signature.
 *
 * @returns The certificate; or what is wrong, as a text.
 */
export function readIntermediateTbs(tbs: Uint8Array): Certificate | string {
  const parsed = parseTbs(tbs);
  if (typeof parsed === "string") return parsed;
  const { certificate, algorithm } = parsed;
  const { authorityKeyId, basicConstraints, issuer, period, publicKey, serial, subject } = certificate;
  if (basicConstraints?.ca !== true) return "its certificate is not a CA's";
  const template = {
    serial: Buffer.from(serial, "hex"),
    issuer: issuer.der,
    subject: subject.der,
    period,
    spki: publicKey.spki,
    extensions: intermediateExtensions(
      publicKey.raw,
      Buffer.from(authorityKeyId ?? "", "hex"),
      basicConstraints.pathLength,
    ),
  };
  // Encoding throws for a period that no certificate is issued for.
  const usual = Result.getOrUndefined(Result.try(() => encodeTbs(template, algorithm)));
  return usual !== undefined && sameBytes(usual, tbs)
    ? certificate
    : "its certificate holds more than subject, key, period and path length of a CA";
}
