/**
 * How rooms hang together: which imports which, and whether they form a circle.
 *
 * A room is a folder directly below `actors/` or `transport/`; `pki/` and `scripts/` are one room each. Imports of types count
 * too: who reads one room of a circle has to read all of them.
 *
 * @module
 */
import { posix } from "node:path";
import type { SourceFile } from "../tidy.ts";

/** An import between two rooms, by the files. */
interface RoomImport {
  readonly from: string;
  readonly to: string;
  readonly file: string;
  readonly target: string;
}

/** The room of a file; undefined for those that belong to none (`mod.ts`, tests). */
function roomOfFile(path: string): string | undefined {
  const [top = "", second = "", ...rest] = path.split("/");
  if (top === "actors") return rest.length === 0 ? undefined : `actors/${second}`;
  // A folder of the transport is a room, and so is its vocabulary, `port.ts`.
  if (top === "transport") return second === "mod.ts" ? undefined : `transport/${second}`;
  return ["pki", "scripts"].includes(top) && second !== "" ? top : undefined;
}

/** Every import between rooms, of values and of types. */
function roomImports(files: readonly SourceFile[]): readonly RoomImport[] {
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
 * @returns The findings, `file: the fault, and its repair`, sorted.
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

/** Largest share of one room of `actors/` in the lines of all source files, in percent. */
const roomShareMax = 20;

/** Rooms of `actors/` that hold more of the source than {@linkcode roomShareMax}. */
export function largeRooms(files: readonly SourceFile[]): string[] {
  const source = files.filter(({ path }) => !path.startsWith("tests/"));
  const lines = ({ text }: SourceFile) => text.split("\n").length - 1;
  const all = source.reduce((sum, file) => sum + lines(file), 0);
  const rooms = new Map<string, number>();
  for (const file of source) {
    const room = roomOfFile(file.path);
    if (room?.startsWith("actors/") === true) rooms.set(room, (rooms.get(room) ?? 0) + lines(file));
  }
  return [...rooms].filter(([, own]) => own * 100 > all * roomShareMax).map(([room, own]) =>
    `${room}/:1: this room holds ${Math.round((own * 100) / all)} % of the source, more than ${roomShareMax}: split it`
  );
}

/**
 * Compares the list of rooms with the tree: a row of the list begins with one path in backquotes, or several. Every folder of
 * pki, transport and actors has a row; scripts and tests have one row each.
 */
export function rowFindings(page: string, files: readonly SourceFile[]): string[] {
  const heads = [...page.matchAll(/^- ((?:`[\w./]+\/`(?:, )?)+):/gm)].map(([, head = ""]) => head);
  const rows = new Set(heads.flatMap((head) => [...head.matchAll(/`([^`]+)`/g)].map(([, path = ""]) => path)));
  const folders = new Set(files.map(({ path }) => `${posix.dirname(path)}/`).flatMap(withParents));
  const missing = [...folders].filter((folder) => needsRow(folder) && !rows.has(folder)).sort();
  const stale = [...rows].filter((folder) => !folders.has(folder)).sort();
  return [
    ...missing.map((folder) => `ARCHITECTURE.md:1: ${folder} has no row in the list of rooms, write one`),
    ...stale.map((folder) => `ARCHITECTURE.md:1: ${folder} has a row in the list of rooms and no file, take it out`),
  ];
}

/** The folder and those above it: `a/b/` is below `a/`. */
function withParents(folder: string): string[] {
  const parts = folder.split("/").filter((part) => part !== "" && part !== ".");
  return parts.map((_, index) => `${parts.slice(0, index + 1).join("/")}/`);
}

const needsRow = (folder: string) => /^[^/]+\/$|^(?:pki|transport|actors)\//.test(folder);
