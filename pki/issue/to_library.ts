/**
 * Converts our names, extensions and keys for the library.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type * as library from "@peculiar/x509";
import { sameBytes } from "../bytes.ts";
import type { Extension } from "./extensions.ts";
import { IssueError } from "./issue_error.ts";
import type { KeyToCertify } from "./signing_key.ts";

/** The library, loaded at its first use. */
export function loadLibrary() {
  return import("./x509_library.ts");
}

type Library = Awaited<ReturnType<typeof loadLibrary>>;

/** Bytes in a buffer of their own, as WebCrypto's types require. */
export function owned(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(bytes);
}

/**
 * A name from its DER.
 *
 * @throws {IssueError} `issuer-certificate` when the library would write it in another form: a certificate
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

/**
 * A key as the library's generators take one, and the cryptography that they call with it. The key itself stays here: the
 * library is given its algorithm, and hands the bytes to sign to {@linkcode KeyToCertify.sign}.
 */
export function librarySigner(key: KeyToCertify) {
  const { webAlgorithm: algorithm } = key;
  const subtle: Pick<SubtleCrypto, "sign"> & { exportKey(): Promise<ArrayBuffer> } = {
    sign: async (_algorithm, _key, tbs) => owned(await key.sign(octetsOf(tbs), "webcrypto")).buffer,
    exportKey: () => Promise.resolve(owned(key.spki).buffer),
  };
  return { algorithm, key: { algorithm } as CryptoKey, crypto: { subtle } as unknown as Crypto };
}

function octetsOf(source: BufferSource): Uint8Array {
  return source instanceof ArrayBuffer
    ? new Uint8Array(source)
    : new Uint8Array(source.buffer, source.byteOffset, source.byteLength);
}

/** What the library wrote. */
export function written(raw: ArrayBuffer): Uint8Array {
  return Buffer.from(raw);
}
