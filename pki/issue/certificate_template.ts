/**
 * Composes and signs one certificate. Knows the form, not the policy: `issueRoot`, `issueIntermediate` and
 * `issueNode` decide the content of each kind of certificate.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { bitString, constructed, integer, sequence, time } from "./der_writer.ts";
import { encodeExtensions, type Extension, extensionOids, keyUsage, type KeyUsageName } from "./extensions.ts";
import { IssueError } from "./issue_error.ts";
import { type IssuedKeyAlgorithm, makeSigningKey, readSigningKey, type SigningKey } from "./signing_key.ts";
import type { IssuerKey } from "./signer.ts";
import { formatPem } from "../pem.ts";

/** A certificate. */
export interface Certified {
  /** PEM. */
  readonly certPem: string;
  /** DER. */
  readonly der: Uint8Array;
}

/** A certificate and its private key. */
export interface Issued extends Certified {
  /** PKCS#8 version 1, PEM, unencrypted. */
  readonly keyPem: string;
}

/** A CA: its certificate, and the private key that belongs to it. */
export interface IssuerFiles {
  /** The CA's certificate, PEM. */
  readonly certPem: string;
  /** Its private key, PKCS#8, PEM. */
  readonly keyPem: string;
}

/** Both ends are part of the period; milliseconds are cut off (RFC 5280 §4.1.2.5). */
export interface IssuePeriod {
  /** The first moment of validity. */
  readonly notBefore: Date;
  /** The last moment of validity. */
  readonly notAfter: Date;
}

/** Departures from the usual certificate: what tests of odd certificates, and CAs of other origin, need. */
export interface IssueOverrides {
  /** Of a fresh key; Ed25519 by default. */
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

/** Signs a template with the issuer's key: DER of an X.509 v3 certificate (RFC 5280 §4.1). */
export async function signCertificate(template: CertificateTemplate, signer: IssuerKey): Promise<Uint8Array> {
  const tbs = encodeTbs(template, signer.signatureAlgorithm);
  return signedCertificate(tbs, signer.signatureAlgorithm, await signer.sign(tbs));
}

/** DER of what is signed (`tbsCertificate`); `signatureAlgorithm` is the AlgorithmIdentifier of the issuer's key. */
export function encodeTbs(template: CertificateTemplate, signatureAlgorithm: Uint8Array): Uint8Array {
  const { notBefore, notAfter } = checkPeriod(template.period);
  return sequence(
    constructed(0, integer(2)),
    integer(template.serial),
    signatureAlgorithm,
    template.issuer,
    sequence(time(notBefore), time(notAfter)),
    template.subject,
    template.spki,
    ...(template.extensions.length === 0 ? [] : [constructed(3, encodeExtensions(template.extensions))]),
  );
}

/** DER of a certificate from its parts. Does not check that the signature verifies. */
export function signedCertificate(tbs: Uint8Array, algorithm: Uint8Array, signature: Uint8Array): Uint8Array {
  return sequence(tbs, algorithm, bitString(signature));
}

/** Cuts milliseconds off; four digits are all that a certificate has for a year, and UTCTime begins in 1950. */
function checkPeriod({ notBefore, notAfter }: IssuePeriod): IssuePeriod {
  const refuse = (detail: string) => new IssueError({ problem: "validity", detail });
  if (!(notBefore.getTime() <= notAfter.getTime())) throw refuse("the validity period ends before it begins");
  if (notBefore.getUTCFullYear() < 1950 || notAfter.getUTCFullYear() > 9999) {
    throw refuse("the validity period is not between the years 1950 and 9999");
  }
  return { notBefore: wholeSeconds(notBefore), notAfter: wholeSeconds(notAfter) };
}

function wholeSeconds(at: Date): Date {
  return new Date(Math.floor(at.getTime() / 1_000) * 1_000);
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
  return { ...certified(der), keyPem: key.keyPem };
}

/** DER as PEM. */
export function certified(der: Uint8Array): Certified {
  return { certPem: formatPem("CERTIFICATE", der), der: Buffer.from(der) };
}
