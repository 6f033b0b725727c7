/**
 * The bytes under a grant's signature.
 *
 * @module
 */
import type { Grant } from "./messages.ts";
import { toCbor } from "./schema.ts";
import { unsignedGrantSchema } from "./schemas.ts";

/** A grant before it is signed. */
export type UnsignedGrant = Omit<Grant, "signature">;

/** What a signature of this key is about: never anything else that the key signs (TLS, certificate requests). */
const domain = new TextEncoder().encode("hypha-slice-grant/1\0");

/**
 * What is signed: the domain `hypha-slice-grant/1` and a NUL, then the grant's fields without the signature as one CBOR map of
 * definite length, in the order `dataset, index, peer, job, expires`, integers in their shortest form. One grant has one
 * encoding: what is verified is made again from the fields that were read, never taken from the wire.
 */
export function signedBytesOf({ dataset, index, peer, job, expires }: UnsignedGrant): Uint8Array<ArrayBuffer> {
  const fields = toCbor(unsignedGrantSchema, { dataset, index, peer, job, expires }, "exact");
  const bytes = new Uint8Array(domain.length + fields.length);
  bytes.set(domain);
  bytes.set(fields, domain.length);
  return bytes;
}
