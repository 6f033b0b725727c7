/**
 * Our verdict on one case of x509-limbo: profile `rfc5280` and the rules of the Web PKI, with every algorithm that can be
 * allowed, so that it is the path logic that is tested.
 *
 * @module
 */
import { isIP } from "node:net";
import { Result } from "effect";
import { parse as parseDomain } from "tldts";
import { type Certificate, labelOf, parseCertificate } from "../../pki/certificate.ts";
import { arrangeCrls, parseCrl, type RevocationIndex } from "../../pki/crl.ts";
import { parsePem } from "../../pki/pem.ts";
import { checkName, checkWellFormed, type ExpectedName, verifyPath } from "../../pki/path.ts";
import { type CrlMalformed, KeyUsage, MalformedCertificate, type Refusal } from "../../pki/refusal.ts";
import { defaultPolicy, type Policy, type TrustSnapshot } from "../../pki/trust.ts";
import type { LimboCase, LimboName } from "./suite.ts";

/** Certificates that a case may send: its pathological cases have hundreds, and the search must cover all. */
const limboCertificatesMax = 2_000;

const algorithms = ["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa"] as const;
const purposes: Readonly<Record<string, string>> = {
  anyExtendedKeyUsage: "2.5.29.37.0",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  codeSigning: "1.3.6.1.5.5.7.3.3",
  emailProtection: "1.3.6.1.5.5.7.3.4",
  timeStamping: "1.3.6.1.5.5.7.3.8",
  OCSPSigning: "1.3.6.1.5.5.7.3.9",
};
/** The suite's names of signature algorithms that are checked here. */
const signatures: Readonly<Record<string, string>> = {
  ED25519: "1.3.101.112",
  ECDSA_WITH_SHA256: "1.2.840.10045.4.3.2",
  ECDSA_WITH_SHA384: "1.2.840.10045.4.3.3",
  ECDSA_WITH_SHA512: "1.2.840.10045.4.3.4",
  RSASSA_PSS: "1.2.840.113549.1.1.10",
  RSA_WITH_SHA256: "1.2.840.113549.1.1.11",
  RSA_WITH_SHA384: "1.2.840.113549.1.1.12",
  RSA_WITH_SHA512: "1.2.840.113549.1.1.13",
};
/** The suite's names of key usages where ours differ. */
const usages: Readonly<Record<string, string>> = {
  contentCommitment: "nonRepudiation",
  encipher_only: "encipherOnly",
  decipher_only: "decipherOnly",
};

/** A verdict; of a refusal its code and message. */
export interface LimboVerdict {
  readonly actual: "SUCCESS" | "FAILURE";
  readonly code: string | undefined;
  readonly reason: string | undefined;
}

/** Evaluates a case. `now` is for cases that name no time. */
export function evaluateCase(given: LimboCase, now: Date): LimboVerdict {
  const refusal = refuse(given, now);
  if (refusal === undefined) return { actual: "SUCCESS", code: undefined, reason: undefined };
  return { actual: "FAILURE", code: refusal.code, reason: refusal.message };
}

function refuse(given: LimboCase, now: Date): Refusal | undefined {
  const anchors = readAnchors(given);
  if (Result.isFailure(anchors)) return anchors.failure;
  const revocation = readIndex(given);
  if (Result.isFailure(revocation)) return revocation.failure;
  const chain = [given.peer_certificate, ...given.untrusted_intermediates].flatMap(derOf);
  const policy = policyOf(given);
  const trust = { generation: 1, anchorsId: given.id, anchors: anchors.success, policy };
  const snapshot: TrustSnapshot = { ...trust, revocation: revocation.success };
  const names = [given.expected_peer_name, ...given.expected_peer_names].filter((name) => name !== null);
  const outcome = verifyPath(readable(chain), snapshot, {
    at: given.validation_time === null ? now : new Date(given.validation_time),
    certificatesMax: limboCertificatesMax,
    intermediatesMax: given.max_chain_depth ?? undefined,
  });
  if (Result.isFailure(outcome)) return outcome.failure;
  const wellFormed = checkWellFormed(chain.slice(0, 1));
  if (Result.isFailure(wellFormed)) return wellFormed.failure;
  for (const name of names) {
    const named = checkName(wellFormed.success, expectedName(name));
    if (Result.isFailure(named)) return named.failure;
  }
  return refuseUse(given, outcome.success.path);
}

function derOf(pem: string): readonly Uint8Array[] {
  return Result.getOrElse(
    Result.map(parsePem(pem), (blocks) => blocks.map(({ der }) => der)),
    () => [new Uint8Array()],
  );
}

/** The leaf, and the other certificates that parse. A certificate that does not parse counts as not sent. */
function readable([leaf, ...others]: readonly Uint8Array[]): readonly Uint8Array[] {
  return leaf === undefined ? [] : [leaf, ...others.filter((der) => Result.isSuccess(parseCertificate(der)))];
}

/** Trusted certificates, CAs or not. Malformed ones are no anchors; where all are malformed, the result has the first error. */
function readAnchors(given: LimboCase): Result.Result<readonly Certificate[], MalformedCertificate> {
  const parsed = given.trusted_certs.flatMap(derOf).map((der) => parseCertificate(der));
  const anchors = parsed.filter(Result.isSuccess).map(({ success }) => success);
  const broken = parsed.find(Result.isFailure);
  return anchors.length === 0 && broken !== undefined ? Result.fail(broken.failure) : Result.succeed(anchors);
}

function readIndex(given: LimboCase): Result.Result<RevocationIndex | undefined, CrlMalformed> {
  if (given.crls.length === 0) return Result.succeed(undefined);
  const lists = [];
  for (const der of given.crls.flatMap(derOf)) {
    const list = parseCrl(der);
    if (Result.isFailure(list)) return Result.fail(list.failure);
    lists.push(list.success);
  }
  return Result.succeed({ lists: arrangeCrls(lists) });
}

function policyOf(given: LimboCase): Policy {
  const wanted = given.extended_key_usage.map((name) => purposes[name] ?? name);
  const usual = given.validation_kind === "SERVER" ? purposes["serverAuth"]! : purposes["clientAuth"]!;
  return {
    ...defaultPolicy,
    leafAlgorithms: algorithms,
    caAlgorithms: algorithms,
    crlGraceMs: 0,
    roles: "ignore",
    purposes: wanted.length === 0 ? [usual] : wanted,
    profile: "rfc5280",
    webPki: "require",
  };
}

/** The suite has addresses among its host names, as a browser has in its address line. */
function expectedName({ kind, value }: LimboName): ExpectedName {
  const type = kind === "RFC822" ? "email" : kind === "IP" || isIP(value) !== 0 ? "ip" : "dns";
  return { type, value, isPublicSuffix };
}

/** Whether the public suffix list contains the domain, private section included. */
function isPublicSuffix(domain: string): boolean {
  return parseDomain(domain, { allowPrivateDomains: true }).publicSuffix === domain;
}

/** Checks the requirements of the case for the path: signature algorithms, and the key usages of the leaf. */
function refuseUse(given: LimboCase, path: readonly Certificate[]): Refusal | undefined {
  const [leaf] = path as [Certificate];
  const certificate = labelOf(leaf);
  const missing = given.key_usage.map((name) => usages[name] ?? name).find((name) => !leaf.keyUsage?.includes(name));
  if (leaf.keyUsage !== undefined && missing !== undefined) return new KeyUsage({ certificate, needed: missing });
  if (given.signature_algorithms.length === 0) return undefined;
  const allowed = given.signature_algorithms.map((name) => signatures[name]);
  const other = path.slice(0, -1).find(({ signatureAlgorithm }) => !allowed.includes(signatureAlgorithm.split(" ")[0]));
  if (other === undefined) return undefined;
  const detail = `the case does not allow its signature algorithm ${other.signatureAlgorithm}`;
  return new MalformedCertificate({ detail, index: path.indexOf(other) });
}
