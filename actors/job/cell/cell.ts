/**
 * A cell: the confinement that this machine allows. A worker finds it once, when it starts, and starts every executor in it.
 *
 * @module
 */
import { type CellLevel, cellLevels, type CellSettings } from "../../config/cell_config.ts";

/** The confinement that this machine allows a worker. */
export interface Cell {
  readonly level: CellLevel;
  /** Whether each job runs as a user of its own; the worker is root then, and no executor is. */
  readonly user: "per-job" | "own";
  /** Control groups under which jobs get their own; none where they are not writable. */
  readonly cgroups: readonly CgroupParent[];
  /** Whether a work directory can be a file system of its own, with a hard limit. Else it is measured (`watch.ts`). */
  readonly disk: "file-system" | "measured";
  /** Whether the system's tools for limits are here; `none` starts executors as they are, in a process group. */
  readonly chain: "whole" | "none";
  /** Why each stronger level is not possible, one line a level. */
  readonly notes: readonly string[];
}

/** A directory in which a job's control group is made, and the limits that are set in it. */
export interface CgroupParent {
  readonly path: string;
  readonly limits: readonly CgroupLimit[];
}

/** A file of a control group, and what is written into it: the job's memory, its processes, 0, or 1. */
export interface CgroupLimit {
  readonly file: string;
  readonly of: "memory" | "pids" | "none" | "all";
}

/** Whether control groups limit the memory, or the processes, of a job as a whole. */
export function isGrouped({ cgroups }: Cell, what: "memory" | "pids"): boolean {
  return cgroups.some(({ limits }) => limits.some(({ of }) => of === what));
}

/** Whether `level` separates at least as well as `least`. */
export function isAtLeast(level: CellLevel, least: CellLevel): boolean {
  return cellLevels.indexOf(level) >= cellLevels.indexOf(least);
}

/** Whether an executor in such a cell can neither see nor change the worker's files and processes. */
export function isConfined({ level, user }: Cell): boolean {
  return isAtLeast(level, "root") || (level === "namespaces" && user === "per-job");
}

/**
 * Whether executors may be started in this cell.
 *
 * @returns Why not, for the operator; undefined where they may.
 */
export function cellRefusal(cell: Cell, config: Pick<CellSettings, "level" | "allowUnconfined">): string | undefined {
  if (!isAtLeast(cell.level, config.level)) {
    return `executors would run at cell level ${cell.level}, and [cell] level asks for ${config.level}${because(cell)}`;
  }
  if (isConfined(cell) || config.allowUnconfined) return undefined;
  return `nothing would confine its executor (cell level ${cell.level}${
    cell.user === "own" ? ", the worker's own user" : ""
  }): install bubblewrap 0.8 or newer, or set [cell] allow_unconfined = true for executors of your own${because(cell)}`;
}

/** The cell in one sentence, for the log. */
export function describeCell(cell: Cell): string {
  const user = cell.user === "per-job" ? "a user of its own for each job" : "the worker's own user";
  const groups = cell.cgroups.length > 0 ? "control groups" : "no control groups";
  const disk = cell.disk === "file-system"
    ? "small work directories are file systems of their own"
    : "disk use measured";
  return `Executors run at cell level ${cell.level}: ${user}, ${groups}, ${disk}`;
}

function because({ notes }: Cell): string {
  return notes.length === 0 ? "" : ` (${notes.join("; ")})`;
}
