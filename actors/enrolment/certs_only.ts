/**
 * The certificates in an EST answer: a certs-only PKCS#7 (RFC 5652 §5.1, RFC 7030 §4.1.3) in base64.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Result } from "effect";
import { type Certificate, parseCertificate } from "../../pki/certificate.ts";
import { decodeDer, tags } from "../../pki/der.ts";
import { type EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";

/** Certificates in one answer: anchors, intermediates, and those of a change of roots. */
export const answerCertificatesMax = 32;

/** The parts of an answer that are certificates; parts that this node cannot read are left out. */
export function readCertsOnly(body: Uint8Array): Result.Result<readonly Certificate[], EnrolmentRefused> {
  const refuse = (detail: string) => Result.fail(enrolmentRefused("answer-malformed", detail));
  const text = Buffer.from(body).toString("latin1").replace(/[ \t\r\n]/g, "");
  const der = Buffer.from(text, "base64");
  if (text === "" || der.toString("base64") !== text) return refuse("the CA's answer is not base64");
  const read = decodeDer(Uint8Array.from(der), (cursor) => {
    const outer = cursor.enter(tags.sequence, "content info");
    outer.oid("content type");
    const data = outer.enter(0xa0, "content").enter(tags.sequence, "signed data");
    data.small("version");
    data.read(tags.set, "digests");
    data.read(tags.sequence, "content");
    const list = data.enter(0xa0, "certificates");
    const found: Uint8Array[] = [];
    while (!list.done) {
      if (found.length >= answerCertificatesMax) list.fail(`more than ${answerCertificatesMax} certificates`);
      list.read(tags.sequence, "certificate");
      found.push(list.whole);
    }
    return found;
  });
  if (Result.isFailure(read)) return refuse(`the CA's answer is no certs-only PKCS#7: ${read.failure.message}`);
  return Result.succeed(read.success.flatMap((each) => {
    const parsed = parseCertificate(Uint8Array.from(each));
    return Result.isSuccess(parsed) ? [parsed.success] : [];
  }));
}
