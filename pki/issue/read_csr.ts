/**
 * Reads a certificate signing request and checks that whoever made it holds the key.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPublicKey, verify } from "node:crypto";
import { childrenOf, type Element, elementsOf } from "./der_elements.ts";
import { oid } from "./der_writer.ts";
import { extensionOids } from "./extensions.ts";
import { type GeneralName, parseGeneralName, sanEntriesMax } from "./general_name.ts";
import { extensionRequestOid } from "./issue_csr.ts";
import { IssueError } from "./issue_error.ts";
import { extensionValue } from "./issuer.ts";
import { firstBlock } from "./pem_block.ts";

/** Largest request that is read, in octets. */
export const csrBytesMax = 65_536;

/** What a request asks for; its signature has been checked. */
export interface Csr {
  /** DER of the subject, as the node wrote it. */
  readonly subject: Uint8Array;
  readonly commonName: string | undefined;
  readonly spki: Uint8Array;
  /** Alternative names asked for; undefined when the request names none. */
  readonly names: readonly GeneralName[] | undefined;
}

const digests: ReadonlyMap<string, string | null> = new Map([
  ["1.3.101.112", null],
  ["1.2.840.10045.4.3.2", "sha256"],
  ["1.2.840.10045.4.3.3", "sha384"],
  ["1.2.840.113549.1.1.11", "sha256"],
  ["1.2.840.113549.1.1.12", "sha384"],
  ["1.2.840.113549.1.1.13", "sha512"],
].map(([dotted, digest]) => [Buffer.from(oid(dotted!)).toString("hex"), digest!]));

/**
 * Reads a request. Its self-signature proves possession of the key; whether the names asked for may be had is the
 * CA's decision.
 *
 * @param csrPem PEM labelled `CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`.
 * @throws {IssueError} `csr` when it cannot be read, its signature is wrong, or it asks for a name of unknown kind.
 */
export function readCsr(csrPem: string): Csr {
  const der = firstBlock("CERTIFICATE REQUEST", csrPem) ?? firstBlock("NEW CERTIFICATE REQUEST", csrPem);
  if (der === undefined) throw new IssueError({ problem: "csr", detail: "the file holds no certificate request" });
  if (der.length > csrBytesMax) {
    throw new IssueError({ problem: "csr", detail: `the request is larger than ${csrBytesMax} octets` });
  }
  try {
    return readRequest(der);
  } catch (cause) {
    if (cause instanceof IssueError) throw cause;
    throw new IssueError({ problem: "csr", detail: `the request cannot be read: ${(cause as Error).message}` });
  }
}

function readRequest(der: Uint8Array): Csr {
  const [info, algorithm, signature] = childrenOf(der, 0x30);
  if (info?.tag !== 0x30 || algorithm?.tag !== 0x30 || signature?.tag !== 0x03) {
    throw new RangeError("parts are missing");
  }
  const [version, subject, spki, attributes] = elementsOf(info.content);
  if (version?.tag !== 0x02 || subject?.tag !== 0x30 || spki?.tag !== 0x30) throw new RangeError("fields are missing");
  if (!signatureHolds(info, algorithm, signature, spki)) {
    throw new IssueError({ problem: "csr", detail: "the request is not signed by the key it is about" });
  }
  return {
    subject: subject.whole,
    commonName: commonNameOf(subject),
    spki: spki.whole,
    names: requestedNames(attributes),
  };
}

function signatureHolds(info: Element, algorithm: Element, signature: Element, spki: Element): boolean {
  const digest = digests.get(Buffer.from(elementsOf(algorithm.content)[0]?.whole ?? []).toString("hex"));
  if (digest === undefined) throw new RangeError("its signature algorithm is not supported");
  const key = createPublicKey({ key: Buffer.from(spki.whole), format: "der", type: "spki" });
  return verify(digest, info.whole, key, signature.content.subarray(1));
}

function commonNameOf(subject: Element): string | undefined {
  const wanted = oid("2.5.4.3");
  for (const set of elementsOf(subject.content)) {
    for (const attribute of elementsOf(set.content)) {
      const [type, value] = elementsOf(attribute.content);
      if (type !== undefined && value !== undefined && Buffer.compare(type.whole, wanted) === 0) {
        return Buffer.from(value.content).toString("utf8");
      }
    }
  }
  return undefined;
}

function requestedNames(attributes: Element | undefined): readonly GeneralName[] | undefined {
  const wanted = oid(extensionRequestOid);
  for (const attribute of attributes === undefined ? [] : elementsOf(attributes.content)) {
    const [type, values] = elementsOf(attribute.content);
    if (type === undefined || values === undefined || Buffer.compare(type.whole, wanted) !== 0) continue;
    const list = elementsOf(values.content)[0];
    const names = list && extensionValue(elementsOf(list.content), extensionOids.subjectAltName);
    if (names !== undefined) return readNames(childrenOf(names, 0x30));
  }
  return undefined;
}

function readNames(elements: readonly Element[]): readonly GeneralName[] {
  if (elements.length > sanEntriesMax) throw new RangeError(`it asks for more than ${sanEntriesMax} names`);
  return elements.map(({ tag, content }) => {
    const text = Buffer.from(content).toString("latin1");
    if (tag === 0x81) return parseGeneralName(`email:${text}`);
    if (tag === 0x82) return parseGeneralName(`DNS:${text}`);
    if (tag === 0x86) return parseGeneralName(`URI:${text}`);
    if (tag === 0x87) return parseGeneralName(`IP:${addressText(content)}`);
    throw new RangeError("it asks for a name that is no DNS name, address, URI or mailbox");
  });
}

function addressText(octets: Uint8Array): string {
  if (octets.length === 4) return octets.join(".");
  if (octets.length !== 16) throw new RangeError(`it asks for an address of ${octets.length} octets`);
  return Buffer.from(octets).toString("hex").match(/.{4}/g)!.join(":");
}
