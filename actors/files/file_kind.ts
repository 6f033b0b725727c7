/**
 * What a file holds, by its form: PEM by its labels, DER by its structure, records and bundles by their text.
 *
 * @module
 */
import { Result } from "effect";
import { parseCertificate } from "../../pki/certificate.ts";
import { decodeDer, DerCursor, tags } from "../../pki/der.ts";
import { formatPem, parsePem } from "../../pki/pem.ts";

/** What the files of `hypha-certutil` hold. */
export type FileKind =
  | "empty"
  | "certificate"
  | "ca-certificate"
  | "private-key"
  | "public-key"
  | "encrypted-key"
  | "revocation-list"
  | "signing-request"
  | "spiffe-bundle"
  | "record"
  | "approval-policy"
  | "approval"
  | "unknown";

/** Each kind as a message names it. */
export const kindNames: Readonly<Record<FileKind, string>> = {
  "empty": "nothing",
  "certificate": "a node's certificate",
  "ca-certificate": "a CA's certificate",
  "private-key": "a private key",
  "public-key": "a public key",
  "encrypted-key": "an encrypted private key",
  "revocation-list": "a revocation list",
  "signing-request": "a signing request",
  "spiffe-bundle": "a SPIFFE bundle",
  "record": "a CA's record",
  "approval-policy": "an approval policy",
  "approval": "a request for approval, or an approval",
  "unknown": "something else",
};

/** Kinds of PEM blocks, as a message names them. */
export type BlockKind = "certificate" | "private key" | "revocation list" | "signing request";

/** The labels of each kind: those of RFC 7468, and those that older tools write. */
const labelsOfKind: Readonly<Record<BlockKind, RegExp>> = {
  "certificate": /^CERTIFICATE$/,
  "private key": /PRIVATE KEY$/,
  "revocation list": /^(X509 )?CRL$/,
  "signing request": /^(NEW )?CERTIFICATE REQUEST$/,
};

/** The labels of a text's PEM blocks in their order, of torn blocks too. */
function* labelsIn(text: string): Generator<string> {
  for (const [, label] of text.matchAll(/^-----BEGIN ([A-Z0-9 -]+)-----/gm)) yield label!;
}

const isLabelOf = (kind: BlockKind, label: string) => labelsOfKind[kind].test(label);

/** Whether a text holds a PEM block of this kind. */
export function holdsBlock(text: string, kind: BlockKind): boolean {
  for (const label of labelsIn(text)) if (isLabelOf(kind, label)) return true;
  return false;
}

/** What the file holds. A private key anywhere in it makes it one: a key must not get lost. */
export function kindOf(bytes: Uint8Array): FileKind {
  const text = pemOf(bytes);
  if (text.trim() === "") return "empty";
  const labels = [...labelsIn(text)];
  const key = labels.find((label) => isLabelOf("private key", label));
  if (key !== undefined) return isEncrypted(key, text) ? "encrypted-key" : "private-key";
  const [first] = labels;
  if (first === undefined) {
    if (/^# (Issued by|Revocations of) |^authority\t/m.test(text)) return "record";
    const approval = /"type":"hypha-approval(-policy|-request)?\/1"\}\s*$/.exec(text);
    if (approval !== null) return approval[1] === "-policy" ? "approval-policy" : "approval";
    return /^\s*\{[\s\S]*"keys"\s*:/.test(text) ? "spiffe-bundle" : "unknown";
  }
  if (first === "PUBLIC KEY") return "public-key";
  if (isLabelOf("certificate", first)) return isCa(text) ? "ca-certificate" : "certificate";
  if (isLabelOf("revocation list", first)) return "revocation-list";
  return isLabelOf("signing request", first) ? "signing-request" : "unknown";
}

/** PKCS#8 has it in its label, the traditional format in a header. */
function isEncrypted(label: string, text: string): boolean {
  return label.startsWith("ENCRYPTED") || /^Proc-Type: 4,ENCRYPTED/m.test(text);
}

function isCa(text: string): boolean {
  const [block] = Result.getOrElse(parsePem(text), () => []);
  const first = block === undefined ? undefined : Result.getOrUndefined(parseCertificate(block.der));
  return first?.basicConstraints?.ca === true;
}

/**
 * The file as PEM: values in DER, one behind the other, become blocks with the labels of their structure. Everything
 * else is taken for text.
 */
export function pemOf(bytes: Uint8Array): string {
  const text = () => new TextDecoder().decode(bytes);
  if (bytes[0] !== tags.sequence) return text();
  const values = decodeDer(bytes, (cursor) => {
    const found: Uint8Array[] = [];
    while (!cursor.done) {
      cursor.read(tags.sequence, "value");
      found.push(cursor.whole);
    }
    return found;
  });
  if (Result.isFailure(values)) return text();
  const labelled = values.success.map((der) => [labelOfDer(der), der] as const);
  if (labelled.some(([label]) => label === undefined)) return text();
  return labelled.map(([label, der]) => formatPem(label!, der)).join("");
}

/** Tags of the outer value's parts, and of the parts of the first of them, at most this many each. */
const partsMax = 8;

const { integer, sequence, octetString, bitString, utcTime, generalizedTime } = tags;

/** The PEM label of a value in DER; undefined where its structure is none of those that are read here. */
export function labelOfDer(der: Uint8Array): string | undefined {
  const outer = partsOf(der);
  const begins = (parts: readonly number[], ...wanted: readonly number[]) =>
    wanted.every((tag, index) => parts[index] === tag);
  if (begins(outer, integer, sequence, octetString)) return "PRIVATE KEY";
  if (begins(outer, integer, octetString)) return "EC PRIVATE KEY";
  if (begins(outer, integer, integer, integer, integer, integer, integer)) return "RSA PRIVATE KEY";
  if (begins(outer, sequence, octetString)) return "ENCRYPTED PRIVATE KEY";
  if (!begins(outer, sequence, sequence, bitString)) return undefined;
  const inner = partsOf(firstOf(der));
  if (begins(inner, 0xa0, integer)) return "CERTIFICATE";
  if (begins(inner, integer, sequence, sequence, 0xa0)) return "CERTIFICATE REQUEST";
  if (begins(inner, integer, sequence, sequence, sequence)) return "CERTIFICATE";
  const times: readonly (number | undefined)[] = [utcTime, generalizedTime];
  if (begins(inner, integer, sequence, sequence) && times.includes(inner[3])) return "X509 CRL";
  if (begins(inner, sequence, sequence) && times.includes(inner[2])) return "X509 CRL";
  return undefined;
}

function partsOf(der: Uint8Array): readonly number[] {
  const parts: number[] = [];
  decodeDer(der, (cursor) => {
    const inside = cursor.enter(sequence, "value");
    while (!inside.done && parts.length < partsMax) {
      inside.readAny("part");
      parts.push(inside.tag);
    }
  });
  return parts;
}

/** The first part of a value that {@linkcode partsOf} has walked. */
function firstOf(der: Uint8Array): Uint8Array {
  const inside = new DerCursor(der, 0, der.length, 0).enter(sequence, "value");
  inside.readAny("first part");
  return inside.whole;
}
