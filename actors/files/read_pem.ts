/**
 * Reads a node's PEM files. DER is accepted too; an error names the kind of a wrong file.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { FileSystem } from "effect/FileSystem";
import { type BlockKind, type FileKind, holdsBlock, kindNames, kindOf, pemOf } from "./file_kind.ts";
import { LoadError } from "./load_error.ts";
import { readBytes, type ReadOptions, type WholeFile } from "./read_whole.ts";
import { shellWord } from "./shell_word.ts";

/** The expected content of a file. */
export type Wanted = Exclude<BlockKind, "signing request">;

/** Kinds that are surely another file. A file of another kind is for the parser to refuse. */
const otherKinds: ReadonlySet<FileKind> = new Set<FileKind>([
  "certificate",
  "ca-certificate",
  "private-key",
  "encrypted-key",
  "revocation-list",
  "signing-request",
]);

/** How a message names a file that is not the wanted one; undefined where it may be that. */
function nameOther(bytes: Uint8Array): string | undefined {
  if (isPkcs12(bytes)) return "a PKCS#12 archive";
  const kind = kindOf(bytes);
  if (!otherKinds.has(kind)) return undefined;
  return kind === "certificate" ? "a certificate" : kindNames[kind];
}

/**
 * Reads a file of PEM, or of DER, which becomes PEM.
 *
 * Refuses a file that holds no wanted block but one of another kind. The parser refuses empty files and those that are
 * not PEM.
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
  if (holdsBlock(text, options.wanted)) return Result.succeed(text);
  const found = nameOther(bytes);
  if (found === undefined) return Result.succeed(text);
  return Result.fail(
    new LoadError({
      file: options.path,
      line: undefined,
      problem: "malformed",
      detail: `this is ${found}, expected a ${options.wanted}`,
      mend: isPkcs12(bytes) ? takeOut(options) : mendOf(options),
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
    return `Take it out with: openssl pkcs12 -in ${shellWord(path)} -nocerts -noenc | openssl pkey -out KEY.pem`;
  }
  return `Take it out with: openssl pkcs12 -in ${shellWord(path)} -nokeys -out CERTIFICATE.pem`;
}

function mendOf({ key, wanted }: Pick<ReadOptions, "key"> & { readonly wanted: Wanted }): string {
  return key === "cert_pem" || key === "key_pem"
    ? "Exchange cert_pem and key_pem where they are swapped, or correct the path."
    : `Name a ${wanted} in ${key}.`;
}
