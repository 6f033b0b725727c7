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
  type MemberRole,
  type NameConstraints,
  parseCertificate,
  type Role,
  type SubjectAltName,
  type ValidityPeriod,
} from "./certificate.ts";
export { VerificationCache } from "./verification_cache.ts";
export {
  type CrlRequirement,
  findRevocation,
  type HeldCrl,
  parseCrl,
  type Revocation,
  type RevocationIndex,
  type RevocationList,
} from "./crl.ts";
export type { CrlHighWaterMarks, CrlMark } from "./crl_marks.ts";
export type { CrlScope } from "./crl_scope.ts";
export { KeyError, keyMatches, parsePrivateKey, type PrivateKey, toTlsPem } from "./key.ts";
export {
  type CheckName,
  type CheckScope,
  checkTable,
  type Outcome,
  type Outcomes,
  type Proofs,
} from "./checks/check_table.ts";
export type { Proof } from "./checks/proof.ts";
export { type ConnectedMember, type Member, type MemberFacts, memberOf } from "./member.ts";
export * from "./path.ts";
export { peerIdOf } from "./peer_id.ts";
export { CrlReader, type CrlReaderOptions, type LocatedCrl } from "./crl_reader.ts";
export { formatPem, parsePem, type PemBlock, PemError } from "./pem.ts";
export * from "./refusal.ts";
export type { RefusalPhase, RefusalRow } from "./refusal_row.ts";
export { refusalTable } from "./refusal_table.ts";
export { formatSpiffeBundle, parseSpiffeBundle, type SpiffeBundle, SpiffeBundleError } from "./spiffe_bundle.ts";
export {
  type CrlSource,
  defaultPolicy,
  type DomainInput,
  domainsOf,
  makeTrustSnapshot,
  type Policy,
  readAuthorities,
  type RollbackPolicy,
  type TrustDomain,
  TrustError,
  type TrustInput,
  type TrustMade,
  type TrustSnapshot,
} from "./trust.ts";
export type { TrustProblem } from "./trust_error.ts";
export type { SerialIndex } from "./serial_index.ts";
export type { TrustWarning } from "./trust_warning.ts";
