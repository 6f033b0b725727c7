/**
 * In which cell the demo's executors run: what this machine allows, found before the workers are told.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { describeCell, isConfined } from "../../actors/job/cell/cell.ts";
import { findCell } from "../../actors/job/cell/find_cell.ts";
import { makePorts } from "../program/ports.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** What the training executor is made of: it may read that, and nothing else of this tree. */
const parts = ["scripts", "actors", "transport", "pki", "node_modules", "package.json", "deno.json"];

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

/** Finds the strongest cell of this machine; why there is no stronger one stands in `logs/cell.log` of the demo's folder. */
export async function chooseCell(folder: string): Promise<DemoCell> {
  const readOnly = parts.map((part) => join(root, part));
  const config = { ...cellDefault, readOnly };
  const ports = makePorts(() => {});
  const cell = await Effect.runPromise(findCell({ ports, config, workDir: join(folder, "cell") }));
  await ports.dispose();
  mkdirSync(join(folder, "logs"), { recursive: true, mode: 0o700 });
  writeFileSync(join(folder, "logs", "cell.log"), cell.notes.map((note) => `${note}\n`).join(""));
  if (isConfined(cell)) return { table: { read_only: readOnly }, said: describeCell(cell) };
  return {
    table: { read_only: readOnly, allow_unconfined: true },
    said: `${describeCell(cell)}. Nothing confines them, which is allowed because they are the demo's own. ` +
      "Install bubblewrap 0.8 or newer to see them confined",
  };
}
