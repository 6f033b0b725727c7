/**
 * Which test files run one after the other in one process: loading the modules takes longer than most of them.
 *
 * @module
 */
import { existsSync, readFileSync } from "node:fs";
import { posix } from "node:path";

/** Files of one process. */
const filesMax = 12;

/** What concerns a whole process, or starts others: a file that has it, or imports it from tests or scripts, runs alone. */
const ofProcess =
  /child_process|worker_threads|process\.(chdir|env\b|exit|on\(|umask|title)|\bgc\b|globalThis|memoryUsage|console\.\w+ =/;
const imported = /(?:from|import)\s*\(?"(\.[^"]+)"/g;

/**
 * Puts files into groups, each for one process: those of one folder together, others alone.
 *
 * @param files Paths below the root, with forward slashes.
 * @param alone Files that are not grouped whatever they have.
 */
export function groupFiles(
  files: readonly string[],
  alone: (file: string) => boolean,
  textOf: (path: string) => string | undefined = textBelow,
): readonly (readonly string[])[] {
  const known = new Map<string, boolean>();
  const groups: string[][] = [];
  const open = new Map<string, string[]>();
  for (const file of files) {
    const folder = posix.dirname(file);
    const group = open.get(folder);
    if (alone(file) || !isSharable(file, textOf, known)) groups.push([file]);
    else if (group !== undefined && group.length < filesMax) group.push(file);
    else {
      const begun = [file];
      groups.push(begun);
      open.set(folder, begun);
    }
  }
  return groups;
}

function textBelow(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** Whether neither a file nor what it imports of tests and scripts concerns the whole process. */
function isSharable(file: string, textOf: (path: string) => string | undefined, known: Map<string, boolean>): boolean {
  const before = known.get(file);
  if (before !== undefined) return before;
  known.set(file, true); // in a circle, the others decide
  const text = textOf(file);
  if (text === undefined) return true; // named in a text, not imported
  const imports = [...text.matchAll(imported)].map(([, path = ""]) => posix.join(posix.dirname(file), path));
  const sharable = !ofProcess.test(text) &&
    imports.filter((path) => /^(tests|scripts)\//.test(path)).every((path) => isSharable(path, textOf, known));
  known.set(file, sharable);
  return sharable;
}
