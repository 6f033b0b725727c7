/**
 * The preparation of a worker before it takes jobs: it locks its directory, sweeps the left-overs of dead workers, and finds the
 * cell in which it can start executors.
 *
 * @module
 */
import { join, resolve } from "node:path";
import { Effect, type Scope } from "effect";
import type { Resources } from "../../../transport/protocols/messages.ts";
import type { CellSettings } from "../../config/cell_config.ts";
import type { ExecutorConfig } from "../../config/config.ts";
import type { Ports } from "../../runtime/ports.ts";
import { sweepDigestCache } from "../../files/digest_cache.ts";
import { pathReach } from "../../files/path_reach.ts";
import { type SweepResult, trySweep } from "../sweep.ts";
import { jobCell } from "./bounds.ts";
import type { Cell } from "./cell.ts";
import { findCell } from "./find_cell.ts";
import { type TriedGpus, tryGpus } from "./gpus.ts";
import { lockWorkDir, type WorkDirLocked } from "./lock.ts";
import { type TriedExecutors, tryExecutors } from "./try_executors.ts";
import { shellWord } from "../../files/shell_word.ts";

/** The result of the preparation. */
export interface PreparedWorker extends SweepResult {
  /** Absent in a simulation. */
  readonly cell?: Cell;
  /** Executors that cannot be started in the cell, and those that may miss a file in it; absent with the cell. */
  readonly executors?: TriedExecutors;
  /** The GPUs that jobs can use; absent with the cell. */
  readonly gpus?: TriedGpus;
}

/** Reports how paths of jobs are walked here. The way is chosen once, for the worker's whole life. */
function reportPaths(ports: Pick<Ports, "report">): void {
  try {
    const paths = pathReach();
    ports.report({
      level: paths === "descriptors" ? "debug" : "warn",
      event: "worker.paths",
      message: paths === "descriptors"
        ? "Paths of jobs are walked through directory descriptors"
        : "There is no /proc/self/fd: paths of jobs are opened whole, following no link, and renamed by name",
      fields: { paths },
    });
  } catch (error) {
    ports.report({
      level: "error",
      event: "worker.paths",
      message: `Every job will be refused: ${(error as Error).message}`,
    });
  }
}

/** The directory of the files that jobs of a worker share. */
export function cachePathOf(workDir: string): string {
  return join(resolve(workDir), "cache");
}

function sweepCache(ports: Pick<Ports, "report">, path: string, cacheBytes: number): void {
  const unused = sweepDigestCache(path, cacheBytes);
  if (unused === undefined) return;
  ports.report({
    level: "warn",
    event: "worker.cache",
    message: `Keeps no files of the hub: ${unused}. Remove it, or close it with: chmod 700 ${shellWord(path)}`,
  });
}

/** Prepares a worker; its directory stays locked until the scope closes. */
export function prepareWorker(
  { ports, workDir, cacheBytes, settings, resources, executors }: {
    readonly ports: Pick<Ports, "uuid" | "now" | "report">;
    readonly workDir: string;
    /** Size of the files that jobs share. */
    readonly cacheBytes: number;
    readonly settings: CellSettings;
    /** What the worker offers. */
    readonly resources: Resources;
    readonly executors: readonly ExecutorConfig[];
  },
): Effect.Effect<PreparedWorker, WorkDirLocked, Scope.Scope> {
  return Effect.gen(function* () {
    const lock = yield* lockWorkDir(workDir);
    if (lock === "no-flock") {
      ports.report({
        level: "warn",
        event: "worker.unlocked",
        message: `There is no flock program: nothing keeps a second worker away from ${workDir}`,
      });
    }
    reportPaths(ports);
    sweepCache(ports, cachePathOf(workDir), cacheBytes);
    const swept = yield* trySweep(workDir, { isLocked: lock === "locked" });
    const cell = yield* findCell({ ports, config: jobCell(settings, resources), workDir });
    const gpus = yield* tryGpus(cell, { ports, workDir }, settings);
    const tried = yield* tryExecutors(cell, { ports, workDir }, { settings, executors });
    return { ...swept, cell, gpus, executors: tried };
  });
}
