/**
 * Beginning a CA's record of revocations, when the CA is made.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { parseCertificate } from "../../pki/certificate.ts";
import { keyIdOf } from "../../pki/issue/extensions.ts";
import { toHex } from "../../pki/bytes.ts";
import { CertutilError } from "./certutil_error.ts";
import { readTextIfThere } from "./input_file.ts";
import type { Output } from "./replacement.ts";
import { formatRecord, parseRecord, revocationRecordOf } from "./revocation_record.ts";

/**
 * The empty record of a new CA: its first revocation list continues it, and where the record is missing later, the loss
 * shows. A record that another CA has left there is replaced when it is empty too, and refused otherwise.
 *
 * @param der The new CA's certificate.
 * @param outCert Path of the certificate. The record is written next to it.
 */
export function beginRecord(der: Uint8Array, outCert: string): Effect.Effect<Output, CertutilError, FileSystem> {
  const path = revocationRecordOf({ caCert: outCert });
  return Effect.gen(function* () {
    const before = yield* readTextIfThere(path, { what: "revocation record", flag: "--out-cert" });
    const old = before === undefined ? undefined : yield* Effect.fromResult(parseRecord(before, path));
    if (old !== undefined && (old.number > 0n || old.revocations.length > 0)) {
      const detail = `it is another CA's, with ${old.revocations.length} revocations up to list ${old.number}`;
      const remedy = `Move it away first, with that CA's other files: mv ${path} ${path}.old`;
      return yield* new CertutilError({ what: "begin revocation record", file: path, detail, remedy });
    }
    const { subject, subjectKeyId, publicKey } = Result.getOrThrow(parseCertificate(der));
    const authority = subjectKeyId ?? toHex(keyIdOf(publicKey.raw));
    const content = formatRecord({ authority, number: 0n, base: undefined, revocations: [] }, subject.text);
    return { path, kind: "record", content, existing: "replace" };
  });
}
