/**
 * A file that stays open from one write to the next, for as long as it is the one at its path.
 *
 * To open and close it for each write are two more calls on the thread pool: on Node a third of the processor time of a batch of records.
 *
 * @module
 */
import { constants, statSync, write } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/** A write is on disk when it returns: one call, where a write and a sync are two on the thread pool. */
const syncedFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_DSYNC;
const mode = 0o600;

interface Kept {
  readonly path: string;
  readonly file: FileHandle;
  readonly dev: number;
  readonly ino: number;
}

/** Writes to one file at a time. A write begins when the one before has ended. */
export class KeptFile {
  #kept: Kept | undefined;

  /**
   * Writes bytes at a place of a file and syncs them. Where the file is no longer the one at its path, they are written to that one, which
   * is made if need be. Rejects with the system's error.
   */
  async write(path: string, bytes: Uint8Array, offset: number): Promise<void> {
    try {
      if (this.#kept?.path !== path) await this.#open(path);
      else {
        await writeWhole(this.#kept.file, bytes, offset);
        if (isAt(path, this.#kept)) return;
        await this.#open(path);
      }
      await writeWhole(this.#kept!.file, bytes, offset);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #open(path: string): Promise<void> {
    await this.close();
    const file = await open(path, syncedFlags, mode);
    try {
      const { dev, ino } = await file.stat();
      this.#kept = { path, file, dev, ino };
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** The next write opens its file. */
  async close(): Promise<void> {
    const file = this.#kept?.file;
    this.#kept = undefined;
    // What it has is synced: an error says nothing about it.
    await file?.close().catch(() => {});
  }
}

/** Writes bytes at a place of a file and syncs them. Rejects with the system's error. */
export async function writeSynced(path: string, bytes: Uint8Array, offset: number): Promise<void> {
  const file = await open(path, syncedFlags, mode);
  try {
    await writeWhole(file, bytes, offset);
  } finally {
    await file.close();
  }
}

async function writeWhole(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += await writeSome(file, bytes, { from: done, at: offset + done });
  }
}

/** `file.write()` does the same, and takes 0.15 ms more processor time on Deno. Resolves to how many bytes were written. */
function writeSome(
  { fd }: FileHandle,
  bytes: Uint8Array,
  { from, at }: { readonly from: number; readonly at: number },
): Promise<number> {
  return new Promise((resolve, reject) => {
    const done = (error: Error | null, written: number) => error ? reject(error) : resolve(written);
    write(fd, bytes, from, bytes.length - from, at, done);
  });
}

/**
 * Whether a file is the one at a path. On the thread pool this would cost six times as much. The file is open and has just been written, so a
 * local disk is not waited for; the server of a file system on a network may be asked.
 */
function isAt(path: string, { dev, ino }: Pick<Kept, "dev" | "ino">): boolean {
  try {
    const there = statSync(path, { throwIfNoEntry: false });
    return there?.dev === dev && there.ino === ino;
  } catch {
    return false; // to open it has the reason
  }
}
