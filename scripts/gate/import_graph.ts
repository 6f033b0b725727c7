/**
 * Which files a file needs: what it imports, and what it names by a relative path (scripts that it starts, data that it
 * reads). A name with a placeholder (`hypha_${role}.ts`) stands for every file that fits.
 *
 * @module
 */
import { posix } from "node:path";

/** Paths below the root, with forward slashes, and the text of those that are source. */
export type Tree = ReadonlyMap<string, string>;

const literal = /"([^"\n]+)"|'([^'\n]+)'|`([^`\n]+)`/g;
const escaped = (text: string) => text.replaceAll(/[.*+?^()|[\]\\]/g, "\\$&");

/** Files that `text`, in the folder `from`, names. */
function named(text: string, from: string, paths: readonly string[], known: ReadonlySet<string>): string[] {
  if (!/^[\w./${}-]+$/.test(text) || !/[./]/.test(text)) return [];
  const targets = text.startsWith(".") ? [posix.normalize(posix.join(from, text))] : [text];
  return targets.flatMap((target) => {
    if (known.has(target)) return [target];
    if (target.startsWith("..") || target === "." || target === "./") return [];
    if (target.endsWith("/")) return paths.filter((path) => path.startsWith(target));
    if (!target.includes("${")) return [];
    const parts = target.split(/\$\{[^}]*\}/).map(escaped);
    // A placeholder alone fits everything: it says nothing.
    if (parts.join("").length < 8) return [];
    const pattern = new RegExp(`^${parts.join("[\\w-]+")}$`);
    return paths.filter((path) => pattern.test(path));
  });
}

/** Direct needs of every source file. */
export function importGraph(tree: Tree): ReadonlyMap<string, ReadonlySet<string>> {
  const paths = [...tree.keys()];
  const known = new Set(paths);
  return new Map(
    [...tree].filter(([path]) => /\.(ts|mjs|js)$/.test(path)).map(([path, text]) => {
      const from = posix.dirname(path);
      const literals = [...text.matchAll(literal)].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
      return [path, new Set(literals.flatMap((each) => named(each, from, paths, known)))];
    }),
  );
}

/** Everything that a file needs, itself included. */
export function closureOf(file: string, graph: ReadonlyMap<string, ReadonlySet<string>>): ReadonlySet<string> {
  const seen = new Set([file]);
  const open = [file];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const needed of graph.get(next) ?? []) {
      if (seen.has(needed)) continue;
      seen.add(needed);
      open.push(needed);
    }
  }
  return seen;
}
