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
export { ChainMemory } from "./chain_memory.ts";
export {
  findRevocation,
  type HeldList,
  parseCrl,
  type Revocation,
  type RevocationIndex,
  type RevocationList,
} from "./crl.ts";
export type { CrlHighWaterMarks, CrlMark } from "./crl_marks.ts";
export type { ListScope } from "./crl_scope.ts";
export { KeyError, keyMatches, parsePrivateKey, type PrivateKey, toTlsPem } from "./key.ts";
export { type ConnectedMember, type Member, type MemberFacts, memberOf } from "./member.ts";
export * from "./path.ts";
export { peerIdOf } from "./peer_id.ts";
export { ListReader, type ListReaderOptions, type LocatedList } from "./list_reader.ts";
export { formatPem, parsePem, type PemBlock, PemError } from "./pem.ts";
export * from "./refusal.ts";
export { formatSpiffeBundle, parseSpiffeBundle, type SpiffeBundle, SpiffeBundleError } from "./spiffe_bundle.ts";
export {
  defaultPolicy,
  type DomainInput,
  domainsOf,
  type ListSource,
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
