/**
 * A simulated disk: the part of Effect's `FileSystem` that a node's actors use, over files in memory, with the faults of
 * real disks.
 *
 * @module
 */
import { Effect, Option, Queue, Stream } from "effect";
import { type File, FileSystem, makeNoop, type OpenFlag, type WatchEvent } from "effect/FileSystem";
import { systemError, type SystemErrorTag } from "effect/PlatformError";
import type { RandomStream } from "../runtime/random.ts";
import { DurableFiles } from "./durable_files.ts";
import { folderInfo, handleOf, infoOf, noFile, NotSimulated, type StoredFile } from "./open_file.ts";

/** Watchers of one disk at once. */
export const watchersMax = 64;

/** Most that is read of a file as text. */
const textBytesMax = 1_048_576;

/** What a disk is made with. */
export interface DiskOptions {
  /** Milliseconds since the epoch, for times of change. */
  readonly now: () => number;
  /** How long the next open of a file takes, in milliseconds. */
  readonly openDelayMs: () => number;
}

/** One node's disk. It outlives the node's process. */
export class Disk {
  #files = new Map<string, StoredFile>();
  readonly #durable = new DurableFiles<StoredFile>();
  readonly #folders = new Set<string>();
  readonly #watchers = new Map<number, { readonly folder: string; readonly touched: () => void }>();
  readonly #options: DiskOptions;
  #inodes = 1;
  #watches = 0;
  /** Writing fails. */
  full = false;
  /** Sees each rename; one that throws ends the process that renames there. */
  moved: (to: string) => void = () => {};
  /** Sees each write, sync and rename of a process; one that throws ends the process. */
  acted: () => void = () => {};
  /** Watchers get no events, as on some file systems. */
  silent = false;
  readonly service: FileSystem;

  constructor(options: DiskOptions) {
    this.#options = options;
    this.service = makeNoop({
      stat: (path) => this.#stat(path),
      lstat: (path) => this.#stat(path),
      exists: (path) => Effect.sync(() => this.#files.has(path) || this.#isFolder(path)),
      readFileString: (path) => this.#readText(path),
      open: (path, { flag = "r", mode } = {}) => this.#openBy(path, flag, mode),
      makeDirectory: (path) => this.#write("makeDirectory", path, () => void this.#folders.add(path)),
      rename: (from, to) => this.#move("rename", from, to),
      link: (from, to) => this.#move("link", from, to),
      remove: (path) => Effect.sync(() => this.#unlink(path)),
      readDirectory: (path) => this.#list(path),
      watch: (path, options) => this.#watch(path, options?.onReady),
    } as Partial<FileSystem>);
  }

  /** The number of files. */
  get size(): number {
    return this.#files.size;
  }

  /** Paths of all files. */
  get paths(): readonly string[] {
    return [...this.#files.keys()];
  }

  read(path: string): Uint8Array | undefined {
    return this.#files.get(path)?.bytes;
  }

  /** An operator replaces a file whole, as a rename does; it survives a loss of power. Returns whether there was room. */
  put(path: string, content: string | Uint8Array, mode = 0o600): boolean {
    if (this.full) return false;
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    this.#durable.keep(path, this.#store(path, bytes, mode));
    return true;
  }

  #store(path: string, bytes: Uint8Array, mode: number): StoredFile {
    const file = { bytes, mode, inode: this.#inodes++, changedAt: this.#options.now(), readable: true };
    this.#files.set(path, file);
    this.#touched(path);
    return file;
  }

  /** The power is lost: of what was not synced an arbitrary part survives. */
  losePower(random: RandomStream): void {
    const cut = (file: StoredFile, length: number) => ({ ...file, bytes: file.bytes.slice(0, length) });
    this.#files = this.#durable.lose(this.#files, cut, random);
  }

  /** Changes a file in place, on the medium too. */
  #alter(path: string, change: Partial<StoredFile>): void {
    const file = this.#files.get(path);
    if (file === undefined) return;
    const altered = { ...file, ...change };
    this.#files.set(path, altered);
    this.#durable.keep(path, altered);
    this.#touched(path);
  }

  /** Truncates a file, as a power cut during a write does. */
  tear(path: string, keep: number): void {
    const { bytes } = this.#files.get(path) ?? { bytes: new Uint8Array(0) };
    this.#alter(path, { bytes: bytes.subarray(0, Math.floor(bytes.length * keep)), changedAt: this.#options.now() });
  }

  /** Takes the permission to read a file away, or gives it back. */
  setReadable(path: string, readable: boolean): void {
    this.#alter(path, { readable });
  }

  /** An operator removes a file, on the medium too. */
  remove(path: string): void {
    this.#durable.forget(path);
    this.#unlink(path);
  }

  #unlink(path: string): void {
    if (this.#files.delete(path)) this.#touched(path);
  }

  #touched(path: string): void {
    if (this.silent) return;
    for (const { folder, touched } of this.#watchers.values()) if (path.startsWith(folder)) touched();
  }

  /** The bytes of a file that survive a loss of power for certain; undefined where part of them, or its name, may be lost. */
  durable(path: string): Uint8Array | undefined {
    return this.#durable.whole(path)?.bytes;
  }

  /** Writes, where there is room. */
  #write<A>(method: string, path: string, write: () => A) {
    return Effect.suspend(() => {
      if (this.full) return failed("Unknown", method, path);
      return Effect.sync(() => this.#noted(write()));
    });
  }

  /** What a process did to the medium, or before it, is done. */
  #noted<A>(done: A): A {
    this.acted();
    return done;
  }

  #synced(file: StoredFile): void {
    this.#durable.syncContent(file);
    this.acted();
  }

  #move(method: "rename" | "link", from: string, to: string) {
    return Effect.suspend(() => {
      const file = this.#files.get(from);
      if (file === undefined) return failed("NotFound", method, from);
      if (method === "link" && this.#files.has(to)) return failed("AlreadyExists", method, to);
      if (method === "rename") this.#files.delete(from);
      this.#files.set(to, file);
      this.#touched(to);
      this.moved(to);
      this.acted();
      return Effect.void;
    });
  }

  #openBy(path: string, flag: OpenFlag, mode: number | undefined) {
    switch (flag) {
      case "r":
        return this.#open(path);
      case "wx":
        return this.#create(path, mode);
      case "w":
      case "r+":
      case "a":
      case "a+":
        return this.#change(path, flag, mode);
      default:
        return Effect.die(new NotSimulated(`Cannot open ${path} on a simulated disk: it does not know flag ${flag}`));
    }
  }

  /** A new file; the content of each write appears when it ends. */
  #create(path: string, mode = 0o644) {
    return Effect.suspend(() => {
      if (this.#files.has(path)) return failed("AlreadyExists", "open", path);
      return this.#write("open", path, () => {
        let file = this.#store(path, new Uint8Array(0), mode);
        const handle = handleOf(() => file, () => this.#synced(file));
        const pieces: Uint8Array[] = [];
        const write = (bytes: Uint8Array) =>
          this.#write("write", path, () => {
            pieces.push(bytes.slice());
            file = this.#store(path, joined(pieces), mode);
          });
        return { ...handle, writeAll: write };
      });
    });
  }

  /** A file that is written anew, from some place on, or at its end. */
  #change(path: string, flag: "w" | "r+" | "a" | "a+", mode = 0o644) {
    return Effect.suspend(() => {
      const before = this.#files.get(path);
      if (flag === "r+" && before === undefined) return failed("NotFound", "open", path);
      if (flag.endsWith("+") && before?.readable === false) return failed("PermissionDenied", "open", path);
      return this.#write("open", path, () => {
        let file = flag !== "w" && before !== undefined ? before : this.#store(path, new Uint8Array(0), mode);
        const put = (content: Uint8Array) =>
          this.#write("write", path, () => {
            const after = this.#store(path, content, before?.mode ?? mode);
            this.#durable.follow(file, after);
            file = after;
          });
        return {
          ...handleOf(() => file, () => this.#synced(file)),
          truncate: (length = 0) => put(file.bytes.slice(0, Number(length))),
          seek: (offset: bigint) => Effect.succeed(offset),
          writeAll: (more: Uint8Array) => put(Uint8Array.from([...file.bytes, ...more])),
        } as File;
      });
    });
  }

  #isFolder(path: string): boolean {
    if (this.#folders.has(path)) return true;
    const folder = `${path}/`;
    for (const name of this.#files.keys()) if (name.startsWith(folder)) return true;
    return false;
  }

  #stat(path: string) {
    return Effect.suspend(() => {
      const file = this.#files.get(path);
      if (file !== undefined) return Effect.succeed(infoOf(file));
      return this.#isFolder(path) ? Effect.succeed(folderInfo) : failed("NotFound", "stat", path);
    });
  }

  #open(path: string) {
    return Effect.suspend(() => {
      const delayMs = this.#options.openDelayMs();
      const open = Effect.suspend(() => {
        const file = this.#files.get(path);
        if (file === undefined) {
          return this.#isFolder(path) ? Effect.succeed(this.#folderHandle(path)) : failed("NotFound", "open", path);
        }
        const sync = () => this.#synced(file);
        return file.readable ? Effect.succeed(handleOf(() => file, sync)) : failed("PermissionDenied", "open", path);
      });
      return delayMs > 0 ? Effect.delay(open, delayMs) : open;
    });
  }

  /** Of an open folder, which can be synced. */
  #folderHandle(path: string): File {
    const unread = failed("BadResource", "read", path);
    return {
      ...handleOf(() => noFile, () => {
        this.#durable.syncFolder(path, this.#files);
        this.acted();
      }),
      stat: Effect.succeed(folderInfo),
      read: () => unread,
      readAlloc: () => unread,
    };
  }

  #readText(path: string) {
    return Effect.flatMap(
      this.#open(path),
      (file) =>
        Effect.map(
          file.readAlloc(textBytesMax),
          (bytes) => new TextDecoder().decode(Option.getOrElse(bytes, () => new Uint8Array(0))),
        ),
    );
  }

  #list(path: string) {
    return Effect.suspend(() => {
      const folder = `${path}/`;
      const names = [...this.#files.keys()].filter((name) => name.startsWith(folder)).map((name) =>
        name.slice(folder.length).split("/")[0] as string
      );
      return names.length === 0 && !this.#folders.has(path)
        ? failed("NotFound", "readDirectory", path)
        : Effect.succeed([...new Set(names)]);
    });
  }

  #watch(folder: string, onReady: (() => void) | undefined): Stream.Stream<WatchEvent> {
    return Stream.callback<WatchEvent>((queue) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          const id = this.#watches++;
          if (this.#watchers.size >= watchersMax) throw new RangeError(`Cannot watch ${folder}: too many watchers`);
          const touched = () => void Queue.offerUnsafe(queue, { _tag: "Update", path: folder } as WatchEvent);
          this.#watchers.set(id, { folder: `${folder}/`, touched });
          onReady?.();
          return id;
        }),
        (id) => Effect.sync(() => this.#watchers.delete(id)),
      )
    );
  }

  /** The node's process ended, and with it what watched. */
  forgetWatchers(): void {
    this.#watchers.clear();
  }
}

function joined(pieces: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

function failed(tag: SystemErrorTag, method: string, path: string) {
  return Effect.fail(systemError({ _tag: tag, module: "FileSystem", method, pathOrDescriptor: path }));
}
