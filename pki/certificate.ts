/**
 * X.509 v3 certificates: DER in, plain data out. One bounded parser of our own, strict DER only.
 *
 * @module
 */
import { createHash } from "node:crypto";
import * as Result from "effect/Result";
import { sameBytes, toHex } from "./bytes.ts";
import { decodeDer, type DerCursor, tags } from "./der.ts";
import { readName } from "./distinguished_name.ts";
import { type Extensions, noExtensions, readExtensions } from "./extensions.ts";
import { readPublicKey } from "./public_key.ts";
import { type CertificateLabel, MalformedCertificate } from "./refusal.ts";
import { readTime } from "./time.ts";

/** Size of one certificate in bytes. A node's has 350; those of CAs with hundreds of constrained names stay under this. */
export const certificateBytesMax = 64 * 1024;
/** Octets of a serial number (RFC 5280 §4.1.2.2). */
export const serialOctetsMax = 20;

/** The work of a node. */
export type Role = "gateway" | "scheduler" | "worker" | "data";
/** Roles a certificate can carry in its URI SAN, `spiffe://<domain>/<role>/<name>`. No certificate is a CA's without saying so. */
export type MemberRole = Role | "ca";

/** Key algorithms the parser knows. `unknown` keys parse, and every policy refuses them. */
export type KeyAlgorithm = "ed25519" | "ecdsa-p256" | "ecdsa-p384" | "rsa" | "unknown";

/** A distinguished name: its DER (what is compared) and its text (what is shown), such as `CN=gateway-01, O=Acme`. */
export interface DistinguishedName {
  /** Its DER, to be compared and put into what is issued. */
  readonly der: Uint8Array;
  /** For people: `CN=a, O=b`. */
  readonly text: string;
  /** The first common name; undefined where there is none. */
  readonly commonName: string | undefined;
}

/** The dates of a certificate, both ends included (RFC 5280 §4.1.2.5). */
export interface ValidityPeriod {
  /** The first moment of validity. */
  readonly notBefore: Date;
  /** The last moment of validity. */
  readonly notAfter: Date;
}

/** One subject alternative name; `value` is text (IP addresses in their usual notation). */
export interface SubjectAltName {
  /** The kind of name. */
  readonly type: "dns" | "ip" | "uri" | "email" | "directory" | "other";
  /** The name as text. */
  readonly value: string;
  /** What is compared in place of the text: an address's octets, a directory name's DER. */
  readonly octets?: Uint8Array;
}

/** Which names a CA may speak for (RFC 5280 §4.2.1.10). Subtrees are written like names; addresses carry their mask. */
export interface NameConstraints {
  /** Names must lie in one of these, where any of their kind is listed. */
  readonly permitted: readonly SubjectAltName[];
  /** Names must lie in none of these. */
  readonly excluded: readonly SubjectAltName[];
}

/** A certificate as plain, structured-cloneable data. */
export interface Certificate {
  /** The whole certificate as it was read. */
  readonly der: Uint8Array;
  /** SHA-256 of the DER, hexadecimal. */
  readonly fingerprint: string;
  /** The serial's content octets as hexadecimal, lower case, leading zeros kept. */
  readonly serial: string;
  /** The name of the CA that signed it. */
  readonly issuer: DistinguishedName;
  /** The name of its holder. */
  readonly subject: DistinguishedName;
  /** When it is valid. */
  readonly period: ValidityPeriod;
  /** The key that it certifies. */
  readonly publicKey: {
    readonly spki: Uint8Array;
    readonly algorithm: KeyAlgorithm;
    /** The algorithm's name or OID, for messages. */
    readonly label: string;
    /** RSA modulus length in bits; absent for other keys. */
    readonly bits?: number;
    /** The subjectPublicKey bit string's content (Ed25519: the 32 raw bytes). */
    readonly raw: Uint8Array;
  };
  /** What was signed (tbsCertificate), by which algorithm (OID), and the signature's bytes. */
  readonly tbs: Uint8Array;
  /** OID of the algorithm that it is signed with. */
  readonly signatureAlgorithm: string;
  /** The signature. */
  readonly signature: Uint8Array;
  /** Whether it is a CA, and how many CAs may follow below; undefined where the extension is absent. */
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined;
  /** Names as in RFC 5280 §4.2.1.3, for instance `digitalSignature`, `keyCertSign`, `cRLSign`. */
  readonly keyUsage: readonly string[] | undefined;
  /** OIDs. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  /** Alternative names, the SPIFFE identity among them. */
  readonly subjectAltNames: readonly SubjectAltName[];
  /** The names that certificates below it may have; undefined where it sets no limit. */
  readonly nameConstraints: NameConstraints | undefined;
  /** Identifier of its key, hexadecimal; undefined where it has none. */
  readonly subjectKeyId: string | undefined;
  /** The issuer's key, as the authority key identifier names it: a hint. */
  readonly authorityKeyId: string | undefined;
  /** Whether there is an authority key identifier at all: it may name no key. */
  readonly hasAuthorityKey: boolean;
  /** Whether the authority key identifier names the issuer's certificate, too. */
  readonly authorityNamesIssuer: boolean;
  /** Names of the distribution points of its issuer's own lists, the DER of each in hexadecimal. */
  readonly distributionPoints: readonly string[];
  /** OIDs of the critical extensions. */
  readonly critical: readonly string[];
  /** OIDs of critical extensions that the parser does not process. */
  readonly unknownCritical: readonly string[];
}

/**
 * Parses one certificate. Accepts only X.509 v3 in strict DER: no trailing bytes, inner signature algorithm equal to
 * the outer one, a positive serial of at most 20 octets, an issuer that is not empty, no extension twice, no unique
 * identifiers (RFC 5280 §4.1).
 *
 * Verifies neither signature nor dates; lists critical extensions that it does not know.
 *
 * @param der The certificate's bytes; the result holds views into them.
 * @param index The position of the certificate in its chain or file, for the message.
 * @returns The certificate, or why it is malformed.
 *
 * @example Bytes that are no certificate
 * ```ts
 * import * as assert from "uvu/assert";
 * import { Result } from "effect";
 * import { parseCertificate } from "hypha-runtime/pki";
 *
 * assert.ok(Result.isFailure(parseCertificate(new Uint8Array([0x30, 0x00]))));
 * ```
 */
export function parseCertificate(der: Uint8Array, index = 0): Result.Result<Certificate, MalformedCertificate> {
  if (der.length > certificateBytesMax) {
    return Result.fail(new MalformedCertificate({ detail: `it has more than ${certificateBytesMax} bytes`, index }));
  }
  return Result.mapError(
    decodeDer(der, (cursor) => readCertificate(cursor, der)),
    ({ detail, offset }) => new MalformedCertificate({ detail: `${detail} (offset ${offset})`, index }),
  );
}

/** The label of a certificate in refusals. */
export function labelOf(certificate: Certificate): CertificateLabel {
  return { subject: certificate.subject.text, serial: certificate.serial };
}

/** Whether issuer and subject are the same name. Does not check who signed. */
export function isSelfIssued(certificate: Certificate): boolean {
  return sameBytes(certificate.issuer.der, certificate.subject.der);
}

function readCertificate(cursor: DerCursor, der: Uint8Array): Certificate {
  const outer = cursor.enter(tags.sequence, "certificate");
  const inner = outer.enter(tags.sequence, "tbsCertificate");
  const tbs = outer.whole;
  const fields = readFields(inner);
  outer.read(tags.sequence, "signatureAlgorithm");
  if (!sameBytes(outer.whole, fields.algorithm)) {
    outer.fail("the signature algorithm differs between certificate and tbsCertificate");
  }
  const signature = outer.octetBits("signature");
  outer.finish("the certificate");
  const { algorithm, extensions, ...rest } = fields;
  const { ca, subject } = { ca: extensions.basicConstraints?.ca === true, subject: rest.subject };
  if (ca && subject.commonName === undefined && subject.text === "") outer.fail("a CA has no subject");
  return {
    der,
    fingerprint: createHash("sha256").update(der).digest("hex"),
    ...rest,
    tbs,
    signatureAlgorithm: readAlgorithm(algorithm),
    signature,
    ...extensions,
  };
}

function readFields(cursor: DerCursor) {
  if (cursor.peek() !== 0xa0) cursor.fail("the version is not 3");
  const version = cursor.enter(0xa0, "version");
  if (version.small("version") !== 2) version.fail("the version is not 3");
  version.finish("version");
  const serial = readSerial(cursor);
  cursor.read(tags.sequence, "signature algorithm");
  const algorithm = cursor.whole;
  const issuer = readName(cursor, "issuer");
  if (issuer.text === "") cursor.fail("the issuer is empty");
  const dates = cursor.enter(tags.sequence, "validity");
  const period = { notBefore: readTime(dates, "notBefore"), notAfter: readTime(dates, "notAfter") };
  dates.finish("validity");
  const subject = readName(cursor, "subject");
  const publicKey = readPublicKey(cursor);
  if (cursor.peek() === 0x81 || cursor.peek() === 0x82) cursor.fail("unique identifiers are not allowed");
  const extensions: Extensions = cursor.peek() === 0xa3 ? readExtensions(cursor, subject) : noExtensions;
  cursor.finish("tbsCertificate");
  return { serial, issuer, subject, period, publicKey, algorithm, extensions };
}

/** Reads a serial number: positive, at most 20 octets; hexadecimal with leading zeros kept. */
export function readSerial(cursor: DerCursor): string {
  const octets = cursor.unsigned("serial number");
  if (octets.length > serialOctetsMax) cursor.fail(`the serial number has more than ${serialOctetsMax} octets`);
  if (octets.length === 1 && octets[0] === 0) cursor.fail("the serial number is 0");
  return toHex(octets);
}

/** The OID of an AlgorithmIdentifier; with its parameters in hexadecimal behind it where it has any but NULL. */
function readAlgorithm(der: Uint8Array): string {
  return Result.getOrThrow(decodeDer(der, readSignatureAlgorithm));
}

/**
 * Reads a signature's AlgorithmIdentifier as text: the OID alone where the parameters are as that algorithm wants them
 * (absent, or NULL for RSA), else followed by them, so that it matches no algorithm that is known.
 */
export function readSignatureAlgorithm(cursor: DerCursor): string {
  const pair = cursor.enter(tags.sequence, "signature algorithm");
  const oid = pair.oid("signature algorithm");
  if (pair.done) return oid;
  pair.readAny("algorithm parameters");
  pair.finish("algorithm identifier");
  const rsa = oid.startsWith("1.2.840.113549.1.1.") && pair.tag === tags.null && pair.content.length === 0;
  return rsa ? oid : `${oid} with parameters ${toHex(pair.whole)}`;
}
