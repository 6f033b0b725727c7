/**
 * Bodies of EST requests and answers (RFC 7030, RFC 8951).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { constructed, derValue, integer, oid, sequence } from "../../pki/issue/der_writer.ts";
import { CaRefused } from "./ca_refused.ts";

/** Octets of a request's body: a signing request with a hundred names, in base64, has 10 kB. */
export const bodyBytesMax = 65_536;

/** DER of a signing request from the body that carries it in base64, on one line or on several. */
export function readCsrBody(body: Uint8Array): Result.Result<Uint8Array, CaRefused> {
  const refuse = (detail: string) => Result.fail(new CaRefused({ code: "csr-malformed", detail }));
  const text = Buffer.from(body).toString("latin1").replace(/[ \t\r\n]/g, "");
  if (text === "") return refuse("the body is empty");
  const der = Buffer.from(text, "base64");
  return der.toString("base64") === text ? Result.succeed(Uint8Array.from(der)) : refuse("the body is not base64");
}

const signedData = "1.2.840.113549.1.7.2";
const plainData = "1.2.840.113549.1.7.1";

/**
 * Certificates without a signature around them: a certs-only PKCS#7 (RFC 5652 §5.1) in base64. On one line: strongSwan refuses line
 * breaks.
 */
export function certsOnly(certificates: readonly Uint8Array[]): string {
  const emptySet = derValue(0x31, []);
  const content = sequence(integer(1), emptySet, sequence(oid(plainData)), constructed(0, ...certificates), emptySet);
  return Buffer.from(sequence(oid(signedData), constructed(0, content))).toString("base64");
}
