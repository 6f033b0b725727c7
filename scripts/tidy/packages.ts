/**
 * Imports by bare names: package.json must declare every package that the source imports.
 *
 * @module
 */
import type { SourceFile } from "../tidy.ts";

/** The part of package.json that declares packages. */
export interface Manifest {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

/** An import, with the name in it; not one in a comment's example. */
const imported = /^(?! \*)(?:import|export|\}|.*\bimport\()(?:.*\bfrom)?\s*"([@\w][\w./@-]*)"/gm;

/** What the package is made of. The build puts packages for development into it, where they are imported. */
const shipped =
  /^(?:mod\.ts$|(?:pki|transport|actors|scripts\/(?:program|certutil|executors))\/|scripts\/hypha_\w+\.ts$)/;

/** The packages that a file imports by their bare names. */
export function packagesOf(text: string): readonly string[] {
  const specifiers = [...text.matchAll(imported)].map(([, specifier = ""]) => specifier);
  const bare = specifiers.filter((specifier) => !specifier.startsWith("hypha-runtime"));
  return [...new Set(bare.map((name) => name.split("/").slice(0, name.startsWith("@") ? 2 : 1).join("/")))];
}

/** Packages for tools and tests alone: none of them belongs into the package. */
const tools = [
  "@chainsafe/libp2p-noise",
  "@libp2p/tls",
  "@typescript/typescript6",
  "esbuild",
  "tldts",
  "typescript",
  "uvu",
];

/** Imports of packages that package.json does not declare, and of tools by files of the package. */
export function undeclaredImports(files: readonly SourceFile[], manifest: Manifest): string[] {
  const declared = { ...manifest.dependencies, ...manifest.devDependencies };
  return files.flatMap(({ path, text }) =>
    packagesOf(text).flatMap((name) => {
      if (!Object.hasOwn(declared, name)) return [`${path}:1: ${name} is not declared, add it to package.json`];
      if (!shipped.test(path) || !tools.includes(name)) return [];
      return [`${path}:1: ${name} is for tools and tests, import it from none that the package is made of`];
    })
  );
}
