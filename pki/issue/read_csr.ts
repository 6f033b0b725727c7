/**
 * Reads a certificate signing request and checks that its maker holds the key.
 *
 * @module
 */
import { Result } from "effect";
import { readSignatureAlgorithm } from "../certificate.ts";
import type { Certificate, DistinguishedName, SubjectAltName } from "../certificate.ts";
import type { Proof } from "../checks/proof.ts";
import { decodeDer, type DerCursor, tags } from "../der.ts";
import { readName } from "../distinguished_name.ts";
import { readExtensionList } from "../extensions.ts";
import { readGeneralNames } from "../general_name.ts";
import { parsePem } from "../pem.ts";
import { readPublicKey } from "../public_key.ts";
import { verifySignature } from "../signature.ts";
import { extensionOids } from "./extensions.ts";
import { sanEntriesMax } from "./general_name.ts";
import { extensionRequestOid } from "./issue_csr.ts";
import { IssueError } from "./issue_error.ts";

/** Largest request that is read, in octets. */
export const csrBytesMax = 65_536;
/** Attributes of one request. Those in use have two or three. */
export const csrAttributesMax = 64;

/** What a request asks for, and proof that its maker has the key. Only {@linkcode readCsrDer} makes one. */
export interface Csr extends Proof<"Csr"> {
  /** The whole request. */
  readonly der: Uint8Array;
  /** The subject as the node wrote it; may be empty. */
  readonly subject: DistinguishedName;
  /** The key to certify. */
  readonly publicKey: Certificate["publicKey"];
  /** Alternative names that it asks for. */
  readonly names: readonly SubjectAltName[];
  /** What else it asks for: extensions and attributes, by name where they have one here, else by OID. */
  readonly others: readonly string[];
}

/**
 * Reads a request. Its self-signature proves possession of the key; everything else in it is a wish, which the CA
 * decides on.
 *
 * @param csrPem PEM labelled `CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`.
 * @throws {IssueError} `csr` when it cannot be read or its signature is wrong.
 */
export function readCsr(csrPem: string): Csr {
  const blocks = parsePem(csrPem);
  if (Result.isFailure(blocks)) throw refused(blocks.failure.message);
  const block = blocks.success.find(({ label }) => /^(NEW )?CERTIFICATE REQUEST$/.test(label));
  if (block === undefined) throw refused("the file holds no certificate request");
  return readCsrDer(block.der);
}

/** Reads a request from its DER; like {@linkcode readCsr}. */
export function readCsrDer(der: Uint8Array): Csr {
  if (der.length > csrBytesMax) throw refused(`the request is larger than ${csrBytesMax} octets`);
  const read = decodeDer(der, readRequest);
  if (Result.isFailure(read)) throw refused(read.failure.message);
  const { signed, ...csr } = read.success;
  if (!verifySignature(signed, csr.publicKey)) throw refused("the request is not signed by the key it is about");
  return { der, ...csr } as unknown as Csr;
}

function refused(detail: string): IssueError {
  return new IssueError({ problem: "csr", detail });
}

function readRequest(cursor: DerCursor) {
  const request = cursor.enter(tags.sequence, "request");
  const info = request.enter(tags.sequence, "request's content");
  const data = request.whole;
  if (info.small("version") !== 0) info.fail("the version is not 1");
  const subject = readName(info, "subject");
  const publicKey = readPublicKey(info);
  const wishes = readAttributes(info.enter(0xa0, "attributes"));
  info.finish("the request's content");
  const algorithm = readSignatureAlgorithm(request);
  const signature = request.octetBits("signature");
  request.finish("the request");
  return { signed: { data, algorithm, signature }, subject, publicKey, ...wishes };
}

/** Names of attributes, and of extensions, that requests carry. */
const otherNames: Readonly<Record<string, string>> = {
  "1.2.840.113549.1.9.2": "unstructuredName",
  "1.2.840.113549.1.9.7": "challengePassword",
  ...Object.fromEntries(Object.entries(extensionOids).map(([name, oid]) => [oid, name])),
};

/** The extension request's names; its other extensions and all other attributes by what they are called. */
function readAttributes(list: DerCursor): Pick<Csr, "names" | "others"> {
  const names: SubjectAltName[] = [];
  const others: string[] = [];
  for (let count = 1; !list.done; count++) {
    if (count > csrAttributesMax) list.fail(`more than ${csrAttributesMax} attributes`);
    const attribute = list.enter(tags.sequence, "attribute");
    const type = attribute.oid("attribute type");
    const values = attribute.enter(tags.set, "attribute values");
    if (type !== extensionRequestOid) {
      others.push(otherNames[type] ?? type);
      continue;
    }
    for (const extension of readExtensionList(values)) {
      if (extension.oid === extensionOids.subjectAltName) names.push(...readGeneralNames(extension.value));
      else others.push(otherNames[extension.oid] ?? extension.oid);
    }
  }
  if (names.length > sanEntriesMax) list.fail(`more than ${sanEntriesMax} names`);
  return { names, others };
}
