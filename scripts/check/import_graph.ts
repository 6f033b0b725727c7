/**
 * The files that a file needs: its imports, and the files that it names by a relative path (scripts that it starts, data that
 * it reads). A name with a placeholder (`hypha_${role}.ts`) means every file that fits.
 *
 * @module
 */
import { posix } from "node:path";

/** Paths below the root, with forward slashes, and the text of those that are source. */
type Tree = ReadonlyMap<string, string>;

const literal = /"([^"\n]+)"|'([^'\n]+)'|`([^`\n]+)`/g;
const isSource = (path: string) => /\.(ts|mjs|js)$/.test(path);
const escaped = (text: string) => text.replaceAll(/[.*+?^()|[\]\\]/g, "\\$&");

/** A file being read: its folder, and all that it names. */
interface Reader {
  readonly from: string;
  readonly literals: ReadonlySet<string>;
}

/** Files that one literal names. */
function named(
  text: string,
  { from, literals }: Reader,
  paths: readonly string[],
  known: ReadonlySet<string>,
): string[] {
  if (!/^[\w./${}-]+$/.test(text) || !/[./]/.test(text)) return [];
  const target = text.startsWith(".") ? posix.normalize(posix.join(from, text)) : text;
  if (known.has(target)) return [target];
  if (target.startsWith("..") || target === "." || target === "./") return [];
  // A folder means its data, and the sources in it that the file names too: it joins their names to the folder.
  if (target.endsWith("/")) {
    return paths.filter((path) => path.startsWith(target) && (!isSource(path) || literals.has(posix.basename(path))));
  }
  const parts = target.split(/\$\{[^}]*\}/).map(escaped);
  // A placeholder alone fits every file, so it carries no information.
  if (parts.length < 2 || parts.join("").length < placeholderMin) return [];
  const pattern = new RegExp(`^${parts.join("[\\w-]+")}$`);
  return paths.filter((path) => pattern.test(path));
}

/** Fewest characters besides placeholders. */
const placeholderMin = 8;

/** Direct needs of every source file. */
export function importGraph(tree: Tree): ReadonlyMap<string, ReadonlySet<string>> {
  const paths = [...tree.keys()];
  const known = new Set(paths);
  return new Map(
    [...tree].filter(([path]) => isSource(path)).map(([path, text]) => {
      const found = [...text.matchAll(literal)].map((match) => match[1] ?? match[2] ?? match[3] ?? "");
      const reader = { from: posix.dirname(path), literals: new Set(found) };
      return [path, new Set(found.flatMap((each) => named(each, reader, paths, known)))];
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
