/**
 * Removes what a job left: a directory with everything in it, however deep it is, whatever its names and modes are.
 *
 * The runtimes' own removals do not: Node's names each file by its whole path, which may be longer than the system takes, and Deno's keeps
 * a descriptor and a part of its stack for each level. Here one directory is open at a time, each name in it is reached through its
 * descriptor (`/proc/self/fd/N/name`), and no link is followed.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { chmodSync, closeSync, constants, existsSync, fstatSync, openSync, type Stats } from "node:fs";
import { readdir, rm, rmdir, unlink } from "node:fs/promises";
import { openPathOnly } from "./path_reach.ts";

/** The code of the error where this runtime cannot name an entry: Deno, a name that is not UTF-8. */
export const unnameable = "EILSEQ";

/** A directory that is open, its rights restored. */
interface Open {
  readonly fd: number;
  readonly stats: Stats;
}

/** The open directory, or one above it. */
interface Level {
  readonly name: Buffer;
  readonly stats: Stats;
  /** Its directories that are not entered yet. */
  readonly inner: Buffer[];
}

/** A removal under way. It goes on after a failure, so that as little as possible stays. */
interface Removal {
  readonly signal: AbortSignal;
  /** The first failure. */
  failure?: unknown;
  isUnnameable?: true;
}

/** Files that are removed at once: more than the thread pool has threads. */
const removalsAtOnce = 32;
const ownerRights = 0o700;
/** Codes where a job replaced its directory by a file or a link. */
const noDirectory: ReadonlySet<unknown> = new Set(["ENOTDIR", "ELOOP"]);
/** Stands in Deno's listings for bytes that are not UTF-8; Node lists the bytes. */
const replacementCharacter = Buffer.from("\u{fffd}");

/**
 * Removes the tree at `path`, if there is one; or a file or link, not what it leads to.
 *
 * @throws The first failure; where something stayed because of its name, an error with the code {@linkcode unnameable}.
 */
export async function removeTree(path: string, signal: AbortSignal): Promise<void> {
  if (!existsSync("/proc/self/fd/.")) return await rm(path, { recursive: true, force: true });
  const removal: Removal = { signal }, name = Buffer.from(path);
  await tried(removal, name, async () => {
    try {
      await emptyDirectory(path, removal);
    } catch (error) {
      if (!noDirectory.has((error as NodeJS.ErrnoException).code)) throw error;
      return await unlink(path);
    }
    await rmdir(path);
  });
  if (removal.isUnnameable === true) {
    throw Object.assign(new Error(`${path} has names that are not UTF-8`), { code: unnameable });
  }
  if (removal.failure !== undefined) throw removal.failure;
}

/** Whether it succeeded. What is gone has not failed. */
async function tried(removal: Removal, name: Buffer, run: () => void | Promise<void>): Promise<boolean> {
  try {
    await run();
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") removal.failure ??= error;
    else if (name.includes(replacementCharacter)) removal.isUnnameable = true;
    return false;
  }
}

/** Depth first. The way back up is `..`, and leads to the directory it came from, or ends the removal. */
async function emptyDirectory(path: string, removal: Removal): Promise<void> {
  let open = openDirectory(path);
  const levels: Level[] = [];
  const enter = async (name: Buffer) =>
    void levels.push({ name, stats: open.stats, inner: await removeFiles(open.fd, removal) });
  const move = (name: Buffer, expected?: Stats) => {
    const next = openDirectory(below(open.fd, name), expected);
    closeSync(open.fd);
    open = next;
  };
  try {
    await enter(Buffer.from(path));
    for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
      removal.signal.throwIfAborted();
      const inner = level.inner.pop();
      if (inner !== undefined) {
        if (await tried(removal, inner, () => move(inner))) await enter(inner);
        continue;
      }
      levels.pop();
      const above = levels.at(-1);
      if (above === undefined) return;
      move(Buffer.from(".."), above.stats);
      const { name } = level;
      await tried(removal, name, () => rmdir(below(open.fd, name)));
    }
  } finally {
    closeSync(open.fd);
  }
}

/** The names of the directories in it. */
async function removeFiles(fd: number, removal: Removal): Promise<Buffer[]> {
  const inner: Buffer[] = [], files: Buffer[] = [];
  const self = Buffer.from(".");
  await tried(removal, self, async () => {
    for (const entry of await readdir(below(fd, self), { encoding: "buffer", withFileTypes: true })) {
      (entry.isDirectory() ? inner : files).push(entry.name);
    }
  });
  for (let from = 0; from < files.length; from += removalsAtOnce) {
    removal.signal.throwIfAborted();
    const some = files.slice(from, from + removalsAtOnce);
    await Promise.all(some.map((name) => tried(removal, name, () => unlink(below(fd, name)))));
  }
  return inner;
}

/** A job may have removed its own rights. The descriptor alone needs none. */
function openDirectory(path: string | Buffer, expected?: Stats): Open {
  const fd = openSync(path, openPathOnly | constants.O_DIRECTORY | constants.O_NOFOLLOW);
  try {
    const stats = fstatSync(fd);
    if (expected !== undefined && (stats.ino !== expected.ino || stats.dev !== expected.dev)) {
      throw new Error("a directory was moved while it was removed");
    }
    if ((stats.mode & ownerRights) !== ownerRights) chmodSync(`/proc/self/fd/${fd}`, ownerRights);
    return { fd, stats };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function below(fd: number, name: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`/proc/self/fd/${fd}/`), name]);
}
