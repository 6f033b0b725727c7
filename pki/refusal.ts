/**
 * Every reason this network has to refuse a peer, a certificate or a revocation list.
 *
 * A refusal is a tagged error. Its `code` is kebab-case and never changes; its fields are the data that led to it; its
 * `hint` says in the operator's words what to do about it (specification: "Troubleshooting Security Issues"). A peer
 * learns nothing but that it was refused.
 *
 * @module
 */
import * as Data from "effect/Data";

/** What {@linkcode refusalCodes} lists: the closed set of codes. */
export type RefusalCode = (typeof refusalCodes)[number];

/** Every refusal code there is, in the order of the checks that produce them. */
export const refusalCodes = [
  "rate-limited",
  "too-many-connections",
  "protocol-mismatch",
  "tls-version",
  "tls-failed",
  "handshake-timeout",
  "no-certificate",
  "malformed-certificate",
  "self-signed",
  "unsupported-key-algorithm",
  "unknown-issuer",
  "bad-signature",
  "path-too-long",
  "not-a-ca",
  "key-usage",
  "extended-key-usage",
  "name-constraint",
  "name-mismatch",
  "unknown-critical-extension",
  "budget-exceeded",
  "certificate-not-yet-valid",
  "certificate-expired",
  "certificate-revoked",
  "revocation-unknown",
  "crl-malformed",
  "crl-signature",
  "crl-not-yet-valid",
  "crl-expired",
  "crl-rollback",
  "peer-id-mismatch",
  "role-not-allowed",
  "job-scope",
  "hung-up",
  "unreachable",
  "internal",
] as const;

/** What the certificate at fault is called in a message: its subject, with its serial where there is one. */
export interface CertificateLabel {
  /** As text. */
  readonly subject: string;
  /** Hexadecimal. */
  readonly serial: string;
}

/** The path on which a refusal arose: the leaf first, then each certificate that was tried above it. */
export type Tried = readonly CertificateLabel[];

const name = (of: CertificateLabel): string => `${of.subject || "(no subject)"} (serial ${of.serial})`;

/**
 * As `Data.TaggedError`, without a stack: a refusal is an answer, whose fields say what led to it, and a stack costs more than
 * most of the checks (60 µs).
 */
export const TaggedRefusal = ((tag: string) => {
  const Tagged = Data.TaggedError(tag) as new (fields: object) => Error;
  return class extends Tagged {
    constructor(fields: object) {
      const { stackTraceLimit } = Error;
      Error.stackTraceLimit = 0;
      super(fields);
      Error.stackTraceLimit = stackTraceLimit;
    }
  };
}) as typeof Data.TaggedError;

/** An attempt arrived faster than the limit for its address allows. */
export class RateLimited extends TaggedRefusal("RateLimited")<{ readonly limit: string; readonly max: number }> {
  /** For programs; never changes. */
  readonly code = "rate-limited";
  /** What an operator can do. */
  readonly hint =
    "If these are nodes of yours behind one address, raise handshakes_per_second and handshakes_burst under [limits]; otherwise block the address at the firewall.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot admit connection: more than ${this.max} ${this.limit}`;
  }
}

/** There are as many connections or pending handshakes as the limit allows. */
export class TooManyConnections extends TaggedRefusal("TooManyConnections")<
  { readonly limit: string; readonly max: number }
> {
  /** For programs; never changes. */
  readonly code = "too-many-connections";
  /** What an operator can do. */
  readonly hint =
    "If the load is yours, add a gateway or raise the limit under [limits] (connections_max, connections_per_address_max, connections_per_peer_max, pending_max, pending_per_address_max); otherwise block the address at the firewall.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot admit connection: already ${this.max} ${this.limit}`;
  }
}

/** What arrived is not the protocol spoken on this port. */
export class ProtocolMismatch extends TaggedRefusal("ProtocolMismatch")<{ readonly detail: string }> {
  /** For programs; never changes. */
  readonly code = "protocol-mismatch";
  /** What an operator can do. */
  readonly hint =
    "Something other than a Hypha node talks to this port (a scanner, a browser, a health check): point it elsewhere, or block the address at the firewall.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot speak with peer: ${this.detail}`;
  }
}

/** The peer offered no TLS 1.3. */
export class TlsVersion extends TaggedRefusal("TlsVersion")<{ readonly detail: string }> {
  /** For programs; never changes. */
  readonly code = "tls-version";
  /** What an operator can do. */
  readonly hint = "Only TLS 1.3 is spoken here: update the peer's software. A scanner can be blocked at the firewall.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept TLS version: ${this.detail}`;
  }
}

/** The TLS handshake itself failed: for instance, the peer does not hold the key of the certificate it showed. */
export class TlsFailed extends TaggedRefusal("TlsFailed")<{ readonly detail: string }> {
  /** For programs; never changes. */
  readonly code = "tls-failed";
  /** What an operator can do. */
  readonly hint =
    "Check on the peer that its key belongs to its certificate: hypha-certutil doctor -c FILE. From an unknown address it may be somebody with a stolen certificate and no key: block it at the firewall.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot complete TLS handshake: ${this.detail}`;
  }
}

/** The handshake did not end within its deadline. */
export class HandshakeTimeout extends TaggedRefusal("HandshakeTimeout")<
  { readonly state: string; readonly afterMs: number }
> {
  /** For programs; never changes. */
  readonly code = "handshake-timeout";
  /** What an operator can do. */
  readonly hint =
    "Check that the peer runs, and the network between; for slow links raise handshake_timeout_ms. Many from one unknown address are an attack: block it at the firewall.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot wait longer for peer: still ${this.state} after ${this.afterMs} ms`;
  }
}

/** The peer completed TLS without showing a certificate. */
export class NoCertificate extends TaggedRefusal("NoCertificate")<{ readonly detail: string }> {
  /** For programs; never changes. */
  readonly code = "no-certificate";
  /** What an operator can do. */
  readonly hint =
    "Set cert_pem and key_pem on the peer: both sides authenticate here. If it is no node of yours, block the address at the firewall.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot identify peer: ${this.detail}`;
  }
}

/** A certificate is not strict DER, not X.509 v3, or larger than the limits. */
export class MalformedCertificate extends TaggedRefusal("MalformedCertificate")<{
  readonly detail: string;
  readonly index: number;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "malformed-certificate";
  /** What an operator can do. */
  readonly hint =
    "Look at the peer's cert_pem with: hypha-certutil inspect CERT.pem (certificate 0 is the node's own); then issue it again: hypha-certutil gen-cert.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot parse certificate ${this.index} of the chain: ${this.detail}`;
  }
}

/** The leaf signed itself. It is refused even when it stands in the trust bundle. */
export class SelfSigned extends TaggedRefusal("SelfSigned")<{ readonly certificate: CertificateLabel }> {
  /** For programs; never changes. */
  readonly code = "self-signed";
  /** What an operator can do. */
  readonly hint =
    "Have the certificate signed by the organisation's CA: hypha-certutil csr on the peer, then hypha-certutil sign at the CA.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept certificate ${name(this.certificate)}: it is self-signed`;
  }
}

/** A key or signature algorithm that the policy does not allow. */
export class UnsupportedKeyAlgorithm extends TaggedRefusal("UnsupportedKeyAlgorithm")<{
  readonly certificate: CertificateLabel;
  readonly algorithm: string;
  readonly allowed: readonly string[];
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "unsupported-key-algorithm";
  /** What an operator can do. */
  readonly hint =
    "Issue the certificate with an allowed key (hypha-certutil gen-cert makes Ed25519), or allow this one here in leaf_algorithms or ca_algorithms.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept key of ${name(this.certificate)}: ${this.algorithm} is not one of ${this.allowed.join(", ")}`;
  }
}

/** No path leads from the leaf to an anchor of this node's trust bundle. */
export class UnknownIssuer extends TaggedRefusal("UnknownIssuer")<{
  readonly certificate: CertificateLabel;
  readonly issuer: string;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "unknown-issuer";
  /** What an operator can do. */
  readonly hint =
    "If the issuer is to be trusted, put its CA certificate into trust_pem here; if it is an intermediate, put it behind the leaf in the peer's cert_pem. Otherwise the peer is a stranger: block its address.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot find issuer of ${name(this.certificate)}: ${this.issuer} is neither sent nor trusted`;
  }
}

/** A signature does not verify under the key of the issuer that the names point to. */
export class BadSignature extends TaggedRefusal("BadSignature")<{
  readonly certificate: CertificateLabel;
  readonly issuer: string;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "bad-signature";
  /** What an operator can do. */
  readonly hint =
    "Compare the CA that signed with the one of that name in trust_pem (hypha-certutil inspect FILE): it may have a namesake with another key. If they are the same, the certificate was altered: issue it again.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept certificate ${name(this.certificate)}: signature does not verify under ${this.issuer}`;
  }
}

/** A path is longer than a CA's path length constraint or this node's limit allows. */
export class PathTooLong extends TaggedRefusal("PathTooLong")<{
  readonly certificate: CertificateLabel;
  readonly max: number;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "path-too-long";
  /** What an operator can do. */
  readonly hint =
    "Issue the node's certificate from a CA nearer to the root, or issue that CA again with a larger length: hypha-certutil gen-intermediate-ca --path-length N.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot follow path through ${
      name(this.certificate)
    }: at most ${this.max} CA certificates may follow below it`;
  }
}

/** A certificate that signs others is not a CA. */
export class NotACa extends TaggedRefusal("NotACa")<{
  readonly certificate: CertificateLabel;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "not-a-ca";
  /** What an operator can do. */
  readonly hint =
    "Only a certificate with CA:TRUE may sign others: issue the certificate below it again with a CA's key, such as the intermediate's: hypha-certutil gen-cert --ca-cert CA.pem.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept issuer ${name(this.certificate)}: it is not a CA`;
  }
}

/** A certificate's key usage does not allow what it is used for. */
export class KeyUsage extends TaggedRefusal("KeyUsage")<{
  readonly certificate: CertificateLabel;
  readonly needed: string;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "key-usage";
  /** What an operator can do. */
  readonly hint =
    "Issue the certificate named here again with this key usage: hypha-certutil gen-cert sets what a node needs, gen-intermediate-ca what a CA needs.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot use key of ${name(this.certificate)}: key usage lacks ${this.needed}`;
  }
}

/** A certificate's extended key usage does not allow what it is used for. */
export class ExtendedKeyUsage extends TaggedRefusal("ExtendedKeyUsage")<{
  readonly certificate: CertificateLabel;
  readonly needed: string;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "extended-key-usage";
  /** What an operator can do. */
  readonly hint =
    "Issue the certificate again with serverAuth and clientAuth, as hypha-certutil gen-cert does: every node is both.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot use certificate ${name(this.certificate)}: extended key usage lacks ${this.needed}`;
  }
}

/** A name lies outside what a CA above it, or the CA's trust domain, may speak for. */
export class NameConstraint extends TaggedRefusal("NameConstraint")<{
  readonly certificate: CertificateLabel;
  readonly name: string;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "name-constraint";
  /** What an operator can do. */
  readonly hint =
    "Issue the certificate from the CA of the domain that it names, or with a name that its CA may speak for; what that is: hypha-certutil inspect CA.pem, or the name under [[trust_domains]].";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept ${name(this.certificate)}: its issuer may not speak for ${this.name}`;
  }
}

/** The leaf does not carry the name under which the caller looked for it (RFC 9525). Nodes look for PeerIDs instead. */
export class NameMismatch extends TaggedRefusal("NameMismatch")<{
  readonly certificate: CertificateLabel;
  readonly expected: string;
  readonly names: readonly string[];
}> {
  /** For programs; never changes. */
  readonly code = "name-mismatch";
  /** What an operator can do. */
  readonly hint =
    "Issue the certificate with the name among its alternative names: hypha-certutil gen-cert --san DNS:NAME. The common name does not count.";
  /** What happened, for people. */
  override get message(): string {
    const names = this.names.length === 0 ? "it has none" : `it has ${this.names.join(", ")}`;
    return `Cannot accept ${name(this.certificate)} as ${this.expected}: no alternative name matches, ${names}`;
  }
}

/** A critical extension that this verifier does not process. */
export class UnknownCriticalExtension extends TaggedRefusal("UnknownCriticalExtension")<{
  readonly certificate: CertificateLabel;
  readonly oid: string;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "unknown-critical-extension";
  /** What an operator can do. */
  readonly hint =
    "Issue the certificate without the extension, or with the extension not critical; hypha-certutil inspect CERT.pem shows it.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept ${name(this.certificate)}: critical extension ${this.oid} is not understood`;
  }
}

/** The search for a path would cost more than its budget. */
export class BudgetExceeded extends TaggedRefusal("BudgetExceeded")<{
  readonly what: string;
  readonly max: number;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "budget-exceeded";
  /** What an operator can do. */
  readonly hint =
    "Put only the leaf and its intermediates into the peer's cert_pem, leaf first: hypha-certutil inspect CERT.pem shows what is there. From a stranger it is an attack: block the address.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot verify chain within its budget: more than ${this.max} ${this.what}`;
  }
}

/** The check ran before a certificate's `notBefore`. */
export class CertificateNotYetValid extends TaggedRefusal("CertificateNotYetValid")<{
  readonly certificate: CertificateLabel;
  readonly at: Date;
  readonly notBefore: Date;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "certificate-not-yet-valid";
  /** What an operator can do. */
  readonly hint = "Check the clocks of both nodes (timedatectl), then the dates: hypha-certutil inspect CERT.pem.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept certificate ${
      name(this.certificate)
    } at ${this.at.toISOString()}: valid from ${this.notBefore.toISOString()}`;
  }
}

/** The check ran after a certificate's `notAfter`. */
export class CertificateExpired extends TaggedRefusal("CertificateExpired")<{
  readonly certificate: CertificateLabel;
  readonly at: Date;
  readonly notAfter: Date;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "certificate-expired";
  /** What an operator can do. */
  readonly hint =
    "Issue the certificate named here again (hypha-certutil gen-cert for a node, gen-intermediate-ca for a CA) and put it into the peer's cert_pem. If it should still be valid, check the clocks: timedatectl.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept certificate ${
      name(this.certificate)
    } at ${this.at.toISOString()}: valid until ${this.notAfter.toISOString()}`;
  }
}

/** A certificate of the path stands on its issuer's revocation list. */
export class CertificateRevoked extends TaggedRefusal("CertificateRevoked")<{
  readonly certificate: CertificateLabel;
  readonly issuer: string;
  readonly revokedAt: Date;
  readonly reason: string;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "certificate-revoked";
  /** What an operator can do. */
  readonly hint =
    "It was cut off on purpose. If the node is to come back, issue it a certificate with a new key (hypha-certutil gen-cert); a revocation is not taken back. If it is not, stop it: it still dials.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept certificate ${
      name(this.certificate)
    }: revoked by ${this.issuer} at ${this.revokedAt.toISOString()} (${this.reason})`;
  }
}

/** Revocation lists are configured, but none is of this certificate's issuer. */
export class RevocationUnknown extends TaggedRefusal("RevocationUnknown")<{
  readonly certificate: CertificateLabel;
  readonly issuer: string;
  /** What the lists that there are lack; undefined where there is none. */
  readonly why?: string;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "revocation-unknown";
  /** What an operator can do. */
  readonly hint =
    "Add the issuer's list to crls_pem here: hypha-certutil gen-crl --ca-cert CA.pem --ca-key CA-KEY.pem --out-crl CRLS.pem; other CAs' lists in the file stay.";
  /** What happened, for people. */
  override get message(): string {
    const lack = this.why === undefined ? `no revocation list of ${this.issuer}` : `${this.why} (${this.issuer})`;
    return `Cannot tell whether ${name(this.certificate)} is revoked: ${lack}`;
  }
}

/** A revocation list is not strict DER, or carries what this verifier does not process. */
export class CrlMalformed extends TaggedRefusal("CrlMalformed")<{ readonly detail: string; readonly tried?: Tried }> {
  /** For programs; never changes. */
  readonly code = "crl-malformed";
  /** What an operator can do. */
  readonly hint =
    "Look at crls_pem with: openssl crl -in CRLS.pem -noout -text; then generate it again: hypha-certutil gen-crl.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot parse revocation list: ${this.detail}`;
  }
}

/** A revocation list's signature does not verify, or its issuer may not sign lists. */
export class CrlSignature extends TaggedRefusal("CrlSignature")<
  { readonly issuer: string; readonly detail: string; readonly tried?: Tried }
> {
  /** For programs; never changes. */
  readonly code = "crl-signature";
  /** What an operator can do. */
  readonly hint =
    "Generate the list with the key of the CA it names: hypha-certutil gen-crl. If that was done, trust_pem holds a namesake of that CA with another key.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept revocation list of ${this.issuer}: ${this.detail}`;
  }
}

/** The check ran before a revocation list's `thisUpdate`. */
export class CrlNotYetValid extends TaggedRefusal("CrlNotYetValid")<{
  readonly issuer: string;
  readonly at: Date;
  readonly thisUpdate: Date;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "crl-not-yet-valid";
  /** What an operator can do. */
  readonly hint =
    "Check the clocks of this node and of the CA (timedatectl); if the list was dated wrongly, generate it again: hypha-certutil gen-crl.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot use revocation list of ${this.issuer} at ${this.at.toISOString()}: valid from ${this.thisUpdate.toISOString()}`;
  }
}

/** The check ran later than a revocation list's `nextUpdate` and the grace after it. */
export class CrlExpired extends TaggedRefusal("CrlExpired")<{
  readonly issuer: string;
  readonly at: Date;
  readonly nextUpdate: Date;
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "crl-expired";
  /** What an operator can do. */
  readonly hint =
    "Generate a new list and put it into crls_pem on every node: hypha-certutil gen-crl; it is taken up without a restart. Until then everybody below this CA is refused.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot use revocation list of ${this.issuer} at ${this.at.toISOString()}: next update was due ${this.nextUpdate.toISOString()}`;
  }
}

/** A revocation list is older than one already seen of the same issuer. */
export class CrlRollback extends TaggedRefusal("CrlRollback")<{
  readonly issuer: string;
  readonly number: string;
  readonly seen: string;
}> {
  /** For programs; never changes. */
  readonly code = "crl-rollback";
  /** What an operator can do. */
  readonly hint =
    "Somebody put an old list back, perhaps to undo a revocation: fetch the newest one from the CA, or generate one there (hypha-certutil gen-crl), and find out who did.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept revocation list of ${this.issuer}: number ${this.number} is older than ${this.seen}`;
  }
}

/** The certificate's key is not the key of the PeerID that was dialled. */
export class PeerIdMismatch extends TaggedRefusal("PeerIdMismatch")<{
  readonly expected: string;
  readonly actual: string;
}> {
  /** For programs; never changes. */
  readonly code = "peer-id-mismatch";
  /** What an operator can do. */
  readonly hint =
    "If that node's key was rotated, write the new PeerID, or the address without /p2p/…, into gateway_addresses; if it was not, somebody else answers at that address: find out who.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept peer ${this.actual}: dialled ${this.expected}`;
  }
}

/** The certificate's role is not one that may do this. */
export class RoleNotAllowed extends TaggedRefusal("RoleNotAllowed")<{
  readonly certificate: CertificateLabel;
  readonly role: string;
  readonly allowed: readonly string[];
  readonly tried?: Tried;
}> {
  /** For programs; never changes. */
  readonly code = "role-not-allowed";
  /** What an operator can do. */
  readonly hint =
    "Issue the certificate with the role in its URI SAN: hypha-certutil gen-cert --san URI:spiffe://DOMAIN/ROLE/NAME; or allow the role here (roles of [[trust_domains]], require_roles).";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot accept ${name(this.certificate)} as ${this.role}: allowed are ${this.allowed.join(", ")}`;
  }
}

/** A job asked for something that its specification does not name, or a peer for a slice that it was not granted. */
export class JobScope extends TaggedRefusal("JobScope")<{
  /** The job's id; `-` where none was named. */
  readonly job: string;
  readonly what: string;
  /** What stands against it; that the specification does not name it where nothing is said. */
  readonly why?: string;
}> {
  /** For programs; never changes. */
  readonly code = "job-scope";
  /** What an operator can do. */
  readonly hint =
    "Check what the executor asks for: a job may use what its specification names and its scheduler granted, nothing else. If the executor is not yours, end its job; for a slice, look at the data node's require_grant.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot let job ${this.job} use ${this.what}: ${this.why ?? "not in its specification"}`;
  }
}

/** The peer ended the connection before it was established; perhaps it refused us. */
export class HungUp extends TaggedRefusal("HungUp")<{ readonly detail: string }> {
  /** For programs; never changes. */
  readonly code = "hung-up";
  /** What an operator can do. */
  readonly hint =
    "Read the peer's log of this moment: it closed without a word, which is how a refusal looks from here. If there is nothing, check the network between.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot establish connection: ${this.detail}`;
  }
}

/** Nobody answered at the address. */
export class Unreachable extends TaggedRefusal("Unreachable")<{ readonly detail: string }> {
  /** For programs; never changes. */
  readonly code = "unreachable";
  /** What an operator can do. */
  readonly hint =
    "Check that the node runs (hypha-ROLE probe -c FILE ADDRESS), its listen_addresses, and the firewall between.";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot reach peer: ${this.detail}`;
  }
}

/** A defect of ours. Whatever it was, the connection is refused. */
export class Internal extends TaggedRefusal("Internal")<{ readonly detail: string }> {
  /** For programs; never changes. */
  readonly code = "internal";
  /** What an operator can do. */
  readonly hint = "This is a bug: please report it with this line and the version (--version).";
  /** What happened, for people. */
  override get message(): string {
    return `Cannot decide: ${this.detail}`;
  }
}

/** Every reason to refuse. Match on `code` or `_tag`. */
export type Refusal =
  | RateLimited
  | TooManyConnections
  | ProtocolMismatch
  | TlsVersion
  | TlsFailed
  | HandshakeTimeout
  | NoCertificate
  | MalformedCertificate
  | SelfSigned
  | UnsupportedKeyAlgorithm
  | UnknownIssuer
  | BadSignature
  | PathTooLong
  | NotACa
  | KeyUsage
  | ExtendedKeyUsage
  | NameConstraint
  | NameMismatch
  | UnknownCriticalExtension
  | BudgetExceeded
  | CertificateNotYetValid
  | CertificateExpired
  | CertificateRevoked
  | RevocationUnknown
  | CrlMalformed
  | CrlSignature
  | CrlNotYetValid
  | CrlExpired
  | CrlRollback
  | PeerIdMismatch
  | RoleNotAllowed
  | JobScope
  | HungUp
  | Unreachable
  | Internal;

/** The refusal with the path on which it arose, where it has a place for one and names none yet. */
export function withTried<A extends Refusal>(refusal: A, path: readonly TriedCertificate[]): A {
  if (!("certificate" in refusal) && !refusal.code.startsWith("crl-") && refusal.code !== "budget-exceeded") {
    return refusal;
  }
  if ((refusal as { readonly tried?: Tried }).tried !== undefined) return refusal;
  const tried: Tried = path.map(({ subject, serial }) => ({ subject: subject.text, serial }));
  return Object.assign(refusal, { tried });
}

/** What of a certificate {@linkcode withTried} names. */
export interface TriedCertificate {
  /** Its subject. */
  readonly subject: { readonly text: string };
  /** Hexadecimal. */
  readonly serial: string;
}

/** A refusal as one JSON object: for logs and audit records. Dates become RFC 3339 text. */
export function describeRefusal(refusal: Refusal): Record<string, unknown> {
  const { _tag, code, hint, ...data } = refusal as Refusal & Record<string, unknown>;
  return { code, message: refusal.message, hint, data: { tag: _tag, ...data } };
}
