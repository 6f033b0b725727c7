/**
 * A realistic refusal of each code, as an operator would meet it.
 *
 * @module
 */
import {
  BadSignature,
  BudgetExceeded,
  CertificateExpired,
  type CertificateLabel,
  CertificateNotYetValid,
  CertificateRevoked,
  CrlEquivocation,
  CrlExpired,
  CrlMalformed,
  CrlNotYetValid,
  CrlRollback,
  CrlSignature,
  ExtendedKeyUsage,
  HandshakeTimeout,
  HungUp,
  Internal,
  JobScope,
  KeyUsage,
  MalformedCertificate,
  NameConstraint,
  NameMismatch,
  NoCertificate,
  NotACa,
  NotAuthorized,
  PathTooLong,
  PeerIdMismatch,
  ProtocolMismatch,
  RateLimited,
  type Refusal,
  type RefusalCode,
  refusalCodes,
  RevocationUnknown,
  RoleNotAllowed,
  SelfSigned,
  TlsFailed,
  TlsVersion,
  TooExpensive,
  TooManyConnections,
  UnknownCriticalExtension,
  UnknownIssuer,
  Unreachable,
  UnsupportedKeyAlgorithm,
} from "../../pki/refusal.ts";
import { checkTable } from "../../pki/checks/check_table.ts";
import type { RefusalPhase } from "../../pki/refusal_row.ts";
import { refusalTable } from "../../pki/refusal_table.ts";

const at = new Date("2026-03-01T03:00:00Z");

/** Examples in which every text that a peer may have chosen is `text`, or something realistic. */
export function refusalExamples(text?: string): Readonly<Record<RefusalCode, Refusal>> {
  const say = (usual: string) => text ?? usual;
  const certificate: CertificateLabel = { subject: say("CN=worker-07.acme.local, O=Acme"), serial: say("4b1f09c2") };
  const intermediate: CertificateLabel = { subject: say("CN=Acme CA, O=Acme"), serial: say("22aa31") };
  const issuer = say("CN=Acme CA, O=Acme");
  const detail = say;
  return {
    "rate-limited": new RateLimited({ limit: "handshakes a second from one address", max: 50 }),
    "too-many-connections": new TooManyConnections({ limit: "connections from one address", max: 512 }),
    "protocol-mismatch": new ProtocolMismatch({ detail: detail('it began with "GET / HTTP/1.1"') }),
    "tls-version": new TlsVersion({ detail: detail("TLSv1.2 instead of TLSv1.3") }),
    "tls-failed": new TlsFailed({ detail: detail("bad signature in CertificateVerify") }),
    "handshake-timeout": new HandshakeTimeout({ state: "waiting for TLS", afterMs: 5_000 }),
    "no-certificate": new NoCertificate({ detail: detail("it sent no certificate") }),
    "malformed-certificate": new MalformedCertificate({ detail: detail("it is X.509 v1"), index: 0 }),
    "self-signed": new SelfSigned({ certificate }),
    "unsupported-key-algorithm": new UnsupportedKeyAlgorithm({
      certificate,
      algorithm: say("ecdsa-p256"),
      allowed: ["ed25519"],
    }),
    "unknown-issuer": new UnknownIssuer({ certificate, issuer: say("CN=Elsewhere CA, O=Elsewhere") }),
    "bad-signature": new BadSignature({ certificate, issuer }),
    "path-too-long": new PathTooLong({ certificate: intermediate, max: 0 }),
    "not-a-ca": new NotACa({ certificate: intermediate }),
    "key-usage": new KeyUsage({ certificate, needed: "digitalSignature" }),
    "extended-key-usage": new ExtendedKeyUsage({ certificate, needed: "clientAuth" }),
    "name-constraint": new NameConstraint({ certificate, name: say("DNS:worker-07.partner.example") }),
    "name-mismatch": new NameMismatch({
      certificate,
      expected: say("gateway.acme.local"),
      names: [say("DNS:worker-07.acme.local")],
    }),
    "unknown-critical-extension": new UnknownCriticalExtension({ certificate, oid: say("2.5.29.36") }),
    "budget-exceeded": new BudgetExceeded({ what: "signature checks", max: 100 }),
    "certificate-not-yet-valid": new CertificateNotYetValid({
      certificate,
      at,
      notBefore: new Date("2026-03-01T04:00:00Z"),
    }),
    "certificate-expired": new CertificateExpired({ certificate, at, notAfter: new Date("2026-02-28T23:59:59Z") }),
    "certificate-revoked": new CertificateRevoked({
      certificate,
      issuer,
      revokedAt: new Date("2026-02-27T12:00:00Z"),
      reason: "keyCompromise",
    }),
    "revocation-unknown": new RevocationUnknown({ certificate, issuer }),
    "crl-malformed": new CrlMalformed({ detail: detail("length beyond the end (offset 12)") }),
    "crl-signature": new CrlSignature({
      issuer,
      detail: detail("signature does not verify under the key of that name"),
    }),
    "crl-not-yet-valid": new CrlNotYetValid({ issuer, at, thisUpdate: new Date("2026-03-01T04:00:00Z") }),
    "crl-expired": new CrlExpired({ issuer, at, nextUpdate: new Date("2026-02-20T00:00:00Z") }),
    "crl-rollback": new CrlRollback({ issuer, number: say("17"), seen: say("19") }),
    "crl-equivocation": new CrlEquivocation({ issuer, number: say("17"), sha256: [say("9f2c…"), say("41d0…")] }),
    "peer-id-mismatch": new PeerIdMismatch({
      expected: say("12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5"),
      actual: say("12D3KooWAQDSCwWK89bAyfHvUuN5DyZuH9cd3VqfDfP3ReYYL5yC"),
    }),
    "role-not-allowed": new RoleNotAllowed({ certificate, role: say("no role"), allowed: ["gateway", "scheduler"] }),
    "job-scope": new JobScope({ job: say("7d0f3c1e"), what: say("dataset digits-private") }),
    "too-expensive": new TooExpensive({ delayedMs: 30_000, refusedMs: 60_000 }),
    "hung-up": new HungUp({ detail: detail("the peer ended the connection") }),
    "unreachable": new Unreachable({ detail: detail("connect ECONNREFUSED 192.0.2.1:4001") }),
    "internal": new Internal({ detail: detail("check path gave no outcome") }),
    "not-authorized": new NotAuthorized({
      act: "job.dispatch",
      role: "data",
      name: say("data-01.acme.local"),
      rule: "row job.dispatch",
    }),
  };
}

const scopes = {
  connection: "for a connection",
  chain: "for every chain",
  name: "where the caller names whom it looks for",
} as const;

/**
 * `docs/refusals.md`, up to the formatter's spaces. Written anew by
 * `npx node -e 'import("./tests/support/refusal_examples.ts").then(({ refusalPage }) => console.log(refusalPage()))'`.
 */
export function refusalPage(): string {
  const examples = refusalExamples();
  const cell = (text: string) => text.replaceAll("|", "\\|").replaceAll("[[", "\\[[");
  const summed = refusalCodes.filter((code) => "logged" in refusalTable[code]).map((code) => `\`${code}\``);
  const codesOf = (phase: RefusalPhase) =>
    refusalCodes.filter((code) => refusalTable[code].phase === phase).map((code) => `\`${code}\``).join(", ");
  const checks = checkTable.map(({ name, question, scope }) =>
    `| \`${name}\` | ${question} | ${scopes[scope]} | ${codesOf(name)} |`
  );
  const rows = refusalCodes.map((code) =>
    `| \`${code}\` | ${cell(examples[code].message)} | ${cell(examples[code].hint)} |`
  );
  return `# Refusals

When a node refuses a peer, a certificate or a revocation list, it logs a line \`peer.refused\` with the code, the address, the name and PeerID
of the certificate where it saw one, the reason, and what to do (\`hint\`). The peer sees a closed connection only.

Where it saw no certificate, the refusals of some codes are summed up for each minute and host, in a line \`peers.refused\`:
${summed.join(", ")}.

## The checks

A verification makes these checks in this order and stops at the first that refuses. A code stands at the first check that gives it.

| check | question | made | codes |
| --- | --- | --- | --- |
${checks.join("\n")}

The others arise elsewhere:

- at admission: ${codesOf("admission")};
- in the handshake, before the checks: ${codesOf("handshake")};
- when trust files load: ${codesOf("trust files")};
- while a job runs: ${codesOf("job")};
- when a verified member acts: ${
    codesOf("act")
  } (a line \`act.refused\`; at a configured gateway's address \`peer.refused\`);
- at any time: ${codesOf("any")}.

## The codes

| code | example of the reason | hint |
| --- | --- | --- |
${rows.join("\n")}
`;
}
