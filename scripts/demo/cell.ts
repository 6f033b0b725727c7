/**
 * The cell of the demo's executors: the strongest level of this machine, found before the workers start.
 *
 * @module
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Effect } from "effect";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { jobCell } from "../../actors/job/cell/bounds.ts";
import { type Cell, describeCell, isConfined } from "../../actors/job/cell/cell.ts";
import { findCell } from "../../actors/job/cell/find_cell.ts";
import { hasOwnRoot } from "../../actors/job/cell/command_line.ts";
import { makePorts } from "../program/ports.ts";
import { BrokenPromise } from "./broken_promise.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** The files of the executors. They may read no other file of this tree. */
const parts = ["scripts", "actors", "transport", "pki", "node_modules", "package.json", "deno.json"];

/** `[cell]` of the demo's workers and of its scheduler, and its description. */
interface DemoCell {
  readonly table: Readonly<Record<string, unknown>>;
  readonly description: string;
}

/** Bytes of a socket's path that an executor can connect to: Deno takes 107, Node one more. */
const socketPathBytesMax = 107;
/** The path of a job's socket below the demo's folder. */
const socketPathBytes = "/work/worker-1/hypha-00000000-0000-0000-0000-000000000000/bridge.sock".length;

/**
 * Checks that executors can connect to the sockets of their jobs: in a cell without its own root the path of a
 * socket begins with the demo's folder and may be too long.
 */
export function checkSocketPaths(folder: string, cell: Cell): void {
  const over = new TextEncoder().encode(folder).length + socketPathBytes - socketPathBytesMax;
  if (over <= 0 || hasOwnRoot(cell)) return;
  throw new BrokenPromise(
    `the path ${folder} is ${over} bytes too long for sockets below it: set TMPDIR to a shorter one, such as /tmp`,
  );
}

/**
 * Finds the strongest cell of this machine. `logs/cell.log` of the demo's folder gives the reason why no stronger one works.
 *
 * @param further Folders that executors read, apart from this tree.
 */
export async function chooseCell(folder: string, further: readonly string[] = []): Promise<DemoCell> {
  const readOnly = [...parts.map((part) => join(root, part)), ...further];
  const config = jobCell({ ...cellDefault, readOnly }, { memory: 1, storage: 1 });
  const ports = makePorts(() => {});
  const cell = await Effect.runPromise(findCell({ ports, config, workDir: join(folder, "cell") }));
  await ports.dispose();
  checkSocketPaths(folder, cell);
  mkdirSync(join(folder, "logs"), { recursive: true, mode: 0o700 });
  writeFileSync(join(folder, "logs", "cell.log"), cell.notes.map((note) => `${note}\n`).join(""));
  if (isConfined(cell)) return { table: { read_only: readOnly }, description: describeCell(cell) };
  return {
    table: { read_only: readOnly, allow_unconfined: true },
    description: `${describeCell(cell)}. Nothing confines them, which is allowed because they are the demo's own. ` +
      "Install bubblewrap 0.8 or newer to see them confined",
  };
}
