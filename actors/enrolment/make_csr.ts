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

/** The keys of requests: {@linkcode ownKeys}, or drawn ones. */
export interface RequestKeys {
  /** Makes a key: PKCS#8, PEM. */
  readonly make: Effect.Effect<string, EnrolmentRefused>;
  /** Makes a request (PKCS#10, RFC 2986) with an empty subject and no attributes, signed by its key. */
  readonly request: (keyPem: string) => Effect.Effect<KeyRequest, EnrolmentRefused>;
}

const makeKey: RequestKeys["make"] = Effect.tryPromise({
  try: async () => (await makeSigningKey()).keyPem,
  catch: unusable,
});

const request: RequestKeys["request"] = (keyPem) =>
  Effect.tryPromise({
    try: async () => {
      const key = readSigningKey(keyPem);
      const info = requestInfo(key);
      return requestOf(key, info, await key.sign(info));
    },
    catch: unusable,
  });

/** Keys of this process's own randomness. */
export const ownKeys: RequestKeys = { make: makeKey, request };

/** DER of a request's signed part. */
export const requestInfo = ({ spki }: Pick<SigningKey, "spki">): Uint8Array =>
  sequence(integer(0), sequence(), spki, constructed(0));

/** A request, of its parts. */
export function requestOf(
  { spki, signatureAlgorithm }: Pick<SigningKey, "spki" | "signatureAlgorithm">,
  info: Uint8Array,
  signature: Uint8Array,
): KeyRequest {
  const der = sequence(info, signatureAlgorithm, bitString(signature));
  return { body: Buffer.from(der).toString("base64"), spki };
}

function unusable(error: unknown): EnrolmentRefused {
  return enrolmentRefused("key-unreadable", error instanceof Error ? error.message : String(error));
}
