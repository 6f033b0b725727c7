/**
 * Signing requests that ask for what they may not have.
 *
 * @module
 */
import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { bitString, constructed, integer, oid, sequence, setOfOne } from "../../../pki/issue/der_writer.ts";
import { encodeExtensions, type Extension } from "../../../pki/issue/extensions.ts";
import { extensionRequestOid } from "../../../pki/issue/issue_csr.ts";
import { encodeName } from "../../../pki/issue/name.ts";
import { derNull } from "../../../pki/issue/der_writer.ts";

/** What the request is made of. */
export interface ForgedCsr {
  readonly commonName?: string;
  readonly extensions?: readonly Extension[];
  readonly key?: "ed25519" | "rsa" | "p-256";
  /** Signed by another key than it is about. */
  readonly signedBy?: "another key";
}

const pair = (key: NonNullable<ForgedCsr["key"]>): KeyObject =>
  key === "rsa"
    ? generateKeyPairSync("rsa", { modulusLength: 2_048 }).privateKey
    : key === "p-256"
    ? generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey
    : generateKeyPairSync("ed25519").privateKey;

const algorithms = {
  ed25519: { digest: null, der: sequence(oid("1.3.101.112")) },
  "p-256": { digest: "sha256", der: sequence(oid("1.2.840.10045.4.3.2")) },
  rsa: { digest: "sha256", der: sequence(oid("1.2.840.113549.1.1.11"), derNull) },
} as const;

/** Makes a request, DER (RFC 2986). */
export function forgedCsr({ commonName = "any", extensions = [], key = "ed25519", signedBy }: ForgedCsr): Uint8Array {
  const own = pair(key);
  const { digest, der } = algorithms[key];
  const attributes = extensions.length === 0
    ? []
    : [sequence(oid(extensionRequestOid), setOfOne(encodeExtensions(extensions)))];
  const info = sequence(
    integer(0),
    encodeName({ commonName }),
    createPublicKey(own).export({ type: "spki", format: "der" }),
    constructed(0, ...attributes),
  );
  const signer = signedBy === undefined ? own : pair(key);
  const signature = sign(digest, info, createPrivateKey(signer.export({ type: "pkcs8", format: "pem" })));
  return Uint8Array.from(sequence(info, der, bitString(signature)));
}
