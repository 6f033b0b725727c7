/**
 * How rooms hang together: which imports which, and whether they form a circle.
 *
 * A room is a folder directly below `actors/`; `pki/`, `transport/` and `scripts/` are one room each. Imports of types count
 * too: who reads one room of a circle has to read all of them.
 *
 * @module
 */
import { posix } from "node:path";
import type { SourceFile } from "../tidy.ts";

/** An import between two rooms, by the files. */
export interface RoomImport {
  readonly from: string;
  readonly to: string;
  readonly file: string;
  readonly target: string;
}

/** The room of a file; undefined for those that belong to none (`mod.ts`, tests). */
export function roomOfFile(path: string): string | undefined {
  const [top = "", second = "", ...rest] = path.split("/");
  if (top === "actors") return rest.length === 0 ? undefined : `actors/${second}`;
  return ["pki", "transport", "scripts"].includes(top) && second !== "" ? top : undefined;
}

/** Every import between rooms, of values and of types. */
export function roomImports(files: readonly SourceFile[]): readonly RoomImport[] {
  return files.flatMap(({ path, text }) => {
    const from = roomOfFile(path);
    if (from === undefined) return [];
    const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
    return [...code.matchAll(/(?:\bfrom|\bimport\(?)\s*"(\.[^"]*)"/g)].flatMap(([, specifier = ""]) => {
      const target = posix.normalize(posix.join(posix.dirname(path), specifier));
      const to = roomOfFile(target);
      return to === undefined || to === from ? [] : [{ from, to, file: path, target }];
    });
  });
}

/**
 * The circles among rooms: one finding for each import inside a circle.
 *
 * @returns `file: what, and what to do instead`, sorted.
 */
export function roomCircles(files: readonly SourceFile[]): string[] {
  const imports = roomImports(files);
  const reach = (start: string): ReadonlySet<string> => {
    const found = new Set<string>();
    const open = [start];
    for (let room = open.pop(); room !== undefined; room = open.pop()) {
      for (const { to } of imports.filter(({ from }) => from === room)) {
        if (found.has(to)) continue;
        found.add(to);
        open.push(to);
      }
    }
    return found;
  };
  const reached = new Map([...new Set(imports.map(({ from }) => from))].map((room) => [room, reach(room)]));
  return imports
    .filter(({ from, to }) => reached.get(to)?.has(from) === true)
    .map(({ from, to, file, target }) =>
      `${file}:1: ${from} and ${to} import each other (${target}), move what both need to the lower room`
    )
    .sort();
}

/** Folders of the source that the page has no row for: a row of its list begins with one path in backquotes, or several. */
export function missingRows(page: string, files: readonly SourceFile[]): string[] {
  const heads = [...page.matchAll(/^- ((?:`[\w./]+\/`(?:, )?)+):/gm)].map(([, head = ""]) => head);
  const rows = new Set(heads.flatMap((head) => [...head.matchAll(/`([^`]+)`/g)].map(([, path]) => path)));
  const folders = new Set(files.map(({ path }) => `${posix.dirname(path)}/`).flatMap(withParents));
  return [...folders]
    .filter((folder) => isRoomFolder(folder) && !rows.has(folder))
    .sort()
    .map((folder) => `ARCHITECTURE.md:1: ${folder} has no row in the list of rooms, write one`);
}

/** The folder and those above it: `a/b/` is below `a/`. */
function withParents(folder: string): string[] {
  const parts = folder.split("/").filter((part) => part !== "");
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("/")}/`);
}

/** Folders of one or two levels: what lies deeper belongs to its room's row. Folders of scripts and tests have one row. */
function isRoomFolder(folder: string): boolean {
  const depth = folder.split("/").length - 1;
  return depth === 1 || (depth === 2 && /^(pki|transport|actors)\//.test(folder));
}
