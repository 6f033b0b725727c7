/**
 * Every refusal, in one table: from it come the classes in `refusal.ts`, the codes that the log sums up, the codes that
 * telemetry counts, and the tables of `docs/refusals.md`.
 *
 * @module
 */

import { crlRefusals } from "./crl_refusals.ts";
import type { CertificateLabel, RefusalRow } from "./refusal_row.ts";

type Detail = { readonly detail: string };
type Limit = { readonly limit: string; readonly max: number };
type OfCertificate = { readonly certificate: CertificateLabel };

const label = (of: CertificateLabel): string => `${of.subject || "(no subject)"} (serial ${of.serial})`;

/** The table, by code, in the order of the checks that refuse. A code never changes. */
export const refusalTable = {
  "rate-limited": {
    tag: "RateLimited",
    phase: "admission",
    logged: "summary",
    hint:
      "If these are nodes of yours behind one address, raise handshakes_per_second and handshakes_burst under [limits]; otherwise block the address at the firewall.",
    message: ({ max, limit }: Limit) => `Cannot admit connection: more than ${max} ${limit}`,
  },
  "too-many-connections": {
    tag: "TooManyConnections",
    phase: "admission",
    logged: "summary",
    hint:
      "If the load is yours, add a gateway or raise the limit under [limits] (connections_max, connections_per_address_max, connections_per_peer_max, pending_max, pending_per_address_max); otherwise block the address at the firewall.",
    message: ({ max, limit }: Limit) => `Cannot admit connection: already ${max} ${limit}`,
  },
  "protocol-mismatch": {
    tag: "ProtocolMismatch",
    phase: "handshake",
    logged: "summary",
    hint:
      "Something other than a Hypha node talks to this port (a scanner, a browser, a health check): point it elsewhere, or block the address at the firewall.",
    message: ({ detail }: Detail) => `Cannot speak with peer: ${detail}`,
  },
  "tls-version": {
    tag: "TlsVersion",
    phase: "tlsVersion",
    hint: "Only TLS 1.3 is spoken here: update the peer's software. A scanner can be blocked at the firewall.",
    message: ({ detail }: Detail) => `Cannot accept TLS version: ${detail}`,
  },
  "tls-failed": {
    tag: "TlsFailed",
    phase: "handshake",
    hint:
      "Check on the peer that its key belongs to its certificate: hypha-certutil doctor -c FILE. From an unknown address it may be an attacker who has a stolen certificate and no key: block it at the firewall.",
    message: ({ detail }: Detail) => `Cannot complete TLS handshake: ${detail}`,
  },
  "handshake-timeout": {
    tag: "HandshakeTimeout",
    phase: "handshake",
    logged: "summary",
    hint:
      "Check that the peer runs, and the network between; for slow links raise handshake_timeout_ms. Many from one unknown address are an attack: block it at the firewall.",
    message: ({ state, afterMs }: { readonly state: string; readonly afterMs: number }) =>
      `Cannot wait longer for peer: still ${state} after ${afterMs} ms`,
  },
  "no-certificate": {
    tag: "NoCertificate",
    phase: "wellFormed",
    hint:
      "Set cert_pem and key_pem on the peer: both sides authenticate here. If it is no node of yours, block the address at the firewall.",
    message: ({ detail }: Detail) => `Cannot identify peer: ${detail}`,
  },
  "malformed-certificate": {
    tag: "MalformedCertificate",
    phase: "wellFormed",
    hint:
      "Look at the peer's cert_pem with: hypha-certutil inspect CERT.pem (certificate 0 is the node's own); then issue it again: hypha-certutil gen-cert.",
    message: ({ index, detail }: { readonly detail: string; readonly index: number }) =>
      `Cannot parse certificate ${index} of the chain: ${detail}`,
  },
  "self-signed": {
    tag: "SelfSigned",
    phase: "path",
    tried: true,
    hint:
      "Have the certificate signed by the organisation's CA: hypha-certutil csr on the peer, then hypha-certutil sign at the CA.",
    message: ({ certificate }: OfCertificate) => `Cannot accept certificate ${label(certificate)}: it is self-signed`,
  },
  "unsupported-key-algorithm": {
    tag: "UnsupportedKeyAlgorithm",
    phase: "algorithm",
    tried: true,
    hint:
      "Issue the certificate with an allowed key (hypha-certutil gen-cert makes Ed25519), or allow this one here in leaf_algorithms or ca_algorithms.",
    message: (
      { certificate, algorithm, allowed }: OfCertificate & {
        readonly algorithm: string;
        readonly allowed: readonly string[];
      },
    ) => `Cannot accept key of ${label(certificate)}: ${algorithm} is not one of ${allowed.join(", ")}`,
  },
  "unknown-issuer": {
    tag: "UnknownIssuer",
    phase: "path",
    tried: true,
    hint:
      "If the issuer is to be trusted, put its CA certificate into trust_pem here; if it is an intermediate, put it behind the leaf in the peer's cert_pem. Otherwise the peer is a stranger: block its address.",
    message: ({ certificate, issuer }: OfCertificate & { readonly issuer: string }) =>
      `Cannot find issuer of ${label(certificate)}: ${issuer} is neither sent nor trusted`,
  },
  "bad-signature": {
    tag: "BadSignature",
    phase: "path",
    tried: true,
    hint:
      "Compare the CA that signed with the one of that name in trust_pem (hypha-certutil inspect FILE): it may have a namesake with another key. If they are the same, the certificate was altered: issue it again.",
    message: ({ certificate, issuer }: OfCertificate & { readonly issuer: string }) =>
      `Cannot accept certificate ${label(certificate)}: signature does not verify under ${issuer}`,
  },
  "path-too-long": {
    tag: "PathTooLong",
    phase: "path",
    tried: true,
    hint:
      "Issue the node's certificate from a CA nearer to the root, or issue that CA again with a larger length: hypha-certutil gen-intermediate-ca --path-length N.",
    message: ({ certificate, max }: OfCertificate & { readonly max: number }) =>
      `Cannot follow path through ${label(certificate)}: at most ${max} CA certificates may follow below it`,
  },
  "not-a-ca": {
    tag: "NotACa",
    phase: "path",
    tried: true,
    hint:
      "Only a certificate with CA:TRUE may sign others: issue the certificate below it again with a CA's key, such as the intermediate's: hypha-certutil gen-cert --ca-cert CA.pem.",
    message: ({ certificate }: { readonly certificate: CertificateLabel }) =>
      `Cannot accept issuer ${label(certificate)}: it is not a CA`,
  },
  "key-usage": {
    tag: "KeyUsage",
    phase: "path",
    tried: true,
    hint:
      "Issue the certificate named here again with this key usage: hypha-certutil gen-cert sets what a node needs, gen-intermediate-ca what a CA needs.",
    message: ({ certificate, needed }: OfCertificate & { readonly needed: string }) =>
      `Cannot use key of ${label(certificate)}: key usage lacks ${needed}`,
  },
  "extended-key-usage": {
    tag: "ExtendedKeyUsage",
    phase: "path",
    tried: true,
    hint:
      "Issue the certificate again with serverAuth and clientAuth, as hypha-certutil gen-cert does: every node is both.",
    message: ({ certificate, needed }: OfCertificate & { readonly needed: string }) =>
      `Cannot use certificate ${label(certificate)}: extended key usage lacks ${needed}`,
  },
  "name-constraint": {
    tag: "NameConstraint",
    phase: "path",
    tried: true,
    hint:
      "Issue the certificate from the CA of the domain that it names, or with a name that its CA may speak for; what that is: hypha-certutil inspect CA.pem, or the name under [[trust_domains]].",
    message: ({ certificate, name }: OfCertificate & { readonly name: string }) =>
      `Cannot accept ${label(certificate)}: its issuer may not speak for ${name}`,
  },
  "name-mismatch": {
    tag: "NameMismatch",
    phase: "expectedName",
    tried: true,
    hint:
      "Issue the certificate with the name among its alternative names: hypha-certutil gen-cert --san DNS:NAME. The common name does not count.",
    message: (
      { names, certificate, expected }: OfCertificate & {
        readonly expected: string;
        readonly names: readonly string[];
      },
    ) => {
      const has = names.length === 0 ? "it has none" : `it has ${names.join(", ")}`;
      return `Cannot accept ${label(certificate)} as ${expected}: no alternative name matches, ${has}`;
    },
  },
  "unknown-critical-extension": {
    tag: "UnknownCriticalExtension",
    phase: "path",
    tried: true,
    hint:
      "Issue the certificate without the extension, or with the extension not critical; hypha-certutil inspect CERT.pem shows it.",
    message: ({ certificate, oid }: OfCertificate & { readonly oid: string }) =>
      `Cannot accept ${label(certificate)}: critical extension ${oid} is not understood`,
  },
  "budget-exceeded": {
    tag: "BudgetExceeded",
    phase: "path",
    tried: true,
    hint:
      "Put only the leaf and its intermediates into the peer's cert_pem, leaf first: hypha-certutil inspect CERT.pem shows what is there. From a stranger it is an attack: block the address.",
    message: ({ max, what }: { readonly what: string; readonly max: number }) =>
      `Cannot verify chain within its budget: more than ${max} ${what}`,
  },
  "certificate-not-yet-valid": {
    tag: "CertificateNotYetValid",
    phase: "validity",
    tried: true,
    hint: "Check the clocks of both nodes (timedatectl), then the dates: hypha-certutil inspect CERT.pem.",
    message: ({ certificate, at, notBefore }: OfCertificate & { readonly at: Date; readonly notBefore: Date }) =>
      `Cannot accept certificate ${label(certificate)} at ${at.toISOString()}: valid from ${notBefore.toISOString()}`,
  },
  "certificate-expired": {
    tag: "CertificateExpired",
    phase: "validity",
    tried: true,
    hint:
      "Issue the certificate named here again (hypha-certutil gen-cert for a node, gen-intermediate-ca for a CA) and put it into the peer's cert_pem. If it should still be valid, check the clocks: timedatectl.",
    message: ({ certificate, at, notAfter }: OfCertificate & { readonly at: Date; readonly notAfter: Date }) =>
      `Cannot accept certificate ${label(certificate)} at ${at.toISOString()}: valid until ${notAfter.toISOString()}`,
  },
  "certificate-revoked": {
    tag: "CertificateRevoked",
    phase: "revocation",
    tried: true,
    hint:
      "It was cut off on purpose. If the node is to come back, issue it a certificate with a new key (hypha-certutil gen-cert); a revocation is not taken back. If it is not, stop it: it still dials.",
    message: (
      { certificate, issuer, revokedAt, reason }: OfCertificate & {
        readonly issuer: string;
        readonly revokedAt: Date;
        readonly reason: string;
      },
    ) =>
      `Cannot accept certificate ${label(certificate)}: revoked by ${issuer} at ${revokedAt.toISOString()} (${reason})`,
  },
  "revocation-unknown": {
    tag: "RevocationUnknown",
    phase: "revocation",
    tried: true,
    hint:
      "Add the issuer's list to crls_pem here: hypha-certutil gen-crl --ca-cert CA.pem --ca-key CA-KEY.pem --out-crl CRLS.pem; other CAs' lists in the file stay.",
    message: ({ why, issuer, certificate }: OfCertificate & {
      readonly issuer: string;
      /** Why the issuer's lists are not enough; undefined where it has none. */
      readonly why?: string;
    }) => {
      const lack = why === undefined ? `no revocation list of ${issuer}` : `${why} (${issuer})`;
      return `Cannot tell whether ${label(certificate)} is revoked: ${lack}`;
    },
  },
  ...crlRefusals,
  "peer-id-mismatch": {
    tag: "PeerIdMismatch",
    phase: "identity",
    hint:
      "If that node's key was rotated, write the new PeerID, or the address without /p2p/…, into gateway_addresses; if it was not, another node answers at that address: find out which.",
    message: ({ actual, expected }: { readonly expected: string; readonly actual: string }) =>
      `Cannot accept peer ${actual}: dialled ${expected}`,
  },
  "role-not-allowed": {
    tag: "RoleNotAllowed",
    phase: "role",
    tried: true,
    hint:
      "Issue the certificate with the role in its URI SAN: hypha-certutil gen-cert --san URI:spiffe://DOMAIN/ROLE/NAME; or allow the role here (roles of [[trust_domains]], require_roles).",
    message: (
      { certificate, role, allowed }: OfCertificate & { readonly role: string; readonly allowed: readonly string[] },
    ) => `Cannot accept ${label(certificate)} as ${role}: allowed are ${allowed.join(", ")}`,
  },
  "job-scope": {
    tag: "JobScope",
    phase: "job",
    hint:
      "Check the executor's requests: a job may use what its specification names and its scheduler grants. If it is not yours, end its job; for a slice check the data node's require_grant. For a file over [fetch] timeout_ms raise it.",
    message: ({ job, what, why }: {
      /** The job's id; `-` where none was named. */
      readonly job: string;
      readonly what: string;
      /** The reason; where undefined, the specification does not name it. */
      readonly why?: string;
    }) => `Cannot let job ${job} use ${what}: ${why ?? "not in its specification"}`,
  },
  "not-authorized": {
    tag: "NotAuthorized",
    phase: "act",
    hint:
      "Ask why: hypha-certutil explain -c FILE --peer CERT --act ACT. Issue the member a certificate of the role that the act needs, or add a rule to [[authorization.rules]]. If it may be hostile, revoke its certificate.",
    message: ({ act, role, name, rule }: {
      readonly act: string;
      /** The role that its certificate names; `none` where it names none. */
      readonly role: string;
      /** The certificate's name. */
      readonly name: string;
      /** The row or rule that decided. */
      readonly rule: string;
    }) => `Cannot let ${name} (role ${role}) do ${act}: ${rule}`,
  },
  "too-expensive": {
    tag: "TooExpensive",
    phase: "act",
    hint:
      "Check what the peer asks of this node: it costs more than a tenth of a core. Look at its log; if it is hostile, revoke it with hypha-certutil revoke; if its work is honest, spread it over more nodes.",
    message: ({ delayedMs, refusedMs }: {
      /** How long its work had been delayed on end; 0 where it comes back before its time. */
      readonly delayedMs: number;
      readonly refusedMs: number;
    }) =>
      delayedMs === 0
        ? `Cannot let this peer in: it cost too much, and is refused for ${Math.ceil(refusedMs / 1_000)} s more`
        : `Cannot do more for this peer: its work was delayed for ${
          Math.round(delayedMs / 1_000)
        } s on end. It is refused for ${Math.ceil(refusedMs / 1_000)} s`,
  },
  "hung-up": {
    tag: "HungUp",
    phase: "handshake",
    hint:
      "Read the peer's log of this moment: it closed without a word, which is how a refusal looks from here. If there is nothing, check the network between.",
    message: ({ detail }: Detail) => `Cannot establish connection: ${detail}`,
  },
  "unreachable": {
    tag: "Unreachable",
    phase: "handshake",
    hint:
      "Check that the node runs (hypha-ROLE probe -c FILE ADDRESS), its listen_addresses, and the firewall between.",
    message: ({ detail }: Detail) => `Cannot reach peer: ${detail}`,
  },
  "internal": {
    tag: "Internal",
    phase: "any",
    hint: "This is a bug: please report it with this line and the version (--version).",
    message: ({ detail }: Detail) => `Cannot decide: ${detail}`,
  },
} as const satisfies Readonly<Record<string, RefusalRow>>;
