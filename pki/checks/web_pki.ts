/**
 * The rules of the Web PKI beyond RFC 5280: the CA/Browser Forum's baseline requirements, as far as a verifier can check them.
 *
 * Nodes of this network do not apply them (`policy.webPki`): they are for programs that verify servers' certificates, and
 * for the conformance suite. Each rule names its section (Baseline Requirements 2.x).
 *
 * @module
 */
import { type Certificate, labelOf, type SubjectAltName } from "../certificate.ts";
import type { HeldCrl } from "../crl.ts";
import { CrlMalformed, ExtendedKeyUsage, MalformedCertificate, type Refusal } from "../refusal.ts";
import { findRepeated } from "../serial_index.ts";
import type { Place } from "./profile.ts";

const serverAuth = "1.3.6.1.5.5.7.3.1";
/** Purposes that the Baseline Requirements cover: TLS servers and clients. Mail, code signing and time stamping have rules of their own. */
const ruledPurposes: readonly string[] = [serverAuth, "1.3.6.1.5.5.7.3.2"];
/** Purposes that a server's certificate must not have in addition to serverAuth (BR 7.1.2.7.10). */
const foreignPurposes: Readonly<Record<string, string>> = {
  "2.5.29.37.0": "any purpose",
  "1.3.6.1.5.5.7.3.3": "codeSigning",
  "1.3.6.1.5.5.7.3.4": "emailProtection",
  "1.3.6.1.5.5.7.3.8": "timeStamping",
  "1.3.6.1.5.5.7.3.9": "OCSPSigning",
  "1.3.6.1.4.1.11129.2.4.4": "precertificate signing",
};
/** First octet of a uniformResourceIdentifier's DER, in hexadecimal. */
const uriTag = "86";
const oids = { subjectAltName: "2.5.29.17", extendedKeyUsage: "2.5.29.37" } as const;

/** Why a CA of the Web PKI must not issue such a certificate; undefined where it may. */
export function refuseUnusual(of: Certificate, place: Place, purposes: readonly string[]): Refusal | undefined {
  return refuseIdentifiers(of, place) ?? (place === "leaf" ? refuseServerNames(of, purposes) : undefined) ??
    refusePurposes(of, place, purposes);
}

/**
 * Why a CA of the Web PKI must not issue such a list; undefined where it may: its distribution point is named by URIs
 * (BR 7.2.2.1), and no certificate is listed twice (CA/Browser Forum, servercert issue 589).
 */
export function refuseUnusualCrl({ scope, index }: HeldCrl): CrlMalformed | undefined {
  if (scope.points?.some((point) => !point.startsWith(uriTag)) === true) {
    return new CrlMalformed({ detail: "its distribution point is named by something else than a URI (BR 7.2.2.1)" });
  }
  const serial = findRepeated(index);
  return serial === undefined ? undefined : new CrlMalformed({ detail: `serial number ${serial} is listed twice` });
}

/** Key identifiers: nothing but the key (BR 7.1.2.11.1), and a root's own (BR 7.1.2.1.3). Distribution points: URIs. */
function refuseIdentifiers(of: Certificate, place: Place): MalformedCertificate | undefined {
  const refuse = (detail: string) => new MalformedCertificate({ detail, index: place === "leaf" ? 0 : 1 });
  if (of.authorityNamesIssuer) return refuse("its authority key identifier names issuer and serial (BR 7.1.2.11.1)");
  if (of.hasAuthorityKey && of.authorityKeyId === undefined) {
    return refuse("its authority key identifier names no key (BR 7.1.2.1.3, 7.1.2.11.1)");
  }
  if (place === "root" && of.authorityKeyId !== undefined && of.authorityKeyId !== of.subjectKeyId) {
    return refuse("a root's authority key identifier is not its own (BR 7.1.2.1.3)");
  }
  if (of.distributionPoints.some((point) => !point.startsWith(uriTag))) {
    return refuse("a distribution point is named by something else than a URI (BR 7.1.2.11.2)");
  }
  return undefined;
}

function refusePurposes(
  of: Certificate,
  place: Place,
  purposes: readonly string[],
): ExtendedKeyUsage | undefined {
  const usages = of.extendedKeyUsage;
  const refuse = (needed: string) => new ExtendedKeyUsage({ certificate: labelOf(of), needed });
  if (purposes.some((purpose) => !ruledPurposes.includes(purpose))) {
    return refuse("rules: only those of servers and their clients are known here");
  }
  if (place === "root" && usages !== undefined) return refuse("absence: a root must have none (BR 7.1.2.1.2)");
  if (of.critical.includes(oids.extendedKeyUsage)) return refuse("restraint: it must not be critical (BR 7.1.2.7.6)");
  if (place !== "leaf" || !purposes.includes(serverAuth)) return undefined;
  if (usages === undefined) return refuse("serverAuth: a server must have it (BR 7.1.2.7.10)");
  const foreign = usages.find((usage) => foreignPurposes[usage] !== undefined);
  if (foreign === undefined) return undefined;
  return refuse(`restraint: a server must not claim ${foreignPurposes[foreign]} (BR 7.1.2.7.10)`);
}

/** Names of a server: alternative names in proper form (BR 7.1.2.7.12), a common name that is one of them (BR 7.1.4.3). */
function refuseServerNames(of: Certificate, purposes: readonly string[]): MalformedCertificate | undefined {
  const refuse = (detail: string) => new MalformedCertificate({ detail, index: 0 });
  if (!purposes.includes(serverAuth)) return undefined;
  const names = of.subjectAltNames;
  if (names.length === 0) return refuse("it has no subject alternative name (BR 7.1.2.7.12)");
  if (of.critical.includes(oids.subjectAltName) && of.subject.text !== "") {
    return refuse("subjectAltName is critical, and there is a subject (BR 7.1.2.7.12)");
  }
  const odd = names.find(({ type, value }) => type === "dns" && !isServerName(value));
  if (odd !== undefined) return refuse(`${odd.value} is not a domain name in preferred syntax (BR 7.1.2.7.12)`);
  if (isNamed(of.subject.commonName, names)) return undefined;
  return refuse("the common name is none of its alternative names (BR 7.1.4.3)");
}

/**
 * Whether a common name adds no name to the alternative names: it is exactly one of them. A host name also passes where there
 * are names of other kinds only, or where it is a parent of one of the names; so does a text that is neither an address nor
 * dotted, because it is no domain name.
 */
function isNamed(commonName: string | undefined, names: readonly SubjectAltName[]): boolean {
  if (commonName === undefined) return true;
  const values = (type: "dns" | "ip") => names.filter((name) => name.type === type).map(({ value }) => value);
  if (isAddress(commonName)) return values("ip").includes(commonName);
  if (/^[\w -]*$/.test(commonName)) return true;
  const hosts = values("dns");
  if (hosts.length === 0) return isServerName(commonName);
  return hosts.some((host) => host === commonName || host.endsWith(`.${commonName}`));
}

/** Whether a browser would read a text as an address, in any notation (URL Standard §3.5: "ends in a number"). */
function isAddress(text: string): boolean {
  return text.includes(":") || /(?:^|\.)(?:\d+|0x[0-9a-f]*)\.?$/i.test(text);
}

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const serverName = new RegExp(`^(?=.{1,253}$)(?:\\*\\.)?${label}(?:\\.${label})*$`, "i");

/** Letters, digits and hyphens (RFC 1034 §3.5, RFC 1123 §2.1), a wildcard in front at most, not four numbers. */
function isServerName(name: string): boolean {
  return serverName.test(name) && !/^[\d.]+$/.test(name);
}
