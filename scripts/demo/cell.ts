/**
 * In which cell the demo's executors run: what this machine allows, found before the workers are told.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { cellRefusal, describeCell, isConfined } from "../../actors/job/cell/cell.ts";
import { findCell } from "../../actors/job/cell/find_cell.ts";
import { makePorts } from "../program/ports.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What the training executor is made of: it may read that, and nothing else of this tree. */
const parts = ["scripts", "actors", "transport", "pki", "node_modules", "package.json"];

/** `[cell]` of the demo's workers, and what is said of it. */
export interface DemoCell {
  readonly table: Readonly<Record<string, unknown>>;
  readonly said: string;
}

/** Takes away what killed workers left mounted in the demo's folder: jobs' directories are file systems of their own. */
export function unmountAll(folder: string): void {
  const table = existsSync("/proc/self/mounts") ? readFileSync("/proc/self/mounts", "utf8") : "";
  for (const line of table.split("\n")) {
    const [, at = ""] = line.split(" ");
    if (at.startsWith(`${folder}/`)) spawnSync("umount", ["--lazy", at], { stdio: "ignore" });
  }
}

/** @param workDir A folder in which directories for jobs can be made. */
export async function chooseCell(workDir: string): Promise<DemoCell> {
  const readOnly = parts.map((part) => join(root, part));
  const config = { ...cellDefault, readOnly };
  const ports = makePorts(() => {});
  const cell = await Effect.runPromise(findCell({ ports, config, workDir }));
  await ports.dispose();
  if (isConfined(cell)) return { table: { read_only: readOnly }, said: describeCell(cell) };
  return {
    table: { read_only: readOnly, allow_unconfined: true },
    said: `${describeCell(cell)}. Allowed here because the executor is the demo's own; otherwise: ${
      cellRefusal(cell, config)
    }`,
  };
}
