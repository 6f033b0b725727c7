/**
 * Reading of a node's files of PEM: DER is taken too, and a file of another kind is called by its name.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type FileKind, kindOf, pemOf } from "./file_kind.ts";
import { LoadError } from "./load_error.ts";
import { readBytes, type ReadOptions, type WholeFile } from "./read_whole.ts";

/** What a file is to hold. */
export type Wanted = "certificate" | "private key" | "revocation list";

const labels: Readonly<Record<Wanted, RegExp>> = {
  "certificate": /^-----BEGIN CERTIFICATE-----/m,
  "private key": /^-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----/m,
  "revocation list": /^-----BEGIN (X509 )?CRL-----/m,
};

/** Kinds that are surely another file, as a message names them. */
const names: Partial<Readonly<Record<FileKind, string>>> = {
  "certificate": "a certificate",
  "ca-certificate": "a CA's certificate",
  "private-key": "a private key",
  "encrypted-key": "an encrypted private key",
  "revocation-list": "a revocation list",
  "signing-request": "a signing request",
};

/**
 * Reads a file of PEM, or of DER, which becomes PEM.
 *
 * Refuses a file that holds no block that is wanted but one of another kind: what is empty or no PEM at all is for the
 * parser to judge.
 */
export function readPem(options: ReadOptions & { readonly wanted: Wanted }): Effect.Effect<
  WholeFile,
  LoadError,
  FileSystem
> {
  return Effect.flatMap(
    readBytes(options),
    ({ bytes, mode }) => Effect.map(Effect.fromResult(pemText(bytes, options)), (text) => ({ text, mode })),
  );
}

/** The same for bytes that were read already. */
export function pemText(
  bytes: Uint8Array,
  options: Pick<ReadOptions, "path" | "key"> & { readonly wanted: Wanted },
): Result.Result<string, LoadError> {
  const text = pemOf(bytes);
  if (labels[options.wanted].test(text)) return Result.succeed(text);
  const isArchive = isPkcs12(bytes);
  const found = isArchive ? "a PKCS#12 archive" : names[kindOf(bytes)];
  if (found === undefined) return Result.succeed(text);
  return Result.fail(
    new LoadError({
      file: options.path,
      line: undefined,
      problem: "malformed",
      detail: `this is ${found}, expected a ${options.wanted}`,
      mend: isArchive ? takeOut(options) : mendOf(options),
    }),
  );
}

/** `SEQUENCE { INTEGER 3, … }` (RFC 7292 §4). */
function isPkcs12(bytes: Uint8Array): boolean {
  if (bytes[0] !== 0x30) return false;
  const lengthBytes = (bytes[1] ?? 0) < 0x80 ? 0 : (bytes[1] ?? 0) & 0x7f;
  return [2, 1, 3].every((byte, index) => bytes[2 + lengthBytes + index] === byte);
}

function takeOut({ path, wanted }: { readonly path: string; readonly wanted: Wanted }): string {
  if (wanted === "private key") {
    return `Take it out with: openssl pkcs12 -in ${path} -nocerts -noenc | openssl pkey -out KEY.pem`;
  }
  return `Take it out with: openssl pkcs12 -in ${path} -nokeys -out CERTIFICATE.pem`;
}

function mendOf({ key, wanted }: Pick<ReadOptions, "key"> & { readonly wanted: Wanted }): string {
  return key === "cert_pem" || key === "key_pem"
    ? "Exchange cert_pem and key_pem where they are swapped, or correct the path."
    : `Name a ${wanted} in ${key}.`;
}
