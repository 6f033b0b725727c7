/**
 * Files of a simulated disk, and the handles of those that are open.
 *
 * @module
 */
import { Effect, Option } from "effect";
import * as ByteSize from "effect/ByteSize";
import { type File, FileTypeId } from "effect/FileSystem";

/** A call that the simulated disk does not support. It ends the run, because a machine would handle it as a fault of the disk. */
export class NotSimulated extends Error {}

/** A file as it lies on the disk. */
export interface StoredFile {
  readonly bytes: Uint8Array;
  readonly mode: number;
  readonly inode: number;
  readonly changedAt: number;
  readonly readable: boolean;
}

const nothing = Option.none();

const infos = new WeakMap<StoredFile, File.Info>();

/** The result of `stat` for a file. */
export function infoOf(file: StoredFile): File.Info {
  const known = infos.get(file);
  if (known !== undefined) return known;
  const info = makeInfo(file);
  infos.set(file, info);
  return info;
}

function makeInfo({ bytes, mode, inode, changedAt }: StoredFile): File.Info {
  return {
    ...folderInfo,
    type: "File",
    mtime: Option.some(new Date(changedAt)),
    ino: Option.some(BigInt(inode)),
    mode: 0o100000 | mode,
    size: ByteSize.bytes(bytes.length),
  };
}

/** The result of `stat` for a folder. */
export const folderInfo: File.Info = {
  type: "Directory",
  mtime: nothing,
  atime: nothing,
  birthtime: nothing,
  dev: 1n,
  ino: nothing,
  mode: 0o40700,
  nlink: nothing,
  uid: nothing,
  gid: nothing,
  rdev: nothing,
  size: ByteSize.bytes(0),
  blksize: nothing,
  blocks: nothing,
};

/** The content of a folder, which has none. */
export const noFile: StoredFile = { bytes: new Uint8Array(0), mode: 0, inode: 0, changedAt: 0, readable: true };

/** An open file; `now` gives its content, which is that of its opening where nothing is written through it. */
export function handleOf(now: () => StoredFile, sync: () => void): File {
  let position = 0;
  const unused = () => Effect.die(new NotSimulated("Cannot do this on a simulated disk"));
  return {
    [FileTypeId]: FileTypeId,
    stat: Effect.sync(() => infoOf(now())),
    sync: Effect.sync(sync),
    readAlloc: (size) =>
      Effect.sync(() => {
        const piece = now().bytes.slice(position, position + Number(size));
        position += piece.length;
        return piece.length === 0 ? Option.none() : Option.some(piece);
      }),
    read: (into, options) =>
      Effect.sync(() => {
        const from = options?.position === undefined ? position : Number(options.position);
        const piece = now().bytes.subarray(from, from + into.length);
        into.set(piece);
        if (options?.position === undefined) position += piece.length;
        return piece.length;
      }),
    seek: (offset) => Effect.sync(() => BigInt(position = Number(offset))),
    truncate: unused,
    write: unused,
    writeAll: unused,
  };
}
