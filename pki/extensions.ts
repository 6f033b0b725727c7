/**
 * The extensions of a certificate that the verifier processes (RFC 5280 §4.2).
 *
 * @module
 */
import type { Certificate, DistinguishedName } from "./certificate.ts";
import { DerCursor, type DerCursor as Cursor, tags } from "./der.ts";
import { toHex } from "./bytes.ts";
import { readDistributionPoints, readGeneralNames, readNameConstraints, readOneName } from "./general_name.ts";

/** Extensions of one certificate. Those in use have at most a dozen. */
export const extensionsMax = 64;

/** What {@linkcode readExtensions} fills in. */
export type Extensions = Pick<
  Certificate,
  | "basicConstraints"
  | "keyUsage"
  | "extendedKeyUsage"
  | "subjectAltNames"
  | "nameConstraints"
  | "subjectKeyId"
  | "authorityKeyId"
  | "hasAuthorityKey"
  | "authorityNamesIssuer"
  | "distributionPoints"
  | "critical"
  | "unknownCritical"
>;

/** A certificate without extensions. */
export const noExtensions: Extensions = {
  basicConstraints: undefined,
  keyUsage: undefined,
  extendedKeyUsage: undefined,
  subjectAltNames: [],
  nameConstraints: undefined,
  subjectKeyId: undefined,
  authorityKeyId: undefined,
  hasAuthorityKey: false,
  authorityNamesIssuer: false,
  distributionPoints: [],
  critical: [],
  unknownCritical: [],
};

/** One extension: a cursor over the content of its octet string. */
export interface RawExtension {
  readonly oid: string;
  readonly critical: boolean;
  readonly value: Cursor;
}

const keyUsages = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;

type Mutable<A> = { -readonly [K in keyof A]: A[K] };

/** Reads a certificate's `[3] Extensions`. `subject` matters because an empty one makes the alternative names critical. */
export function readExtensions(cursor: Cursor, subject: DistinguishedName): Extensions {
  const wrapper = cursor.enter(0xa3, "extensions");
  const list = readExtensionList(wrapper);
  wrapper.finish("extensions");
  const extensions: Mutable<Extensions> = { ...noExtensions };
  const unknownCritical: string[] = [];
  for (const { oid, critical, value } of list) {
    const read = readers[oid];
    if (read === undefined) {
      // Policies are not processed; a CA that constrains them must say so in a way that cannot be passed over.
      if (oid === "2.5.29.36" && !critical) cursor.fail("policyConstraints must be critical");
      if (critical) unknownCritical.push(oid);
      continue;
    }
    read(extensions, value, critical);
    value.finish(`extension ${oid}`);
    if (oid === "2.5.29.17" && subject.text === "" && !critical) {
      cursor.fail("subjectAltName must be critical where the subject is empty");
    }
  }
  if (extensions.nameConstraints !== undefined && extensions.basicConstraints?.ca !== true) {
    cursor.fail("nameConstraints stand in a certificate that is no CA's");
  }
  const critical = list.filter((extension) => extension.critical).map(({ oid }) => oid);
  return { ...extensions, critical, unknownCritical };
}

/** Reads a SEQUENCE OF Extension: no OID twice, at least one, at most {@linkcode extensionsMax}. */
export function readExtensionList(cursor: Cursor): readonly RawExtension[] {
  const list = cursor.enter(tags.sequence, "extensions");
  const seen = new Set<string>();
  const extensions: RawExtension[] = [];
  if (list.done) list.fail("extensions are empty");
  while (!list.done) {
    const extension = list.enter(tags.sequence, "extension");
    const oid = extension.oid("extension identifier");
    const critical = extension.peek() === tags.boolean && extension.boolean("critical");
    if (extension.tag === tags.boolean && !critical) extension.fail("a default (critical FALSE) is written out");
    extension.read(tags.octetString, "extension value");
    const value = new DerCursor(extension.bytes, extension.contentStart, extension.contentEnd, extension.depth + 1);
    extension.finish("extension");
    if (seen.has(oid)) list.fail(`extension ${oid} stands there twice`);
    if (seen.size === extensionsMax) list.fail(`more than ${extensionsMax} extensions`);
    seen.add(oid);
    extensions.push({ oid, critical, value });
  }
  return extensions;
}

/** The content of an AuthorityKeyIdentifier (RFC 5280 §4.2.1.1). */
export interface AuthorityKey {
  readonly keyId: string | undefined;
  /** Whether it names the issuer's own certificate too: a hint that is not used here. */
  readonly namesIssuer: boolean;
}

/** Reads an AuthorityKeyIdentifier. */
export function readAuthorityKeyId(cursor: Cursor): AuthorityKey {
  const fields = cursor.enter(tags.sequence, "authorityKeyIdentifier");
  let keyId: string | undefined;
  let issuer = false, serial = false;
  for (let last = 0x7f; !fields.done;) {
    const tag = fields.peek();
    if ((tag !== 0x80 && tag !== 0xa1 && tag !== 0x82) || (tag & 0x1f) <= (last & 0x1f) && last !== 0x7f) {
      fields.fail("authorityKeyIdentifier has an unexpected field");
    }
    fields.readAny("authorityKeyIdentifier's field");
    if (tag === 0x80) keyId = toHex(fields.content);
    else if (tag === 0xa1) issuer = true;
    else serial = true;
    last = tag;
  }
  // RFC 5280 §4.2.1.1: both or neither. By one of them no issuer can be told.
  if (issuer !== serial) fields.fail("authorityKeyIdentifier has an issuer without its serial number, or the reverse");
  return { keyId, namesIssuer: issuer };
}

const readers: Readonly<Record<string, (to: Mutable<Extensions>, value: Cursor, critical: boolean) => void>> = {
  "2.5.29.14": (to, value, critical) => {
    if (critical) value.fail("subjectKeyIdentifier must not be critical");
    value.read(tags.octetString, "subjectKeyIdentifier");
    to.subjectKeyId = toHex(value.content);
  },
  "2.5.29.15": (to, value) => {
    to.keyUsage = readKeyUsage(value);
  },
  "2.5.29.17": (to, value) => {
    to.subjectAltNames = readGeneralNames(value);
  },
  "2.5.29.19": (to, value, critical) => {
    to.basicConstraints = readBasicConstraints(value);
    if (to.basicConstraints.ca && !critical) value.fail("basicConstraints of a CA must be critical");
  },
  "2.5.29.30": (to, value, critical) => {
    if (!critical) value.fail("nameConstraints must be critical");
    to.nameConstraints = readNameConstraints(value);
  },
  "2.5.29.31": (to, value) => {
    to.distributionPoints = readDistributionPoints(value);
  },
  // Any policy is accepted. policyConstraints, which can require one, is critical and not processed, so that policies change
  // no verdict (RFC 5280 §6.1): they only have to be well formed.
  "2.5.29.32": (_, value) => readPolicies(value),
  "2.5.29.35": (to, value, critical) => {
    if (critical) value.fail("authorityKeyIdentifier must not be critical");
    const { keyId, namesIssuer } = readAuthorityKeyId(value);
    to.authorityKeyId = keyId;
    to.hasAuthorityKey = true;
    to.authorityNamesIssuer = namesIssuer;
  },
  // The address of an OCSP responder, which is not used here (RFC 5280 §4.2.2.1).
  "1.3.6.1.5.5.7.1.1": (_, value, critical) => {
    if (critical) value.fail("authorityInfoAccess must not be critical");
    readInfoAccess(value);
  },
  "2.5.29.37": (to, value) => {
    const list = value.enter(tags.sequence, "extKeyUsage");
    const usages: string[] = [];
    while (!list.done) usages.push(list.oid("extKeyUsage"));
    if (usages.length === 0) list.fail("extKeyUsage is empty");
    to.extendedKeyUsage = usages;
  },
};

function readBasicConstraints(cursor: Cursor): { ca: boolean; pathLength: number | undefined } {
  const fields = cursor.enter(tags.sequence, "basicConstraints");
  const ca = fields.peek() === tags.boolean && fields.boolean("cA");
  if (fields.tag === tags.boolean && !ca) fields.fail("a default (cA FALSE) is written out");
  const pathLength = fields.done ? undefined : fields.small("pathLenConstraint");
  fields.finish("basicConstraints");
  return { ca, pathLength };
}

/**
 * Reads a KeyUsage. Strict DER would have no trailing zero bits in it (X.690 §11.2.2); the existing network's tool
 * writes them, so they are let through: they change nothing.
 */
function readKeyUsage(cursor: Cursor): readonly string[] {
  cursor.read(tags.bitString, "keyUsage");
  const { content } = cursor;
  const unused = content[0] ?? 8;
  if (content.length < 2 || content.length > 3 || unused > 7) return cursor.fail("keyUsage is not a short bit string");
  if ((content.at(-1)! & ((1 << unused) - 1)) !== 0) return cursor.fail("keyUsage has bits set that are unused");
  const usages = keyUsages.filter((_, bit) => ((content[1 + (bit >> 3)] ?? 0) & (0x80 >> (bit & 7))) !== 0);
  if (usages.length === 0) return cursor.fail("keyUsage allows nothing");
  return usages;
}

function readPolicies(cursor: Cursor): void {
  const policies = cursor.enter(tags.sequence, "certificatePolicies");
  const seen = new Set<string>();
  if (policies.done) policies.fail("certificatePolicies are empty");
  while (!policies.done) {
    const policy = policies.enter(tags.sequence, "policy");
    const oid = policy.oid("policy");
    if (seen.has(oid)) policy.fail(`policy ${oid} stands there twice`);
    seen.add(oid);
    if (!policy.done) policy.read(tags.sequence, "policy qualifiers");
    policy.finish("policy");
  }
}

function readInfoAccess(cursor: Cursor): void {
  const accesses = cursor.enter(tags.sequence, "authorityInfoAccess");
  if (accesses.done) accesses.fail("authorityInfoAccess is empty");
  while (!accesses.done) {
    const access = accesses.enter(tags.sequence, "access description");
    access.oid("access method");
    readOneName(access);
    access.finish("access description");
  }
}
