/**
 * A job's work directory, opened once and never left: nothing else opens anything inside one, but to remove it (`remove_tree.ts`).
 *
 * A process that runs in the directory can swap any name for a link to elsewhere between a check and an open. So a path
 * is not checked and then opened, it is walked: each directory is opened through the descriptor of the one above it
 * (`/proc/self/fd/N/name`, never following a link), and the file itself is checked by its descriptor. Where there is no
 * `/proc/self/fd` (macOS), one open with `O_NOFOLLOW_ANY` refuses links anywhere in the path; renaming, making and
 * removing are path based there, so a job's results are only to be trusted once its process group is dead.
 *
 * @module
 */
import {
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fstatSync,
  lchownSync,
  openSync,
  read as readCallback,
  realpathSync,
  rename as renameCallback,
  type Stats,
  unlink as unlinkCallback,
  write as writeCallback,
} from "node:fs";
import { join } from "node:path";
import { Effect, Result, type Scope } from "effect";
import { attempt, closeRead, failed, inPool, removeEntry } from "./file_operation.ts";
import { descriptorWalk, type Held, pathReach, type Reach, singleOpen } from "./path_reach.ts";
import { type TreeEntry, walkTree } from "./walk_tree.ts";
import { parsePath, type PathError, type PathRefusalCode, PathRefused, type WorkFileFailed } from "./path_refused.ts";

/** A regular file, open for reading. Its content is the file's that was there when it was opened. */
export interface ReadableFile {
  readonly fd: number;
  readonly sizeBytes: number;
  /** Reads at `position`; 0 at the end. */
  read(into: Uint8Array, position: number): Effect.Effect<number, WorkFileFailed>;
}

/** A file in the making: it has its name only after `commit`, whole; without it nothing remains. */
export interface WritableFile {
  readonly fd: number;
  /** Writes all of `bytes` after what was written before. */
  write(bytes: Uint8Array): Effect.Effect<void, WorkFileFailed>;
  /** Gives the file its name, replacing what had it. */
  readonly commit: Effect.Effect<void, PathError>;
}

/** How a work directory is used. */
export interface WorkDirectoryOptions {
  /** The user and group that own everything made in it: the job's, where it has its own. */
  readonly user?: number | undefined;
}

/** A work directory. Paths are relative to it, with `/`; every operation refuses what leads out of it. */
export interface WorkDirectory {
  /** Where it is: for the executor's environment and the log, never for opening. */
  readonly path: string;
  /** Opens a regular file with one name, on the directory's own file system. */
  openForReading(path: string): Effect.Effect<ReadableFile, PathError, Scope.Scope>;
  /** Begins a file (mode 0600) under another name next to `path`; directories above it are made (0700). */
  create(path: string): Effect.Effect<WritableFile, PathError, Scope.Scope>;
  /** Makes a directory (0700) and those above it; one that is there is fine. */
  makeDirectory(path: string): Effect.Effect<void, PathError>;
  /**
   * Every entry below the work directory, examined when it is taken. What vanishes is left out.
   *
   * @throws Where something cannot be examined.
   */
  walk(): Generator<TreeEntry, void>;
  /** Sizes of the files that are open here, for reading or in the making, and have no name any more; by inode number. */
  unnamed(): ReadonlyMap<number, number>;
  /** Removes a file, a link (not what it leads to) or an empty directory. */
  remove(path: string): Effect.Effect<void, PathError>;
  /** Where a socket of that name can be bound when {@linkcode WorkDirectory.path} makes it too long for that. */
  socketAddress(name: string): string;
  /** Makes a bound socket reachable by the job's user only: 0600, and the job's own. */
  giveSocket(name: string): Effect.Effect<void, PathError>;
}

/** `sun_path` holds 108 bytes on Linux; Deno takes 107, macOS 103. */
const socketPathBytesMax = 100;
/** Temporary names that are tried before the write fails: only a job that creates such names itself reaches this limit. */
const asideAttemptsMax = 16;

const { O_RDONLY, O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW, O_DIRECTORY, O_NONBLOCK } = constants;

/**
 * Opens the work directory at `path` (which must not be a link) and keeps it until the scope closes.
 *
 * Makes nothing and removes nothing: `work_directory.ts` does.
 */
export function openWorkDirectory(
  path: string,
  options: WorkDirectoryOptions = {},
): Effect.Effect<WorkDirectory, PathError, Scope.Scope> {
  return Effect.map(
    Effect.acquireRelease(
      attempt(path, () => {
        pathReach();
        return { fd: openSync(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW) };
      }),
      (root) =>
        Effect.sync(() => {
          closeSync(root.fd);
          root.fd = -1; // its number may be another directory's from now on
        }),
    ),
    (root) => workDirectory(path, root, options),
  );
}

function workDirectory(path: string, root: { readonly fd: number }, { user }: WorkDirectoryOptions): WorkDirectory {
  const reach = pathReach() === "descriptors" ? descriptorWalk(root, user) : singleOpen(realpathSync(path));
  const device = fstatSync(root.fd).dev;
  let asides = 0;
  const openHere = new Set<number>();
  const linked = (name: string) => `/proc/self/fd/${root.fd}/${name}`;
  const within = <A>(name: string, use: (held: Held, leaf: string) => A): Effect.Effect<A, PathError> =>
    attempt(name, () => {
      const parts = Result.getOrThrowWith(parsePath(name), (refused) => refused);
      const held = reach.hold(parts.slice(0, -1), false);
      try {
        return use(held, parts.at(-1) as string);
      } finally {
        held.close();
      }
    });
  return {
    path,
    openForReading: (name) =>
      keptOpen(
        openHere,
        within(name, (held, leaf) => openRegular(held.at(leaf), name, reach.leafFlags, device)),
        ({ fd }) => closeRead(fd),
      ).pipe(Effect.map(({ fd, stats }) => readable(name, fd, stats.size))),
    create: (name) =>
      keptOpen(
        openHere,
        attempt(name, () => beginAside(reach, name, () => `.aside-${asides++}`)),
        (aside) => aside.abandon,
      ).pipe(Effect.map((aside) => writable(name, aside))),
    makeDirectory: (name) =>
      attempt(name, () => reach.hold(Result.getOrThrowWith(parsePath(name), (refused) => refused), true).close()),
    walk: () => walkTree(reach.hold([], false)),
    unnamed: () => unnamedOf(openHere),
    remove: (name) =>
      Effect.acquireUseRelease(
        attempt(name, () => {
          const parts = Result.getOrThrowWith(parsePath(name), (refused) => refused);
          return { held: reach.hold(parts.slice(0, -1), false), leaf: parts.at(-1) as string };
        }),
        ({ held, leaf }) => removeEntry(name, held.at(leaf)),
        ({ held }) => Effect.sync(() => held.close()),
      ),
    giveSocket: (name) =>
      attempt(name, () => {
        const at = linked(name), socket = existsSync(at) ? at : join(path, name);
        chmodSync(socket, 0o600);
        if (user !== undefined) lchownSync(socket, user, user);
      }),
    socketAddress: (name) => {
      const direct = join(path, name);
      return new TextEncoder().encode(direct).length <= socketPathBytesMax ? direct : linked(name);
    },
  };
}

/** Keeps a file open until the scope closes; `openHere` has its descriptor meanwhile. */
function keptOpen<A extends { readonly fd: number }>(
  openHere: Set<number>,
  opened: Effect.Effect<A, PathError>,
  close: (file: A) => Effect.Effect<void>,
): Effect.Effect<A, PathError, Scope.Scope> {
  return Effect.acquireRelease(
    Effect.tap(opened, ({ fd }) => Effect.sync(() => openHere.add(fd))),
    (file) => Effect.andThen(Effect.sync(() => openHere.delete(file.fd)), close(file)),
  );
}

function unnamedOf(descriptors: Iterable<number>): ReadonlyMap<number, number> {
  const stats = Array.from(descriptors, (fd) => fstatSync(fd));
  return new Map(stats.filter(({ nlink }) => nlink === 0).map(({ ino, size }) => [ino, size]));
}

/** `O_NONBLOCK`: opening a FIFO must not wait for a writer. The type is checked on the descriptor, not the name. */
function openRegular(at: string, path: string, leafFlags: number, device: number): { fd: number; stats: Stats } {
  const fd = openSync(at, O_RDONLY | O_NONBLOCK | leafFlags);
  const stats = fstatSync(fd);
  const code: PathRefusalCode | undefined = !stats.isFile()
    ? "not-a-file"
    : stats.nlink !== 1
    ? "hard-link"
    : stats.dev !== device
    ? "other-device"
    : undefined;
  if (code === undefined) return { fd, stats };
  closeSync(fd);
  throw new PathRefused({ code, path });
}

/** A file under its temporary name, and its directory. */
interface Aside {
  readonly fd: number;
  readonly commit: Effect.Effect<void, PathError>;
  readonly abandon: Effect.Effect<void>;
}

/** Never opens an existing name for writing: through a hard link that would empty a file elsewhere. */
function beginAside(reach: Reach, path: string, nextName: () => string): Aside {
  const parts = Result.getOrThrowWith(parsePath(path), (refused) => refused);
  const leaf = parts.at(-1) as string;
  const held = reach.hold(parts.slice(0, -1), true);
  let committed = false;
  try {
    const { fd, aside } = createExclusive(held, reach, nextName);
    return {
      fd,
      commit: Effect.uninterruptible(Effect.suspend(() =>
        committed ? Effect.void : Effect.map(
          inPool(path, (done) => renameCallback(held.at(aside), held.at(leaf), done)),
          () => {
            committed = true;
          },
        )
      )),
      // Closed before its name is removed: the last of both frees its blocks, and Deno closes on its loop.
      abandon: Effect.suspend(() => {
        closeSync(fd);
        const removed = inPool(path, (done) => unlinkCallback(held.at(aside), done));
        // The job may have removed it.
        return Effect.ensuring(committed ? Effect.void : Effect.ignore(removed), Effect.sync(() => held.close()));
      }),
    };
  } catch (error) {
    held.close();
    throw error;
  }
}

function createExclusive(
  held: Held,
  { leafFlags, give }: Reach,
  nextName: () => string,
): { fd: number; aside: string } {
  for (let attempts = 1;; attempts++) {
    const aside = nextName();
    try {
      const fd = openSync(held.at(aside), O_WRONLY | O_CREAT | O_EXCL | leafFlags, 0o600);
      try {
        give(fd);
      } catch (error) {
        closeSync(fd);
        throw error;
      }
      return { fd, aside };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST" || attempts >= asideAttemptsMax) throw error;
    }
  }
}

// A read or write under way keeps its descriptor: it is not interrupted, so the descriptor cannot be closed (and its
// number given to another file) beneath it.
function readable(path: string, fd: number, sizeBytes: number): ReadableFile {
  return {
    fd,
    sizeBytes,
    read: (into, position) =>
      Effect.uninterruptible(Effect.callback((resume) => {
        readCallback(fd, into, 0, into.length, position, (error, count) => {
          resume(error === null ? Effect.succeed(count) : Effect.fail(failed(path, error)));
        });
      })),
  };
}

function writable(path: string, aside: Aside): WritableFile {
  let position = 0;
  const writeFrom = (bytes: Uint8Array): Effect.Effect<void, WorkFileFailed> =>
    bytes.length === 0 ? Effect.void : Effect.flatMap(
      Effect.uninterruptible(Effect.callback<number, WorkFileFailed>((resume) => {
        writeCallback(aside.fd, bytes, 0, bytes.length, position, (error, count) => {
          resume(error === null ? Effect.succeed(count) : Effect.fail(failed(path, error)));
        });
      })),
      (count) => {
        position += count;
        return writeFrom(bytes.subarray(count));
      },
    );
  return { fd: aside.fd, write: writeFrom, commit: aside.commit };
}
