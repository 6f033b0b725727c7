/**
 * The thread that copies a register while it is in use: Deno copies in one piece, in whatever thread asks for it.
 *
 * @module
 */
import { backup, DatabaseSync } from "node:sqlite";
import { parentPort } from "node:worker_threads";

/** What the thread is asked. */
export interface BackupWork {
  readonly source: string;
  /** An empty file. */
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

async function copy({ source, target }: BackupWork): Promise<BackupMessage> {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(source, { readOnly: true });
    await backup(database, target, { rate });
    return { type: "done" };
  } catch (error) {
    const { message, errcode } = error as Error & { readonly errcode?: number };
    return { type: "failed", message, ...(errcode === undefined ? {} : { errcode }) };
  } finally {
    database?.close();
  }
}

parentPort?.on("message", (work: BackupWork) => void copy(work).then((message) => parentPort?.postMessage(message)));
