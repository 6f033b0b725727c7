/**
 * Files that appear whole or not at all: written aside in their own folder, synced, then moved into place.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { dirname } from "node:path";
import { Data, Effect, Option } from "effect";
import { type File, FileSystem } from "effect/FileSystem";
import { Path } from "effect/Path";
import type { PlatformError } from "effect/PlatformError";
import * as Random from "effect/Random";
import { deniedByDeno } from "./denied.ts";
import { fileProblem } from "./file_problem.ts";
import { giveOwner } from "./give_owner.ts";
import { isThere } from "./is_there.ts";
import { signatureOf } from "./read_whole.ts";

/** One file to write. */
export interface OutputFile {
  readonly path: string;
  readonly content: string | Uint8Array;
  /**
   * Permission bits from the first byte on, less the umask. 0o644 when absent; keys want 0o600. Users who could read a file can
   * read what replaces it, which has its owner and group where this user may give them, unless these bits are its owner's alone.
   */
  readonly mode?: number;
  /** A file whose owner, group and readers this file gets where it replaces none, or where its bits are its owner's alone. */
  readonly accessAs?: string;
  /** What happens where this file exists already; overrides the option of all files. */
  readonly existing?: ExistingFiles;
}

/** A file that replaces one that looks so (`signatureOf`); where another program replaced that one since, it is not written. */
export interface ReplacingFile extends OutputFile {
  readonly before: string;
}

/** What becomes of files that are there already: `keep` refuses to write any of them. */
export type ExistingFiles = "keep" | "replace";

/** A file could not be written; none of the files given along with it was. */
export class FileNotWritten extends Data.TaggedError("FileNotWritten")<{
  readonly path: string;
  readonly problem: "exists" | "missing-folder" | "not-permitted" | "other";
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot write ${this.path}: ${this.detail}`;
  }
}

/**
 * Writes several files, all or none. Readers see the old content or the new, never a part; with `keep`, two writers of one
 * path cannot both succeed. A file that a symbolic link names takes the link's place.
 *
 * A crash of the machine between two moves can leave some of the files new and others old; each of them is whole.
 *
 * @param files What to write; their folders must exist.
 */
export function writeWhole(
  files: readonly OutputFile[],
  existing: ExistingFiles,
): Effect.Effect<void, FileNotWritten, FileSystem | Path> {
  return writeAll(files, existing, () => {});
}

/**
 * As {@linkcode writeWhole}, in place of files that are there.
 *
 * @param announce Told what each file will look like (`signatureOf`), by its path, right before the first is moved into place: a watcher
 * of the folder knows it then. Another program's file in its place looks different.
 */
export function replaceWhole(
  files: readonly ReplacingFile[],
  announce: (signatures: ReadonlyMap<string, string>) => void,
): Effect.Effect<void, FileNotWritten, FileSystem | Path> {
  return writeAll(files, "replace", announce);
}

function writeAll(
  files: readonly (OutputFile & Partial<ReplacingFile>)[],
  existing: ExistingFiles,
  announce: (signatures: ReadonlyMap<string, string>) => void,
): Effect.Effect<void, FileNotWritten, FileSystem | Path> {
  return Effect.scoped(Effect.gen(function* () {
    const models: (File.Info | undefined)[] = [];
    for (const file of files) models.push(yield* checkTarget(file, file.existing ?? existing));
    const aside: Aside[] = [];
    for (const [index, file] of files.entries()) aside.push(yield* writeAside(file, existing, models[index]));
    const signatures = new Map<string, string>();
    for (const { path, temporary } of aside) signatures.set(path, yield* signatureOf(temporary));
    announce(signatures);
    yield* Effect.uninterruptible(moveAll(aside));
  }));
}

/** A file under a temporary name: `temporary` is removed when the scope ends. */
interface Aside {
  readonly path: string;
  readonly folder: string;
  readonly temporary: string;
  readonly existing: ExistingFiles;
  readonly before: string | undefined;
}

const statOf = (path: string) =>
  Effect.flatMap(FileSystem, (files) => Effect.catch(files.stat(path), () => Effect.succeed(undefined)));

/** Fails where a file may not take this path: a move would replace a device or a pipe. Gives the file that is there. */
export const checkPath = Effect.fnUntraced(function* (path: string, existing: ExistingFiles) {
  const there = yield* statOf(path);
  if (there !== undefined && existing === "keep") {
    yield* Effect.fail(new FileNotWritten({ path, problem: "exists", detail: "it is there" }));
  }
  if (there !== undefined && there.type !== "File") {
    yield* Effect.fail(
      new FileNotWritten({ path, problem: "other", detail: `it is no file but a ${nameOfType(there.type)}` }),
    );
  }
  return there;
});

/** Refuses before anything is written; the move checks again. Gives the file whose owner, group and readers the new one gets. */
const checkTarget = Effect.fnUntraced(function* (file: OutputFile, existing: ExistingFiles) {
  const { path, accessAs } = file;
  const there = yield* checkPath(path, existing);
  if (there !== undefined && !isOwnersAlone(file)) return there;
  return accessAs === undefined ? undefined : yield* statOf(accessAs);
});

const isOwnersAlone = ({ mode = 0o644 }: OutputFile) => (mode & 0o077) === 0;

/** `CharacterDevice` as two words. */
function nameOfType(type: string): string {
  return type.replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
}

const writeAside = Effect.fnUntraced(function* (
  file: OutputFile & Partial<ReplacingFile>,
  existing: ExistingFiles,
  model: File.Info | undefined,
) {
  const files = yield* FileSystem;
  const paths = yield* Path;
  const folder = paths.dirname(file.path);
  const mark = (yield* Random.nextIntBetween(0, Number.MAX_SAFE_INTEGER)).toString(36);
  const temporary = paths.join(folder, `.${paths.basename(file.path)}.${mark}.tmp`);
  const content = typeof file.content === "string" ? Buffer.from(file.content, "utf8") : file.content;
  const write = Effect.gen(function* () {
    const handle = yield* files.open(temporary, { flag: "wx", mode: file.mode ?? 0o644 });
    yield* Effect.addFinalizer(() => Effect.ignore(files.remove(temporary, { force: true })));
    if (model !== undefined) yield* giveAccess(temporary, model, isOwnersAlone(file) ? 0 : model.mode & 0o044);
    yield* handle.writeAll(content);
    yield* handle.sync;
  });
  yield* Effect.mapError(write, (error) => notWritten(file.path, error));
  const { path, before } = file;
  return { path, folder, temporary, existing: file.existing ?? existing, before } satisfies Aside;
});

/** Gives a file aside readers, whatever the umask, which is about new files; and the owner and the group of its model. */
const giveAccess = Effect.fnUntraced(function* (temporary: string, { uid, gid }: File.Info, readers: number) {
  const files = yield* FileSystem;
  const made = yield* files.stat(temporary);
  const mode = made.mode & 0o777;
  if ((mode & readers) !== readers) yield* files.chmod(temporary, mode | readers);
  if (Option.isNone(uid) || Option.isNone(gid)) return;
  const owner = { uid: uid.value, gid: gid.value };
  const isGiven = Option.contains(made.uid, owner.uid) && Option.contains(made.gid, owner.gid);
  if (!isGiven) yield* Effect.sync(() => giveOwner(temporary, owner));
});

const moveAll = Effect.fnUntraced(function* (aside: readonly Aside[]) {
  const files = yield* FileSystem;
  const undo: Effect.Effect<void, PlatformError>[] = [];
  for (const each of aside) {
    const move = each.existing === "keep" ? linkNew : replaceOld;
    const moved = Effect.mapError(move(files, each, undo), (error) => notWritten(each.path, error));
    yield* Effect.tapError(
      moved,
      () => Effect.forEach(undo.reverse(), (back) => Effect.ignore(back), { discard: true }),
    );
  }
  for (const folder of new Set(aside.map((each) => each.folder))) yield* syncFolder(files, folder);
});

/** A hard link is the one move that fails where the name is taken. Folders without links get a rename after a look. */
const linkNew = Effect.fnUntraced(
  function* (files: FileSystem, { temporary, path }: Aside, undo: Effect.Effect<void, PlatformError>[]) {
    yield* Effect.catch(
      files.link(temporary, path),
      (error) =>
        error.reason._tag === "AlreadyExists" || error.reason._tag === "NotFound"
          ? Effect.fail(error)
          : Effect.flatMap(Effect.provideService(isThere(path), FileSystem, files), (there) =>
            there ? Effect.fail(error) : files.rename(temporary, path)),
    );
    undo.push(files.remove(path, { force: true }));
  },
);

/** Keeps the old file under a second name until all are moved. */
const replaceOld = Effect.fnUntraced(
  function* (files: FileSystem, { temporary, path, before }: Aside, undo: Effect.Effect<void, PlatformError>[]) {
    const kept = `${temporary}.old`;
    const old = yield* Effect.match(files.link(path, kept), {
      onSuccess: () => "kept" as const,
      onFailure: (error) => error.reason._tag === "NotFound" ? "none" as const : "lost" as const,
    });
    yield* Effect.addFinalizer(() => Effect.ignore(files.remove(kept, { force: true })));
    const looks = before === undefined ? before : yield* Effect.provideService(signatureOf(path), FileSystem, files);
    if (looks !== before) return;
    yield* files.rename(temporary, path);
    if (old === "kept") undo.push(files.rename(kept, path));
    if (old === "none") undo.push(files.remove(path, { force: true }));
  },
);

/** Makes the moves last through a power cut where the file system can; not every one lets a folder be synced. */
export const syncFolder = (files: FileSystem, folder: string) =>
  Effect.ignore(Effect.scoped(Effect.flatMap(files.open(folder, { flag: "r" }), (handle) => handle.sync)));

/** The failure of writing the file at `path`. */
export function notWritten(path: string, error: PlatformError): FileNotWritten {
  if (deniedByDeno(error) !== undefined) {
    // What it names is the file aside, whose name is another each time.
    const folder = dirname(path);
    const detail = `Deno does not allow its folder: add --allow-write=${folder} and --allow-read=${folder}`;
    return new FileNotWritten({ path, problem: "not-permitted", detail });
  }
  switch (error.reason._tag) {
    case "AlreadyExists":
      return new FileNotWritten({ path, problem: "exists", detail: "it is there" });
    case "NotFound":
      return new FileNotWritten({ path, problem: "missing-folder", detail: "its folder is missing" });
    case "PermissionDenied":
      return new FileNotWritten({ path, problem: "not-permitted", detail: "its folder may not be written" });
    default:
      return new FileNotWritten({ path, problem: "other", detail: fileProblem(error) });
  }
}
