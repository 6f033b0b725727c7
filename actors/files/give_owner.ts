/**
 * Giving files to another user: a command that root runs writes files that a program's own user has to open.
 *
 * @module
 */
import { closeSync, constants, fchownSync, fstatSync, openSync } from "node:fs";

/** A user and a group, by number. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/**
 * Gives a file that this program has just made an owner and a group. Where this user may not, it stays this user's: only root may
 * give another owner, others may give a group that they are in.
 */
export function giveOwner(path: string, { uid, gid }: Owner): void {
  const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  ignoring(() => {
    const file = openSync(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    try {
      const own = fstatSync(file);
      // The folder's owner may have put a link to a file of root in its place.
      if (!own.isFile() || own.nlink !== 1) return;
      if (own.gid !== gid) ignoring(() => fchownSync(file, own.uid, gid));
      if (own.uid !== uid) fchownSync(file, uid, gid);
    } finally {
      closeSync(file);
    }
  });
}

function ignoring(act: () => void): void {
  try {
    act();
  } catch {
    // Not permitted, or a file system without owners.
  }
}
