/**
 * The thread that copies a register while it is in use: Deno copies in one piece, in whatever thread asks for it.
 *
 * @module
 */
import { closeSync, existsSync, fsyncSync, linkSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { backup, DatabaseSync } from "node:sqlite";
import { parentPort } from "node:worker_threads";
import { syncFolderNow } from "../files/sync_folder.ts";

/** What the thread is asked. */
export interface BackupWork {
  readonly source: string;
  /** A file that is not there. */
  readonly target: string;
}

/** Its answer. */
export type BackupMessage = { readonly type: "done" } | {
  readonly type: "failed";
  readonly message: string;
  readonly errcode?: number;
};

/** Pages of one step: all. Between two steps the register changes, and SQLite would begin again. */
const rate = 2 ** 31 - 1;

/** Copies to a file aside, which gets its name when it is whole: who is killed meanwhile leaves no file that looks like a backup. */
async function copy({ source, target }: BackupWork): Promise<BackupMessage> {
  const part = `${target}.part`;
  let database: DatabaseSync | undefined;
  try {
    removePart(part);
    closeSync(openSync(part, "wx", 0o600));
    database = new DatabaseSync(source, { readOnly: true });
    await backup(database, part, { rate });
    sync(part);
    giveName(part, target);
    return { type: "done" };
  } catch (error) {
    const { message, errcode } = error as Error & { readonly errcode?: number };
    return { type: "failed", message, ...(errcode === undefined ? {} : { errcode }) };
  } finally {
    database?.close();
    removePart(part);
  }
}

/** SQLite's own file goes with it: it would be played into the next one. */
function removePart(part: string): void {
  for (const ending of ["", "-journal"]) rmSync(`${part}${ending}`, { force: true });
}

function sync(file: string): void {
  const open = openSync(file, "r+");
  try {
    fsyncSync(open);
  } finally {
    closeSync(open);
  }
}

/** A hard link is the one move that fails where the name is taken. Folders without links get a rename after a look. */
function giveName(part: string, target: string): void {
  try {
    linkSync(part, target);
  } catch (error) {
    if (existsSync(target)) throw error;
    renameSync(part, target);
  }
  syncFolderNow(dirname(target));
}

parentPort?.on("message", (work: BackupWork) => void copy(work).then((message) => parentPort?.postMessage(message)));
