/**
 * Every entry of a job's work directory, each examined when it is taken: one call of the system for each, and one open for each directory.
 *
 * @module
 */
import { lstatSync, opendirSync } from "node:fs";
import { componentsMax, PathRefused } from "./path_refused.ts";
import type { Held } from "./path_reach.ts";

/** An entry of a directory, links not followed. */
export interface TreeEntry {
  readonly name: string;
  readonly sizeBytes: number;
}

/** Entries that are listed with one call of the system. */
const listedAtOnce = 256;
/** Failures that only names and modes cause. Any other means that the entry vanished. */
const unexamined: ReadonlySet<unknown> = new Set(["EACCES", "ENAMETOOLONG"]);

/** A directory that is walked, and its directories that are not entered yet. */
interface Level {
  readonly held: Held;
  readonly inner: string[];
}

/**
 * Walks the tree below a directory. At most as many directories are open as a path has components.
 *
 * @throws Where something cannot be examined: a path is too long or too deep, or a right is missing. What vanishes is left out.
 */
export function* walkTree(root: Held): Generator<TreeEntry, void> {
  const levels: Level[] = [];
  let entered: Held | undefined = root;
  try {
    for (;;) {
      if (entered !== undefined) {
        const level: Level = { held: entered, inner: [] };
        levels.push(level);
        entered = undefined;
        yield* listDirectory(level, levels.length);
      }
      const level = levels.at(-1);
      if (level === undefined) return;
      const name = level.inner.pop();
      if (name === undefined) levels.pop()?.held.close();
      else entered = unlessVanished(() => level.held.enter(name));
    }
  } finally {
    for (const { held } of levels) held.close();
    entered?.close();
  }
}

function* listDirectory({ held, inner }: Level, depth: number): Generator<TreeEntry, void> {
  const directory = unlessVanished(() => opendirSync(held.at("."), { bufferSize: listedAtOnce }));
  if (directory === undefined) return;
  try {
    for (;;) {
      const name = unlessVanished(() => directory.readSync())?.name;
      if (name === undefined) return;
      if (depth > componentsMax) throw new PathRefused({ code: "too-deep", path: name });
      const stats = unlessVanished(() => lstatSync(held.at(name), { throwIfNoEntry: false }));
      if (stats?.isDirectory() === true) inner.push(name);
      yield { name, sizeBytes: stats?.size ?? 0 };
    }
  } finally {
    directory.closeSync();
  }
}

function unlessVanished<A>(examine: () => A): A | undefined {
  try {
    return examine();
  } catch (error) {
    if (unexamined.has((error as NodeJS.ErrnoException).code)) throw error;
    return undefined;
  }
}
