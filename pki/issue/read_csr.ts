/**
 * Reads a certificate signing request and checks that whoever made it holds the key.
 *
 * @module
 */
import { Result } from "effect";
import { readSignatureAlgorithm } from "../certificate.ts";
import type { Certificate, DistinguishedName, SubjectAltName } from "../certificate.ts";
import { decodeDer, type DerCursor, tags } from "../der.ts";
import { readName } from "../distinguished_name.ts";
import { readExtensionList } from "../extensions.ts";
import { readGeneralNames } from "../general_name.ts";
import { parsePem } from "../pem.ts";
import { readPublicKey } from "../public_key.ts";
import { verifySignature } from "../signature.ts";
import { extensionOids } from "./extensions.ts";
import { type GeneralName, parseGeneralName, sanEntriesMax } from "./general_name.ts";
import { extensionRequestOid } from "./issue_csr.ts";
import { IssueError } from "./issue_error.ts";

/** Largest request that is read, in octets. */
export const csrBytesMax = 65_536;

/** What a request asks for; its signature has been checked. */
export interface Csr {
  /** The whole request. */
  readonly der: Uint8Array;
  /** The subject as the node wrote it. */
  readonly subject: DistinguishedName;
  /** The key to certify. */
  readonly publicKey: Certificate["publicKey"];
  /** Alternative names asked for; undefined when the request names none. */
  readonly names: readonly GeneralName[] | undefined;
}

/**
 * Reads a request. Its self-signature proves possession of the key; whether the names asked for may be had is the
 * CA's decision.
 *
 * @param csrPem PEM labelled `CERTIFICATE REQUEST` or `NEW CERTIFICATE REQUEST`.
 * @throws {IssueError} `csr` when it cannot be read or its signature is wrong; `san` when it asks for a name that cannot
 * be issued.
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
  const { signed, subject, publicKey, names } = read.success;
  if (!verifySignature(signed, publicKey)) throw refused("the request is not signed by the key it is about");
  if (subject.text === "") throw refused("the request has no subject");
  return { der, subject, publicKey, names: names?.map(issuable) };
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
  const names = readAttributes(info.enter(0xa0, "attributes"));
  info.finish("the request's content");
  const algorithm = readSignatureAlgorithm(request);
  const signature = request.octetBits("signature");
  request.finish("the request");
  return { signed: { data, algorithm, signature }, subject, publicKey, names };
}

/** The names of the extension request; other attributes and extensions are passed over. */
function readAttributes(list: DerCursor): readonly SubjectAltName[] | undefined {
  let names: readonly SubjectAltName[] | undefined;
  while (!list.done) {
    const attribute = list.enter(tags.sequence, "attribute");
    const type = attribute.oid("attribute type");
    const values = attribute.enter(tags.set, "attribute values");
    if (type !== extensionRequestOid) continue;
    for (const extension of readExtensionList(values)) {
      if (extension.oid === extensionOids.subjectAltName) names = readGeneralNames(extension.value);
    }
  }
  if (names !== undefined && names.length > sanEntriesMax) list.fail(`more than ${sanEntriesMax} names`);
  return names;
}

/** Insists on the kinds and forms of names that are issued here. */
function issuable({ type, value }: SubjectAltName): GeneralName {
  if (type === "directory" || type === "other") throw refused(`it asks for a name of a kind not issued here: ${value}`);
  return parseGeneralName(`${type}:${value}`);
}
