/**
 * The signing request of enrolment and renewal: a key, and no wish. Subject and names come from the token or from the former
 * certificate.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Effect } from "effect";
import { bitString, constructed, integer, sequence } from "../../pki/issue/der_writer.ts";
import { makeSigningKey, readSigningKey, type SigningKey } from "../../pki/issue/signing_key.ts";
import { type EnrolmentRefused, enrolmentRefused } from "./enrolment_refused.ts";

/** A request, base64 on one line, and the public key that it is about. */
export interface KeyRequest {
  readonly body: string;
  /** DER of the SubjectPublicKeyInfo. */
  readonly spki: Uint8Array;
}

/** Makes a key: PKCS#8, PEM. */
export const makeKey: Effect.Effect<string, EnrolmentRefused> = Effect.tryPromise({
  try: async () => (await makeSigningKey()).keyPem,
  catch: unusable,
});

/** Makes a request (PKCS#10, RFC 2986) with an empty subject and no attributes, signed by its key. */
export function makeCsr(keyPem: string): Effect.Effect<KeyRequest, EnrolmentRefused> {
  return Effect.tryPromise({
    try: async () => {
      const key = readSigningKey(keyPem);
      return { body: Buffer.from(await requestOf(key)).toString("base64"), spki: key.spki };
    },
    catch: unusable,
  });
}

async function requestOf(key: SigningKey): Promise<Uint8Array> {
  const info = sequence(integer(0), sequence(), key.spki, constructed(0));
  return sequence(info, key.signatureAlgorithm, bitString(await key.sign(info)));
}

function unusable(error: unknown): EnrolmentRefused {
  return enrolmentRefused("key-unreadable", error instanceof Error ? error.message : String(error));
}
