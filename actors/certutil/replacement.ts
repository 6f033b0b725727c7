/**
 * Which files a command may replace: a file of the same kind, and never the key of a CA.
 *
 * @module
 */
import { createPrivateKey, createPublicKey } from "node:crypto";
import { dirname, join } from "node:path";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import { sameBytes } from "../../pki/bytes.ts";
import { type Certificate, certificateBytesMax, parseCertificate } from "../../pki/certificate.ts";
import { parsePem } from "../../pki/pem.ts";
import type { ExistingFiles, OutputFile } from "../files/write_whole.ts";
import { CertutilError } from "./certutil_error.ts";
import { type FileKind, kindNames, kindOf, pemOf } from "../files/file_kind.ts";
import { readInputBytes } from "./input_file.ts";
import { shellWord } from "../files/shell_word.ts";

/** A file to write, and what it holds. */
export interface Output extends OutputFile {
  readonly kind: FileKind;
}

/** Files of one folder that are looked at for the certificate of a CA. */
export const folderFilesMax = 1_000;

/**
 * Refuses to replace a file by one of another kind, a CA's key by any other, and a private key that cannot be read.
 * Files that are not there, empty ones, and those that `keep` refuses anyway are passed over.
 *
 * @param inputs Files that the command reads: CAs' certificates are looked for in their folders, too.
 */
export function checkReplaced(
  files: readonly Output[],
  existing: ExistingFiles,
  inputs: readonly string[],
): Effect.Effect<void, CertutilError, FileSystem> {
  return Effect.gen(function* () {
    for (const { path, kind, existing: own = existing } of files) {
      if (own === "keep" || !(yield* isFile(path))) continue;
      const bytes = yield* readInputBytes(path, { what: "file to replace", flag: "--force" });
      const found = kindOf(bytes);
      if (found === "empty") continue;
      if (found !== kind) return yield* refuse(path, `it holds ${kindNames[found]}, not ${kindNames[kind]}`);
      if (kind === "private-key") {
        const folders = [...files.map((each) => each.path), ...inputs].map((each) => dirname(each));
        yield* checkNoCa(path, bytes, new Set(folders));
      }
    }
  });
}

const isFile = Effect.fnUntraced(function* (path: string) {
  const files = yield* FileSystem;
  return yield* Effect.match(files.stat(path), { onFailure: () => false, onSuccess: ({ type }) => type === "File" });
});

function refuse(path: string, detail: string): Effect.Effect<never, CertutilError> {
  const move = `mv ${shellWord(path)} ${shellWord(`${path}.old`)}`;
  const remedy = `Nothing was changed; choose another name, or move it away first: ${move}`;
  return Effect.fail(new CertutilError({ what: "replace", file: path, detail, remedy }));
}

const checkNoCa = Effect.fnUntraced(function* (path: string, bytes: Uint8Array, folders: ReadonlySet<string>) {
  const spki = publicKeyOf(pemOf(bytes));
  if (spki === undefined) return yield* refuse(path, "it holds a private key that cannot be read");
  for (const folder of folders) {
    const found = yield* findCa(folder, spki);
    if (found === undefined) continue;
    return yield* refuse(path, `it is the key of the CA ${found.ca.subject.text} (${found.file})`);
  }
});

/** The public half; of a key in the traditional format, too. */
function publicKeyOf(pem: string): Uint8Array | undefined {
  return Result.getOrUndefined(Result.try({
    try: () => new Uint8Array(createPublicKey(createPrivateKey(pem)).export({ type: "spki", format: "der" })),
    catch: () => undefined,
  }));
}

/** Looks for the certificate of the CA with this key among the files of a folder. */
const findCa = Effect.fnUntraced(function* (folder: string, spki: Uint8Array) {
  const files = yield* FileSystem;
  const names = yield* Effect.match(files.readDirectory(folder), { onFailure: () => [], onSuccess: (all) => all });
  const likely = names.filter((name) => /\.(pem|crt|cer|der|cert)$/i.test(name)).toSorted();
  for (const name of likely.slice(0, folderFilesMax)) {
    const file = join(folder, name);
    const bytes = yield* smallFile(files, file);
    const ca = bytes &&
      certificatesIn(bytes).find((each) => each.basicConstraints?.ca === true && sameBytes(each.publicKey.spki, spki));
    if (ca !== undefined) return { file, ca };
  }
  return undefined;
});

/** A file that is no larger than a CA's certificate and its issuers' can be; undefined for any other. */
const smallFile = (files: FileSystem, file: string) =>
  Effect.match(
    Effect.flatMap(
      files.stat(file),
      ({ type, size }) =>
        type === "File" && size <= 16 * certificateBytesMax ? files.readFile(file) : Effect.succeed(undefined),
    ),
    { onFailure: () => undefined, onSuccess: (bytes) => bytes },
  );

function certificatesIn(bytes: Uint8Array): readonly Certificate[] {
  return Result.getOrElse(parsePem(pemOf(bytes)), () => [])
    .filter(({ label }) => label === "CERTIFICATE")
    .flatMap(({ der }) => {
      const parsed = parseCertificate(der);
      return Result.isSuccess(parsed) ? [parsed.success] : [];
    });
}
