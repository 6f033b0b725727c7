/**
 * The bytes that a CA signs for a node, as approvers see them: what they hold beyond what is shown is refused.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import * as Result from "effect/Result";
import { sameBytes } from "../bytes.ts";
import type { Certificate } from "../certificate.ts";
import { encodeTbs } from "../issue/certificate_template.ts";
import { nodeExtensions } from "../issue/issue_node.ts";
import { issuable } from "../issue/sign_csr.ts";
import { parseTbs } from "./parse_tbs.ts";

/**
 * Reads the to-be-signed bytes of a node's certificate: what `composeCsrTbs` would write for the same fields, byte for byte. The
 * result has no signature.
 *
 * @returns The certificate; or what is wrong, as a text.
 */
export function readLeafTbs(tbs: Uint8Array): Certificate | string {
  const parsed = parseTbs(tbs);
  if (typeof parsed === "string") return parsed;
  const { certificate, algorithm } = parsed;
  // Encoding throws for names and periods that no certificate is issued with.
  const usual = Result.getOrUndefined(Result.try(() => encodedAgain(certificate, algorithm)));
  return usual !== undefined && sameBytes(usual, tbs)
    ? certificate
    : "its certificate holds more than subject, names, key and period of a node";
}

function encodedAgain(certificate: Certificate, algorithm: Uint8Array): Uint8Array {
  const { authorityKeyId, issuer, period, publicKey, serial, subject, subjectAltNames } = certificate;
  const names = subjectAltNames.map(issuable);
  const keyId = Buffer.from(authorityKeyId ?? "", "hex");
  const template = {
    serial: Buffer.from(serial, "hex"),
    issuer: issuer.der,
    subject: subject.der,
    period,
    spki: publicKey.spki,
    extensions: nodeExtensions(publicKey.raw, names, { keyId }),
  };
  return encodeTbs(template, algorithm);
}

/** The role in the one SPIFFE ID of a certificate; undefined where it has none, or several URIs. */
export function roleIn({ subjectAltNames }: Pick<Certificate, "subjectAltNames">): string | undefined {
  const uris = subjectAltNames.filter(({ type }) => type === "uri");
  return uris.length === 1 ? /^spiffe:\/\/[^/]+\/([^/]+)\/[^/]+$/.exec(uris[0]!.value)?.[1] : undefined;
}
