/**
 * The programs as the package has them, for the tests on Node.
 *
 * @module
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import process from "node:process";

/** A folder for them until this process ends: two `npm test` of one clone do not share it. */
export function builtPrograms(): string {
  const cache = resolve("node_modules/.cache/hypha");
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(join(cache, "programs-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
