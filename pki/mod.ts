/**
 * Pure X.509 for mutual TLS: bytes in, verdicts out. Time and trust are arguments.
 *
 * @module
 */
export {
  type Certificate,
  certificateBytesMax,
  type DistinguishedName,
  type KeyAlgorithm,
  labelOf,
  type NameConstraints,
  parseCertificate,
  type Role,
  type SubjectAltName,
  type ValidityPeriod,
} from "./certificate.ts";
export {
  type CrlFloor,
  findRevocation,
  parseCrl,
  type Revocation,
  type RevocationIndex,
  type RevocationList,
} from "./crl.ts";
export { KeyError, keyMatches, parsePrivateKey, type PrivateKey, toTlsPem } from "./key.ts";
export * from "./path.ts";
export { peerIdOf } from "./peer_id.ts";
export { formatPem, parsePem, type PemBlock, PemError } from "./pem.ts";
export * from "./refusal.ts";
export {
  defaultPolicy,
  makeTrustSnapshot,
  type Policy,
  TrustError,
  type TrustInput,
  type TrustMade,
  type TrustSnapshot,
} from "./trust.ts";
export type { TrustWarning } from "./trust_warning.ts";
