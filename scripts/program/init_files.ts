/**
 * The files that `init` finds: where it would name them, and where `hypha-certutil` and the existing network's tool put
 * them.
 *
 * @module
 */
import { Effect, FileSystem, Result } from "effect";
import { checkIdentity, checkWellFormed } from "../../pki/path.ts";
import { parsePem } from "../../pki/pem.ts";

/** Keys of files that `init` looks for. */
export type FileKey = "cert_pem" | "key_pem" | "trust_pem" | "crls_pem";

/** The file for each key, and whether it exists. */
export type InitFiles = Readonly<Record<FileKey, { readonly path: string; readonly found: boolean }>>;

/** Makes a file name of a node's name: lower case, with dashes for special characters, as the certificate tool does. */
export function fileNameOf(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9_-]+/g, "-").slice(0, 100);
}

/** The possible places of each file, the likeliest first. Where no file exists, `init` names the first. */
function candidatesOf(name: string): Readonly<Record<FileKey, readonly string[]>> {
  const file = fileNameOf(name);
  const own = (kind: string) => [`certs/${file}-${kind}.pem`, `${file}-${kind}.pem`];
  return {
    cert_pem: own("cert"),
    key_pem: own("key"),
    trust_pem: ["certs/ca-bundle.pem", ...own("trust"), "ca-bundle.pem"],
    crls_pem: ["certs/crls.pem", "crls.pem"],
  };
}

/** Files of a node for which none was looked for. */
export function expectedFiles(name: string): InitFiles {
  const { cert_pem, key_pem, trust_pem, crls_pem } = candidatesOf(name);
  const first = (paths: readonly string[]) => ({ path: paths[0] ?? "", found: false });
  return { cert_pem: first(cert_pem), key_pem: first(key_pem), trust_pem: first(trust_pem), crls_pem: first(crls_pem) };
}

/** The trust domain that a node's certificate names; undefined where it cannot be read, or names none. */
export function domainNamedBy(path: string): Effect.Effect<string | undefined, never, FileSystem.FileSystem> {
  return Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    const pem = yield* Effect.orElseSucceed(files.readFileString(path), () => "");
    const named = Result.gen(function* () {
      const [first] = yield* parsePem(pem);
      const wellFormed = yield* checkWellFormed(first === undefined ? [] : [first.der]);
      return (yield* checkIdentity(wellFormed)).domain;
    });
    return Result.getOrUndefined(named);
  });
}

/** Looks for a node's files in the working directory, to which paths of a configuration are relative. */
export function findFiles(name: string): Effect.Effect<InitFiles, never, FileSystem.FileSystem> {
  return Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    const isThere = (path: string) =>
      Effect.match(files.stat(path), { onSuccess: ({ type }) => type === "File", onFailure: () => false });
    const find = (paths: readonly string[]) =>
      Effect.gen(function* () {
        for (const path of paths) if (yield* isThere(path)) return { path, found: true };
        return { path: paths[0] ?? "", found: false };
      });
    const { cert_pem, key_pem, trust_pem, crls_pem } = candidatesOf(name);
    return {
      cert_pem: yield* find(cert_pem),
      key_pem: yield* find(key_pem),
      trust_pem: yield* find(trust_pem),
      crls_pem: yield* find(crls_pem),
    };
  });
}
