/**
 * How directories inside a job's work directory are reached: each is opened through the descriptor of the one above it, or, where there
 * is no `/proc/self/fd` (macOS), in one open of its whole path that follows no link. `contained_files.ts` says why.
 *
 * @module
 */
import { closeSync, constants, existsSync, fchownSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** Linux's O_PATH, which `fs.constants` lacks on both runtimes; the same number on x64 and arm64. */
export const openPathOnly = 0x200000;
/** Darwin's O_NOFOLLOW_ANY. */
const noFollowAny = 0x20000000;

const { O_RDONLY, O_NOFOLLOW, O_DIRECTORY } = constants;

/** A directory inside the work directory, held open while something in it is named. */
export interface Held {
  at(name: string): string;
  /** Opens a directory in it, which is closed for itself. */
  enter(name: string): Held;
  close(): void;
}

/** How names are reached: chosen once, at start. */
export interface Reach {
  readonly leafFlags: number;
  /** Gives what was just made to the job's user, by its descriptor. */
  give(fd: number): void;
  hold(parts: readonly string[], create: boolean): Held;
}

/** How paths are walked here: through descriptors, or, on macOS, each in one open that follows no link. */
export type PathReach = "descriptors" | "single-open";

let reachHere: PathReach | undefined;

/**
 * How paths are walked on this machine: looked at once, and the same ever after. Linux without `/proc/self/fd` has no safe
 * way (its kernel knows no `O_NOFOLLOW_ANY` and would ignore it): nothing is opened there.
 */
export function pathReach(): PathReach {
  reachHere ??= existsSync("/proc/self/fd/.")
    ? "descriptors"
    : process.platform === "darwin"
    ? "single-open"
    : undefined;
  if (reachHere === undefined) {
    throw new Error("there is no /proc/self/fd to walk paths by: mount /proc; under Deno, run the worker with -A");
  }
  return reachHere;
}

/** Linux: every directory through the descriptor of the one above. */
export function descriptorWalk(root: { readonly fd: number }, user: number | undefined): Reach {
  const give = (fd: number) => {
    if (user !== undefined) fchownSync(fd, user, user);
  };
  return {
    leafFlags: O_NOFOLLOW,
    give,
    hold(parts, create) {
      let held = heldBy(root, () => {/* the root stays open */});
      try {
        for (const part of parts) {
          if (create && makeIfMissing(held.at(part))) giveDirectory(held.at(part), give);
          const next = held.enter(part);
          held.close();
          held = next;
        }
      } catch (error) {
        held.close();
        throw error;
      }
      return held;
    },
  };
}

function heldBy(directory: { readonly fd: number }, close: () => void): Held {
  const at = (name: string) => `/proc/self/fd/${directory.fd}/${name}`;
  return {
    at,
    enter(name) {
      const fd = openSync(at(name), openPathOnly | O_DIRECTORY | O_NOFOLLOW);
      return heldBy({ fd }, () => closeSync(fd));
    },
    close,
  };
}

/** macOS: one open of the whole path that follows no link anywhere. */
export function singleOpen(root: string): Reach {
  return {
    leafFlags: noFollowAny,
    give: () => {/* jobs have no user of their own there */},
    hold(parts, create) {
      let directory = root;
      for (const part of parts) {
        directory = join(directory, part);
        if (create) makeIfMissing(directory);
      }
      return heldAt(directory);
    },
  };
}

function heldAt(directory: string): Held {
  const fd = openSync(directory, O_RDONLY | O_DIRECTORY | noFollowAny);
  const at = (name: string) => join(directory, name);
  return { at, enter: (name) => heldAt(at(name)), close: () => closeSync(fd) };
}

/** The job may replace the entry at any time: the opened descriptor is returned, and it is a directory. */
function giveDirectory(at: string, give: Reach["give"]): void {
  const fd = openSync(at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
  try {
    give(fd);
  } finally {
    closeSync(fd);
  }
}

/** @returns Whether it was missing. */
function makeIfMissing(at: string): boolean {
  try {
    mkdirSync(at, 0o700);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}
