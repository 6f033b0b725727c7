/**
 * X.509 v3 certificates: DER in, plain data out. One bounded parser of our own, strict DER only.
 *
 * @module
 */

/** Roles a certificate can carry in its URI SAN, `spiffe://<domain>/<role>/<name>`. */
export type Role = "gateway" | "scheduler" | "worker" | "data";

/** Key algorithms the parser knows. `unknown` keys parse, and every policy refuses them. */
export type KeyAlgorithm = "ed25519" | "ecdsa-p256" | "ecdsa-p384" | "rsa" | "unknown";

/** A distinguished name: its DER (what is compared) and its text (what is shown), such as `CN=gateway-01, O=Acme`. */
export interface DistinguishedName {
  readonly der: Uint8Array;
  readonly text: string;
  readonly commonName: string | undefined;
}

/** The dates of a certificate, both ends included (RFC 5280 §4.1.2.5). */
export interface ValidityPeriod {
  readonly notBefore: Date;
  readonly notAfter: Date;
}

/** One subject alternative name; `value` is text (IP addresses in their usual notation). */
export interface SubjectAltName {
  readonly type: "dns" | "ip" | "uri" | "email" | "directory" | "other";
  readonly value: string;
}

/** A certificate as plain, structured-cloneable data. */
export interface Certificate {
  readonly der: Uint8Array;
  /** SHA-256 of the DER, hexadecimal. */
  readonly fingerprint: string;
  /** The serial's content octets as hexadecimal, lower case, leading zeros kept. */
  readonly serial: string;
  readonly issuer: DistinguishedName;
  readonly subject: DistinguishedName;
  readonly period: ValidityPeriod;
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
  readonly signatureAlgorithm: string;
  readonly signature: Uint8Array;
  readonly basicConstraints: { readonly ca: boolean; readonly pathLength: number | undefined } | undefined;
  /** Names as in RFC 5280 §4.2.1.3, for instance `digitalSignature`, `keyCertSign`, `cRLSign`. */
  readonly keyUsage: readonly string[] | undefined;
  /** OIDs. */
  readonly extendedKeyUsage: readonly string[] | undefined;
  readonly subjectAltNames: readonly SubjectAltName[];
  readonly subjectKeyId: string | undefined;
  readonly authorityKeyId: string | undefined;
  /** OIDs of critical extensions that the parser does not process. */
  readonly unknownCritical: readonly string[];
}
