/**
 * A copy of the tree in which defects are planted: the tree itself has no switch for any of them.
 *
 * @module
 */
import { cpSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A piece of a production file, found exactly once, and its replacement. */
export interface Patch {
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** A copy of what a node or a simulation needs; the packages are shared. */
export function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), "hypha-planted-"));
  for (const room of ["actors", "pki", "transport", "scripts"]) {
    cpSync(join(root, room), join(copy, room), { recursive: true });
  }
  for (const file of ["package.json", "deno.json", "mod.ts"]) cpSync(join(root, file), join(copy, file));
  symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  return copy;
}

/** Applies a patch; its text must stand in the file exactly once. */
export function plant(copy: string, { file, find, replace }: Patch): string | undefined {
  const path = join(copy, file);
  const parts = readFileSync(path, "utf8").split(find);
  if (parts.length !== 2) return `the patch does not apply: ${parts.length - 1} places in ${file}`;
  writeFileSync(path, parts.join(replace));
  return undefined;
}
