/**
 * Tries, at a worker's start, the devices of `[[cell.gpu]]` as a job would use them.
 *
 * @module
 */
import { statSync } from "node:fs";
import process from "node:process";
import { Effect, Result } from "effect";
import type { CellSettings } from "../../config/cell_config.ts";
import { type CellConfig, jobCell } from "./bounds.ts";
import type { Cell } from "./cell.ts";
import { type CellSearch, tryInCell } from "./find_cell.ts";

/** The GPUs that jobs can use, and why the others cannot be used. */
export interface TriedGpus {
  /** Indices of `[[cell.gpu]]`. */
  readonly usable: readonly number[];
  /** A line for each GPU that cannot be used, with the command that may help. */
  readonly problems: readonly string[];
}

/** Opens each device for reading and writing, and stops at the first that cannot be opened. */
const openAll = 'for device in "$@"; do : <> "$device"; done';

/** Tries each GPU of a worker in its cell. */
export function tryGpus(
  cell: Cell,
  search: Omit<CellSearch, "config" | "levels">,
  settings: CellSettings,
): Effect.Effect<TriedGpus> {
  return Effect.gen(function* () {
    const usable: number[] = [], problems: string[] = [];
    for (const index of settings.gpu.keys()) {
      const config = jobCell(settings, { memory: 0, storage: 0 }, [index]);
      const problem = missingDevice(config) ?? (yield* unopened(cell, { ...search, config }));
      if (problem === undefined) usable.push(index);
      else problems.push(`GPU ${index} of [[cell.gpu]]: ${problem}`);
    }
    return { usable, problems };
  });
}

function unopened(cell: Cell, search: Omit<CellSearch, "levels">): Effect.Effect<string | undefined> {
  const { devices } = search.config;
  return Effect.map(
    Effect.result(tryInCell(cell, search, { script: openAll, args: devices })),
    (tried) => {
      if (Result.isSuccess(tried)) return undefined;
      const device = devices.find((path) => tried.failure.includes(path)) ?? devices.join(" ");
      return `a job cannot open ${device} (${tried.failure.slice(0, 200)}); let it: ${permit(cell, device)}`;
    },
  );
}

/** Jobs with users of their own belong to no group: only the permissions for others count. */
function permit({ user }: Cell, device: string): string {
  return user === "per-job" ? `chmod o+rw ${device}` : `setfacl -m u:${process.getuid?.()}:rw ${device}`;
}

function missingDevice({ devices }: CellConfig): string | undefined {
  const missing = devices.find((path) => !isDevice(path));
  if (missing === undefined) return undefined;
  const hint = missing.startsWith("/dev/nvidia") ? "; its driver may make it: nvidia-modprobe -u -c=0" : "";
  return `${missing} is no device${hint}`;
}

function isDevice(path: string): boolean {
  try {
    const status = statSync(path);
    return status.isCharacterDevice() || status.isBlockDevice();
  } catch {
    return false;
  }
}
