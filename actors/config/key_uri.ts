/**
 * URIs of keys in PKCS#11 tokens, as values of a configuration.
 *
 * @module
 */
import { Result } from "effect";
import { parsePkcs11Uri } from "../../pki/issue/pkcs11_uri.ts";

/** Undefined for the URI of a key; what is wrong with it otherwise. */
export function readKeyUri(text: string): undefined | string {
  const uri = parsePkcs11Uri(text);
  return Result.isSuccess(uri) ? undefined : uri.failure.detail;
}
