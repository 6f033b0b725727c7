/**
 * Composes and signs one certificate. Knows the form, not the policy: what goes into which kind of certificate is said
 * by `issueRoot`, `issueIntermediate` and `issueNode`.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { bitString, constructed, integer, sequence, time } from "./der_writer.ts";
import { encodeExtensions, type Extension, extensionOids, keyUsage, type KeyUsageName } from "./extensions.ts";
import { IssueError } from "./issue_error.ts";
import { type IssuedKeyAlgorithm, makeSigningKey, readSigningKey, type SigningKey } from "./signing_key.ts";
import { formatPem } from "../pem.ts";

/** A certificate and its private key. */
export interface Issued {
  readonly certPem: string;
  /** PKCS#8 version 1, PEM, unencrypted. */
  readonly keyPem: string;
  readonly der: Uint8Array;
}

/** A CA: its certificate, and the private key that belongs to it. */
export interface IssuerFiles {
  readonly certPem: string;
  readonly keyPem: string;
}

/** Both ends are part of the period; milliseconds are cut off (RFC 5280 §4.1.2.5). */
export interface IssuePeriod {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** Departures from the usual certificate: what tests of odd certificates, and CAs of other origin, need. */
export interface IssueOverrides {
  readonly keyAlgorithm?: IssuedKeyAlgorithm;
  /** Extensions left out. */
  readonly omit?: readonly (keyof typeof extensionOids)[];
  /** Extensions put in; one with the OID of a usual one takes its place. */
  readonly add?: readonly Extension[];
  /** Key usage in place of the usual one. */
  readonly keyUsage?: readonly KeyUsageName[];
  /** Serial's octets in place of random ones. */
  readonly serial?: Uint8Array;
}

/** What {@linkcode signCertificate} signs. */
export interface CertificateTemplate {
  readonly serial: Uint8Array;
  /** DER of the names. */
  readonly issuer: Uint8Array;
  readonly subject: Uint8Array;
  readonly period: IssuePeriod;
  readonly spki: Uint8Array;
  readonly extensions: readonly Extension[];
}

/** Octets of a serial (RFC 5280 §4.1.2.2 allows 20). */
export const serialOctets = 20;

/** A fresh serial: 20 random octets, positive and never with a leading zero. */
export function randomSerial(): Uint8Array {
  const serial = randomBytes(serialOctets);
  serial[0] = (serial[0]! & 0x7f) | 0x40;
  return serial;
}

/** Signs a template with the issuer's key: DER of an X.509 v3 certificate. */
export async function signCertificate(template: CertificateTemplate, signer: SigningKey): Promise<Uint8Array> {
  const { period } = template;
  if (!(period.notBefore.getTime() <= period.notAfter.getTime())) {
    throw new IssueError({ problem: "validity", detail: "the validity period ends before it begins" });
  }
  const tbs = sequence(
    constructed(0, integer(2)),
    integer(template.serial),
    signer.signatureAlgorithm,
    template.issuer,
    sequence(time(period.notBefore), time(period.notAfter)),
    template.subject,
    template.spki,
    ...(template.extensions.length === 0 ? [] : [constructed(3, encodeExtensions(template.extensions))]),
  );
  return sequence(tbs, signer.signatureAlgorithm, bitString(await signer.sign(tbs)));
}

/** The usual extensions with the overrides applied. */
export function overridden(usual: readonly Extension[], overrides: IssueOverrides | undefined): readonly Extension[] {
  const added = [
    ...(overrides?.add ?? []),
    ...(overrides?.keyUsage === undefined ? [] : [keyUsage(overrides.keyUsage)]),
  ];
  const gone = new Set<string>((overrides?.omit ?? []).map((name) => extensionOids[name]));
  const replaced = new Map(added.map((extension) => [extension.oid, extension]));
  const kept = usual.filter(({ oid }) => !gone.has(oid)).map((extension) => replaced.get(extension.oid) ?? extension);
  return [...kept, ...added.filter(({ oid }) => !kept.some((extension) => extension.oid === oid))];
}

/** The key to certify: the one given, or a fresh one. */
export function keyToCertify(keyPem: string | undefined, overrides: IssueOverrides | undefined): Promise<SigningKey> {
  return keyPem === undefined ? makeSigningKey(overrides?.keyAlgorithm) : Promise.resolve(readSigningKey(keyPem));
}

/** DER and key as PEM. */
export function issued(der: Uint8Array, key: SigningKey): Issued {
  return { certPem: formatPem("CERTIFICATE", der), keyPem: key.keyPem, der: Buffer.from(der) };
}
