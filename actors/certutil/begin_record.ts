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
import { shellWord } from "../files/shell_word.ts";

/**
 * The empty record of a new CA: its first revocation list continues it, and where the record is missing later, the loss
 * shows. The CA's own record stays as it is when its certificate is renewed. A record that another CA has left there is
 * replaced when it is empty too, and refused otherwise.
 *
 * For a key that was there before, no record is begun: it may have revoked under a certificate in another file, and an
 * empty record would hide that.
 *
 * @param der The CA's certificate.
 * @param outCert Path of the certificate. The record is written next to it.
 * @returns None or one.
 */
export function beginRecord(
  der: Uint8Array,
  outCert: string,
  key: "new" | "existing",
): Effect.Effect<readonly Output[], CertutilError, FileSystem> {
  const path = revocationRecordOf({ caCert: outCert });
  return Effect.gen(function* () {
    const { subject, subjectKeyId, publicKey } = Result.getOrThrow(parseCertificate(der));
    const authority = subjectKeyId ?? toHex(keyIdOf(publicKey.raw));
    const before = yield* readTextIfThere(path, { what: "revocation record", flag: "--out-cert" });
    const old = before === undefined ? undefined : yield* Effect.fromResult(parseRecord(before, path));
    if (old?.authority === authority) return [];
    if (old !== undefined && (key === "existing" || old.number > 0n || old.revocations.length > 0)) {
      const detail = `it is another CA's, with ${old.revocations.length} revocations up to list ${old.number}`;
      const move = `mv ${shellWord(path)} ${shellWord(`${path}.old`)}`;
      const remedy = `Move it away first, with that CA's other files: ${move}`;
      return yield* new CertutilError({ what: "begin revocation record", file: path, detail, remedy });
    }
    if (key === "existing") return [];
    const content = formatRecord({ authority, number: 0n, base: undefined, revocations: [] }, subject.text);
    return [{ path, kind: "record", content, existing: "replace" }];
  });
}
