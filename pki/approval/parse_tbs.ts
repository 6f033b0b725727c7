/**
 * Reads the to-be-signed bytes of a certificate.
 *
 * @module
 */
import * as Result from "effect/Result";
import { type Certificate, parseCertificate } from "../certificate.ts";
import { decodeDer, tags } from "../der.ts";
import { signedCertificate } from "../issue/certificate_template.ts";

/** What to-be-signed bytes hold. */
export interface ParsedTbs {
  /** Without a signature. */
  readonly certificate: Certificate;
  /** The AlgorithmIdentifier in them, DER. */
  readonly algorithm: Uint8Array;
}

/** Reads a `tbsCertificate`; what is wrong, as a text, where it is malformed. */
export function parseTbs(tbs: Uint8Array): ParsedTbs | string {
  const algorithm = signatureAlgorithmIn(tbs);
  if (algorithm === undefined) return "its certificate is malformed";
  const parsed = parseCertificate(signedCertificate(tbs, algorithm, new Uint8Array(64)));
  return Result.isFailure(parsed)
    ? `its certificate is malformed: ${parsed.failure.detail}`
    : { certificate: parsed.success, algorithm };
}

/** The AlgorithmIdentifier in a `tbsCertificate`, DER; undefined where it is malformed. */
export function signatureAlgorithmIn(tbs: Uint8Array): Uint8Array | undefined {
  const read = decodeDer(tbs, (cursor) => {
    const fields = cursor.enter(tags.sequence, "tbsCertificate");
    fields.readAny("version");
    fields.readAny("serial number");
    fields.read(tags.sequence, "signature algorithm");
    return fields.whole;
  });
  return Result.getOrUndefined(read);
}
