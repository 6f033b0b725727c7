/**
 * Certificates and revocation lists of any shape, made at once and without promises: for tests of what no honest CA
 * issues. Time is fixed: everything is around {@linkcode at}.
 *
 * @module
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { Buffer } from "node:buffer";
import { formatPem } from "../../pki/pem.ts";
import {
  bitString,
  constructed,
  derNull,
  derValue,
  enumerated,
  integer,
  oid,
  sequence,
  setOfOne,
  time,
  utf8String,
} from "../../pki/issue/der_writer.ts";
import {
  basicConstraints,
  crlNumber,
  encodeExtensions,
  extendedKeyUsage,
  type Extension,
  keyUsage,
  nodePurposes,
  subjectAltName,
} from "../../pki/issue/extensions.ts";
import type { GeneralName } from "../../pki/issue/general_name.ts";

export const at = new Date("2026-11-25T12:00:00Z");
export const dayMs = 24 * 60 * 60 * 1_000;
/** `at`, some days later. */
export const later = (days: number) => new Date(at.getTime() + days * dayMs);

export type ForgedAlgorithm = "ed25519" | "p256" | "p384" | "secp256k1" | "rsa-1024" | "rsa-2048" | "ed448";

export interface Forged {
  readonly der: Uint8Array;
  readonly pem: string;
  readonly name: string;
  readonly key: KeyObject;
  readonly algorithm: ForgedAlgorithm;
}

export interface ForgeOptions {
  /** Who signs; itself where nobody is named. */
  readonly issuer?: Forged;
  /** Whose key it has; a fresh one where nobody is named. */
  readonly keyOf?: Forged;
  readonly algorithm?: ForgedAlgorithm;
  /** A CA; a number is its path length. */
  readonly ca?: boolean | number;
  readonly san?: readonly string[];
  /** In place of the usual ones of their OIDs, or beside them. */
  readonly add?: readonly Extension[];
  /** OIDs left out. */
  readonly omit?: readonly string[];
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  readonly serial?: number | Uint8Array;
  /** Changes the encoded tbsCertificate before it is signed. */
  readonly tbs?: (tbs: Uint8Array) => Uint8Array;
  /** Signs with this key instead of the issuer's. */
  readonly signer?: Forged;
  /** What an RSA key signs with; SHA-256 where undefined. */
  readonly hash?: "sha1";
}

let serials = 1;

/** Makes a certificate. A node's has what ours have: digitalSignature, serverAuth and clientAuth. */
export function forge(name: string, options: ForgeOptions = {}): Forged {
  const { keyOf, ca = false, san = [] } = options;
  const algorithm = keyOf?.algorithm ?? options.algorithm ?? "ed25519";
  const key = keyOf?.key ?? makeKey(algorithm);
  const self = { name, key, algorithm };
  const issuer = options.issuer ?? self;
  const signer = options.signer ?? issuer;
  const usual = ca === false
    ? [keyUsage(["digitalSignature"]), extendedKeyUsage(nodePurposes)]
    : [basicConstraints(true, ca === true ? undefined : ca), keyUsage(["keyCertSign", "cRLSign"])];
  if (san.length > 0) usual.push(subjectAltName(san.map(splitName)));
  const replaced = [...(options.add ?? []).map((extension) => extension.oid), ...(options.omit ?? [])];
  const extensions = [...usual.filter((extension) => !replaced.includes(extension.oid)), ...(options.add ?? [])];
  const tbs = sequence(
    constructed(0, integer(2)),
    integer(options.serial ?? serials++),
    signatureAlgorithm(signer.algorithm, options.hash),
    encodeCommonName(issuer.name),
    sequence(time(options.notBefore ?? later(-1)), time(options.notAfter ?? later(365))),
    encodeCommonName(name),
    createPublicKey(key).export({ format: "der", type: "spki" }),
    ...(extensions.length === 0 ? [] : [constructed(3, encodeExtensions(extensions))]),
  );
  const der = signed(options.tbs?.(tbs) ?? tbs, signer, options.hash);
  return { ...self, der, pem: formatPem("CERTIFICATE", der) };
}

export interface ForgeListOptions {
  readonly revoked?: readonly (
    | string
    | { readonly serial: string; readonly reason?: number; readonly date?: Date; readonly add?: Extension[] }
  )[];
  readonly number?: bigint;
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
  readonly add?: readonly Extension[];
  readonly omitNumber?: boolean;
  readonly version?: number;
  readonly signer?: Forged;
}

/** Makes a revocation list. */
export function forgeList(
  issuer: Pick<Forged, "name" | "key" | "algorithm">,
  options: ForgeListOptions = {},
): Uint8Array {
  const signer = options.signer ?? issuer;
  const extensions = [...(options.omitNumber ? [] : [crlNumber(options.number ?? 1n)]), ...(options.add ?? [])];
  const entries = (options.revoked ?? []).map((given) => {
    const entry = typeof given === "string" ? { serial: given } : given;
    const own = [
      ...(entry.reason === undefined ? [] : [{ oid: "2.5.29.21", critical: false, value: enumerated(entry.reason) }]),
      ...(entry.add ?? []),
    ];
    return sequence(
      integer(Buffer.from(entry.serial, "hex")),
      time(entry.date ?? later(-1)),
      ...(own.length === 0 ? [] : [encodeExtensions(own)]),
    );
  });
  const tbs = sequence(
    integer(options.version ?? 1),
    signatureAlgorithm(signer.algorithm),
    encodeCommonName(issuer.name),
    time(options.thisUpdate ?? later(-1)),
    time(options.nextUpdate ?? later(30)),
    ...(entries.length === 0 ? [] : [derValue(0x30, entries)]),
    ...(extensions.length === 0 ? [] : [constructed(0, encodeExtensions(extensions))]),
  );
  return signed(tbs, signer);
}

/** The same, as PEM. */
export function forgeListPem(issuer: Forged, options?: ForgeListOptions): string {
  return formatPem("X509 CRL", forgeList(issuer, options));
}

/** A name of one attribute, its common name, whatever is in it. */
export function encodeCommonName(commonName: string): Uint8Array {
  return sequence(setOfOne(sequence(oid("2.5.4.3"), utf8String(commonName))));
}

/** `DNS:x`, `IP:x`, `URI:x` or `email:x`, unchecked. */
function splitName(text: string): GeneralName {
  const colon = text.indexOf(":");
  return { type: text.slice(0, colon).toLowerCase() as GeneralName["type"], value: text.slice(colon + 1) };
}

function signed(tbs: Uint8Array, { key, algorithm }: Pick<Forged, "key" | "algorithm">, old?: "sha1"): Uint8Array {
  const hash = algorithm.startsWith("ed") ? null : old ?? "sha256";
  return sequence(tbs, signatureAlgorithm(algorithm, old), bitString(sign(hash, tbs, key)));
}

function signatureAlgorithm(algorithm: ForgedAlgorithm, old?: "sha1"): Uint8Array {
  if (old !== undefined) return sequence(oid("1.2.840.113549.1.1.5"), derNull);
  if (algorithm === "ed25519") return sequence(oid("1.3.101.112"));
  if (algorithm === "ed448") return sequence(oid("1.3.101.113"));
  if (algorithm.startsWith("rsa")) return sequence(oid("1.2.840.113549.1.1.11"), derNull);
  return sequence(oid("1.2.840.10045.4.3.2"));
}

function makeKey(algorithm: ForgedAlgorithm): KeyObject {
  switch (algorithm) {
    case "ed25519":
      return generateKeyPairSync("ed25519").privateKey;
    case "ed448":
      return generateKeyPairSync("ed448").privateKey;
    case "p256":
    case "p384":
    case "secp256k1": {
      const namedCurve = algorithm === "p256" ? "prime256v1" : algorithm === "p384" ? "secp384r1" : "secp256k1";
      return generateKeyPairSync("ec", { namedCurve }).privateKey;
    }
    case "rsa-1024":
    case "rsa-2048":
      return generateKeyPairSync("rsa", { modulusLength: Number(algorithm.slice(4)) }).privateKey;
  }
}
