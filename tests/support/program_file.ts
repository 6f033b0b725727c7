/**
 * The file that a test starts as a program.
 *
 * @module
 */
import { existsSync } from "node:fs";
import { basename, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

/**
 * On Node, the program as the package has it, where `npm test` built the programs (`BUILT_PROGRAMS` names their folder): it starts in a
 * third of the time, and is what users of Node start. Otherwise its source.
 */
export function programFile(script: string | URL): string {
  const path = typeof script === "string" ? script : fileURLToPath(script);
  const folder = process.env["BUILT_PROGRAMS"];
  if (folder === undefined || "Deno" in globalThis) return path;
  const built = join(folder, basename(path).replace(/\.ts$/, ".js"));
  return existsSync(built) ? built : path;
}
