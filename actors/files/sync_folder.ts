/**
 * Syncing a folder.
 *
 * @module
 */
import { closeSync, fsyncSync, openSync } from "node:fs";

/** Makes a new name in a folder last through a power cut where the file system can; not every one lets a folder be synced. */
export function syncFolderNow(dir: string): void {
  const folder = openSync(dir, "r");
  try {
    fsyncSync(folder);
  } catch {
    // The file itself is synced.
  } finally {
    closeSync(folder);
  }
}
