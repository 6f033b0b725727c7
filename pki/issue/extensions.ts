/**
 * Extensions of issued certificates and lists (RFC 5280 §4.2), encoded.
 *
 * @module
 */
import { createHash } from "node:crypto";
import {
  constructed,
  derTrue,
  derValue,
  integer,
  namedBits,
  octetString,
  oid,
  primitive,
  sequence,
} from "./der_writer.ts";
import { encodeGeneralName, type GeneralName } from "./general_name.ts";

/** One extension; `value` is the DER inside its octet string. */
export interface Extension {
  /** Dotted. */
  readonly oid: string;
  /** Whether a reader that does not know it must refuse. */
  readonly critical: boolean;
  /** DER. */
  readonly value: Uint8Array;
}

/** Extensions by name, for leaving one out or putting another in its place. */
export const extensionOids = {
  subjectKeyId: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  crlNumber: "2.5.29.20",
  reasonCode: "2.5.29.21",
  deltaCrlIndicator: "2.5.29.27",
  nameConstraints: "2.5.29.30",
  authorityKeyId: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  freshestCrl: "2.5.29.46",
} as const;

/** One bit of a key usage (RFC 5280 §4.2.1.3). */
export type KeyUsageName =
  | "digitalSignature"
  | "nonRepudiation"
  | "keyEncipherment"
  | "dataEncipherment"
  | "keyAgreement"
  | "keyCertSign"
  | "cRLSign"
  | "encipherOnly"
  | "decipherOnly";

/** All, in the order of their bits. */
const keyUsageNames: readonly KeyUsageName[] = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
];

/** `serverAuth` and `clientAuth`: every node is both. */
export const nodePurposes: readonly string[] = ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"];

/** DER of the whole list, ready for a certificate's `[3]`, a list's `[0]` or a request's attribute. */
export function encodeExtensions(extensions: readonly Extension[]): Uint8Array {
  return sequence(
    ...extensions.map((extension) =>
      sequence(oid(extension.oid), ...(extension.critical ? [derTrue] : []), octetString(extension.value))
    ),
  );
}

/** Basic constraints, critical. A path length belongs to CAs only. */
export function basicConstraints(ca: boolean, pathLength?: number): Extension {
  const parts = ca ? [derTrue, ...(pathLength === undefined ? [] : [integer(pathLength)])] : [];
  return { oid: extensionOids.basicConstraints, critical: true, value: sequence(...parts) };
}

/** Key usage, critical. */
export function keyUsage(names: readonly KeyUsageName[]): Extension {
  const bits = names.map((name) => keyUsageNames.indexOf(name));
  return { oid: extensionOids.keyUsage, critical: true, value: namedBits(bits) };
}

/** Extended key usage, not critical, from OIDs. */
export function extendedKeyUsage(purposes: readonly string[]): Extension {
  return { oid: extensionOids.extendedKeyUsage, critical: false, value: sequence(...purposes.map(oid)) };
}

/** Subject alternative names, not critical. */
export function subjectAltName(names: readonly GeneralName[]): Extension {
  return { oid: extensionOids.subjectAltName, critical: false, value: sequence(...names.map(encodeGeneralName)) };
}

/** Subject key identifier. */
export function subjectKeyId(id: Uint8Array): Extension {
  return { oid: extensionOids.subjectKeyId, critical: false, value: octetString(id) };
}

/** Authority key identifier, the key id alone. */
export function authorityKeyId(id: Uint8Array): Extension {
  return { oid: extensionOids.authorityKeyId, critical: false, value: sequence(primitive(0, id)) };
}

/** A revocation list's number (RFC 5280 §5.2.3). */
export function crlNumber(number: bigint): Extension {
  return { oid: extensionOids.crlNumber, critical: false, value: integer(number) };
}

/** What makes a list a delta, critical: the number of its base (RFC 5280 §5.2.4). */
export function deltaIndicator(base: bigint): Extension {
  return { oid: extensionOids.deltaCrlIndicator, critical: true, value: integer(base) };
}

/** Where a list's delta is published: one distribution point with one URL (RFC 5280 §5.2.6). */
export function freshestCrl(url: string): Extension {
  const names = constructed(0, constructed(0, encodeGeneralName({ type: "uri", value: url })));
  return { oid: extensionOids.freshestCrl, critical: false, value: sequence(sequence(names)) };
}

/** One subtree of name constraints: its content octets under the tag of its kind (1 mailbox, 2 DNS, 4 name, 6 URI, 7 IP). */
export interface Subtree {
  /** The kind of name. */
  readonly tag: 1 | 2 | 4 | 6 | 7;
  /** Its content octets. */
  readonly content: Uint8Array;
}

/** Name constraints, critical (RFC 5280 §4.2.1.10). */
export function nameConstraints(permitted: readonly Subtree[], excluded: readonly Subtree[] = []): Extension {
  const trees = (list: readonly Subtree[]) =>
    list.map(({ tag, content }) => sequence(derValue(tag === 4 ? 0xa4 : 0x80 | tag, [content])));
  const parts = [permitted, excluded].flatMap((list, index) =>
    list.length === 0 ? [] : [constructed(index, ...trees(list))]
  );
  return { oid: extensionOids.nameConstraints, critical: true, value: sequence(...parts) };
}

/** Key identifier of a public key: the first 160 bits of its SHA-256 (RFC 7093 §2, method 1). */
export function keyIdOf(publicKeyBits: Uint8Array): Uint8Array {
  return createHash("sha256").update(publicKeyBits).digest().subarray(0, 20);
}
