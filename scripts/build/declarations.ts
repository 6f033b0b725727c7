/**
 * The types of the package: the declarations that its exports lead to, and no others.
 *
 * @module
 */
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { dirname, resolve } from "node:path";

/**
 * Removes declarations that no export leads to.
 *
 * @param folder Where the compiler wrote them.
 * @param entries The exports' own, as paths below it.
 * @returns The packages whose types the others import.
 */
export function keepReachable(folder: string, entries: readonly string[]): ReadonlySet<string> {
  const packages = new Set<string>();
  const reached = new Set<string>();
  const open = entries.map((entry) => resolve(folder, entry));
  for (let path = open.pop(); path !== undefined; path = open.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    for (const specifier of specifiersOf(readFileSync(path, "utf8"))) {
      if (specifier.startsWith(".")) open.push(resolve(dirname(path), specifier.replace(/\.[jt]s$/, ".d.ts")));
      else if (!specifier.startsWith("node:")) packages.add(packageOf(specifier));
    }
  }
  for (const name of readdirSync(folder, { recursive: true, encoding: "utf8" })) {
    const path = resolve(folder, name);
    if (path.endsWith(".d.ts") && !reached.has(path)) rmSync(path);
  }
  return packages;
}

/** Specifiers of imports, exports and `import("…")` types, none of a comment. */
function specifiersOf(text: string): readonly string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "");
  return [...code.matchAll(/(?:\bfrom\s+|\bimport\s+|\bimport\()"([^"]+)"/g)].map(([, specifier = ""]) => specifier);
}

/** The package of a bare specifier. */
export function packageOf(specifier: string): string {
  return specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/");
}
