/**
 * Our names, extensions and keys as the library wants them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { webcrypto } from "node:crypto";
import type * as library from "@peculiar/x509";
import { sameBytes } from "../bytes.ts";
import type { Extension } from "./extensions.ts";
import { IssueError } from "./issue_error.ts";
import type { SigningKey } from "./signing_key.ts";

/** The library, loaded when it is first wanted. */
export function loadLibrary() {
  return import("./x509_library.ts");
}

type Library = Awaited<ReturnType<typeof loadLibrary>>;

/** Bytes in a buffer of their own, as WebCrypto's types want them. */
export function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes);
}

/**
 * A name from its DER.
 *
 * @throws {IssueError} `issuer-certificate` when the library would write it otherwise than it stands there: a certificate
 * whose issuer is not byte for byte its CA's subject is of no use.
 */
export function libraryName({ Name }: Library, der: Uint8Array): library.Name {
  const name = new Name(owned(der));
  if (sameBytes(new Uint8Array(name.toArrayBuffer()), der)) return name;
  throw new IssueError({ problem: "issuer-certificate", detail: "its subject is not in DER's one form" });
}

/** Extensions, in their order. */
export function libraryExtensions({ Extension }: Library, extensions: readonly Extension[]): library.Extension[] {
  return extensions.map(({ oid, critical, value }) => new Extension(oid, critical, owned(value)));
}

/** The private half of a key for WebCrypto, with the algorithm to sign with. */
export async function librarySigner(key: SigningKey) {
  const { subtle } = webcrypto;
  const signingAlgorithm = key.webAlgorithm;
  const signingKey = await subtle.importKey("pkcs8", owned(key.pkcs8), signingAlgorithm, false, ["sign"]);
  return { signingAlgorithm, signingKey: signingKey as CryptoKey };
}

/** The public half of a key for WebCrypto. */
export async function libraryPublicKey(key: SigningKey): Promise<CryptoKey> {
  return await webcrypto.subtle.importKey("spki", owned(key.spki), key.webAlgorithm, true, ["verify"]) as CryptoKey;
}

/** What the library wrote. */
export function written(raw: ArrayBuffer): Uint8Array {
  return Buffer.from(raw);
}
