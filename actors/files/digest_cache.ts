/**
 * Files by the digest of their content, kept between jobs. Only the worker reads and writes them: a job gets a copy.
 *
 * An entry is written to a temporary file, and renamed when its digest is the one that it is stored under. A reader checks the digest
 * again, so that a file that was changed on disk is never used. When the cache is full, the entries that were not used for longest are
 * removed. Entries that are being written have the same bound once more: an entry makes room when it is whole.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { constants, lstatSync, mkdirSync, readdirSync, renameSync, rmSync, type Stats, utimesSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Effect, type Scope } from "effect";
import { FreeSpace } from "./free_space.ts";
import { isOwn } from "./own_status.ts";

/** An entry that is open for reading. */
export interface CachedFile {
  readonly sizeBytes: number;
  readonly pieces: AsyncIterator<Uint8Array>;
}

/** An entry that is being written. */
export interface CacheWriter {
  /** Removes the entry where it cannot be written, or is longer than announced: a cache may always have nothing. */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void>;
  /** Keeps the entry if its content has the digest. */
  readonly commit: Effect.Effect<void>;
}

/** A directory of entries. */
export interface DigestCache {
  /** Opens an entry; undefined where there is none. */
  readonly find: (sha256: string) => Effect.Effect<CachedFile | undefined, never, Scope.Scope>;
  /**
   * Begins an entry of so many bytes. It is dropped with the scope unless it was committed. Undefined where it finds no room: in the
   * cache, with those that are being written, or on the disk, which the job's copy needs too; or where it is being written already.
   */
  readonly begin: (sha256: string, sizeBytes: number) => Effect.Effect<CacheWriter | undefined, never, Scope.Scope>;
  /** Removes an entry whose content turned out to be wrong. */
  readonly drop: (sha256: string) => Effect.Effect<void>;
}

const digestName = /^[0-9a-f]{64}$/;
/** Of an entry that is being written. */
const asideName = /^\.[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** Bytes that are read at once. */
const pieceBytes = 256 * 1024;

/**
 * The cache in a directory, which is made when the first entry is written. It is opened once: the bound of entries in the making holds for
 * those that are begun here.
 *
 * @param init.bytesMax Size of all entries together.
 * @param init.now Milliseconds since the epoch: the entries that were not used for longest are removed first.
 */
export function openDigestCache(
  init: {
    readonly path: string;
    readonly bytesMax: number;
    readonly uuid: () => string;
    readonly now: () => number;
  },
): DigestCache {
  const { path, now } = init;
  const making = new Map<string, number>();
  const pathOf = (sha256: string) => {
    if (!digestName.test(sha256)) throw new TypeError(`Cannot cache ${JSON.stringify(sha256)}: it is no SHA-256`);
    return join(path, sha256);
  };
  return {
    find: (sha256) =>
      Effect.gen(function* () {
        const name = pathOf(sha256);
        if (!isOwnDirectory(path)) return undefined;
        const handle = yield* opened(() => open(name, constants.O_RDONLY | constants.O_NOFOLLOW));
        if (handle === undefined) return undefined;
        const status = yield* quiet(() => handle.stat());
        if (status?.isFile() !== true) return undefined;
        ignoring(() => utimesSync(name, now() / 1_000, now() / 1_000));
        return { sizeBytes: status.size, pieces: piecesOf(handle) };
      }),
    begin: (sha256, sizeBytes) => {
      const target = pathOf(sha256);
      const reserve = () => {
        const makingBytes = [...making.values()].reduce((sum, bytes) => sum + bytes, sizeBytes);
        const isReserved = !making.has(sha256) && makingBytes <= init.bytesMax;
        if (isReserved) making.set(sha256, sizeBytes);
        return isReserved;
      };
      return Effect.gen(function* () {
        const isReserved = yield* Effect.acquireRelease(
          Effect.sync(reserve),
          (held) => Effect.sync(() => void (held && making.delete(sha256))),
        );
        if (!isReserved) return undefined;
        ignoring(() => mkdirSync(path, { recursive: true, mode: 0o700 }));
        if (!isOwnDirectory(path)) return undefined;
        const freeBytes = yield* (yield* FreeSpace)(path);
        if (freeBytes < 2 * sizeBytes) return undefined;
        return yield* beginEntry(init, { target, sha256, announcedBytes: sizeBytes });
      });
    },
    drop: (sha256) => Effect.sync(() => ignoring(() => rmSync(pathOf(sha256), { force: true }))),
  };
}

/**
 * Removes what writers that were killed left behind, and the entries that were not used for longest where all are larger than `bytesMax`:
 * it may have been more before. The caller is the only user of the cache.
 *
 * @returns Why nothing is cached there, where other users can write the directory.
 */
export function sweepDigestCache(path: string, bytesMax: number): string | undefined {
  if (statusOf(path) === undefined) return undefined;
  if (!isOwnDirectory(path)) return `${path} is no directory that only this user can write`;
  ignoring(() => {
    for (const name of readdirSync(path).filter((name) => asideName.test(name))) removeIn(path, name);
    makeRoom(path, bytesMax);
  });
  return undefined;
}

/** Whether `path` is a directory, not a link to one, in which only this process's user can create and remove files. */
function isOwnDirectory(path: string): boolean {
  const stats = statusOf(path);
  return stats?.isDirectory() === true && isOwn(stats);
}

function statusOf(path: string): Stats | undefined {
  try {
    return lstatSync(path);
  } catch {
    return undefined;
  }
}

/** Removes a file, if it can be removed. */
function removeIn(path: string, name: string): void {
  ignoring(() => rmSync(join(path, name), { force: true }));
}

function beginEntry(
  { path, bytesMax, uuid, now }: Parameters<typeof openDigestCache>[0],
  { target, sha256, announcedBytes }: {
    readonly target: string;
    readonly sha256: string;
    readonly announcedBytes: number;
  },
): Effect.Effect<CacheWriter, never, Scope.Scope> {
  return Effect.gen(function* () {
    const aside = join(path, `.${uuid()}`);
    yield* Effect.addFinalizer(() => Effect.sync(() => ignoring(() => rmSync(aside, { force: true }))));
    const handle = yield* opened(() => open(aside, "wx", 0o600));
    const digest = createHash("sha256");
    let sizeBytes = 0, isWanted = handle !== undefined;
    return {
      write: (bytes) =>
        Effect.gen(function* () {
          if (!isWanted || handle === undefined) return;
          sizeBytes += bytes.length;
          digest.update(bytes);
          const written = sizeBytes > announcedBytes ? undefined : yield* quiet(() => handle.writeFile(bytes));
          if (written !== undefined) return;
          isWanted = false;
          yield* quiet(() => handle.close());
          ignoring(() => rmSync(aside, { force: true }));
        }),
      commit: Effect.sync(() => {
        if (!isWanted || digest.digest("hex") !== sha256) return;
        ignoring(() => {
          makeRoom(path, bytesMax - sizeBytes);
          utimesSync(aside, now() / 1_000, now() / 1_000);
          renameSync(aside, target);
        });
      }),
    };
  });
}

/** Removes the entries that were not used for longest, until the others have at most `bytesMax`. */
function makeRoom(path: string, bytesMax: number): void {
  const entries = readdirSync(path).filter((name) => digestName.test(name)).map((name) => {
    const { size, mtimeMs } = lstatSync(join(path, name));
    return { name, size, mtimeMs };
  }).sort((left, right) => right.mtimeMs - left.mtimeMs);
  let total = 0;
  for (const { name, size } of entries) if ((total += size) > bytesMax) removeIn(path, name);
}

async function* piecesOf(handle: FileHandle): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { bytesRead, buffer } = await handle.read(new Uint8Array(pieceBytes), 0, pieceBytes, null);
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

/** Opens a file until the scope closes; undefined where that fails. */
function opened(opening: () => Promise<FileHandle>): Effect.Effect<FileHandle | undefined, never, Scope.Scope> {
  return Effect.acquireRelease(
    quiet(opening),
    (handle) => Effect.asVoid(quiet(async () => await handle?.close())),
  );
}

/** The result; undefined where it fails. `null` stands for a result without a value. */
function quiet<A>(work: () => Promise<A>): Effect.Effect<(A extends void ? null : A) | undefined> {
  return Effect.orElseSucceed(
    Effect.tryPromise(async () => (await work() ?? null) as A extends void ? null : A),
    () => undefined,
  );
}

function ignoring(work: () => void): void {
  try {
    work();
  } catch { /* a cache may always have nothing */ }
}
