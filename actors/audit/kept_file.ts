/**
 * A file that stays open from one write to the next, for as long as it is the one at its path.
 *
 * To open and close it for each write are two more calls on the thread pool: on Node a third of the processor time of a batch of records.
 *
 * @module
 */
import { constants, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";

/**
 * Deno writes at a place of a file on its event loop, which must not wait for the disk: it syncs afterwards, on the thread pool. Node does
 * both there in one call, which takes a quarter less processor time than two.
 */
const syncsAfterwards = "Deno" in globalThis;
const flags = constants.O_WRONLY | constants.O_CREAT | (syncsAfterwards ? 0 : constants.O_DSYNC);
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
        await writeAndSync(this.#kept.file, bytes, offset);
        if (isAt(path, this.#kept)) return;
        await this.#open(path);
      }
      await writeAndSync(this.#kept!.file, bytes, offset);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #open(path: string): Promise<void> {
    await this.close();
    const file = await open(path, flags, mode);
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
  const file = await open(path, flags, mode);
  try {
    await writeAndSync(file, bytes, offset);
  } finally {
    await file.close();
  }
}

async function writeAndSync(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten;
  }
  if (syncsAfterwards) await file.datasync();
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
