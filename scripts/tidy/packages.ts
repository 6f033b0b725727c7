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

/** The contents of the package. Its users do not install packages for development. */
const shipped =
  /^(?:mod\.ts$|(?:pki|transport|actors|scripts\/(?:program|certutil|executors))\/|scripts\/hypha_\w+\.ts$)/;

/** The packages that a file imports by their bare names. */
export function packagesOf(text: string): readonly string[] {
  const specifiers = [...text.matchAll(imported)].map(([, specifier = ""]) => specifier);
  const bare = specifiers.filter((specifier) => !specifier.startsWith("hypha-runtime"));
  return [...new Set(bare.map((name) => name.split("/").slice(0, name.startsWith("@") ? 2 : 1).join("/")))];
}

/** Imports of packages that package.json does not declare: for files of the package, as dependencies. */
export function undeclaredImports(files: readonly SourceFile[], manifest: Manifest): string[] {
  const { dependencies = {}, devDependencies = {} } = manifest;
  return files.flatMap(({ path, text }) => {
    const isShipped = shipped.test(path);
    const declared = isShipped ? dependencies : { ...dependencies, ...devDependencies };
    const where = isShipped ? "dependencies" : "dependencies or devDependencies";
    return packagesOf(text).filter((name) => !Object.hasOwn(declared, name)).map((name) =>
      `${path}:1: ${name} is not declared, add it to ${where} of package.json`
    );
  });
}
