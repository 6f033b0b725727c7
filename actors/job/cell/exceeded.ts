/**
 * The limit that a job reached, in words for its scheduler and its operator.
 *
 * @module
 */
import { statfsSync } from "node:fs";
import type { ExecutorExit } from "../process.ts";
import type { AssignedCell } from "./assign.ts";
import type { CellConfig } from "./bounds.ts";
import { isGrouped } from "./cell.ts";
import { readReached } from "./cgroup.ts";

/** Kinds of limits. */
export type Limit = "memory" | "pids" | "cpu" | "fileSize" | "disk" | "inodes" | "unmeasured" | "openFiles" | "wall";

/** Whether a job is killed without a grace when it is found over a limit: it could go on writing for as long. */
export function isKilledAtOnce(limit: Limit): boolean {
  return limit === "disk" || limit === "inodes" || limit === "unmeasured";
}

/** The signals that the kernel sends for a limit, with their numbers. Shells and bubblewrap report 128 more as a code. */
const signals: readonly { readonly name: string; readonly number: number; readonly limit: Limit }[] = [
  { name: "SIGXCPU", number: 24, limit: "cpu" },
  { name: "SIGXFSZ", number: 25, limit: "fileSize" },
];

/** Errors that programs print where the kernel counts nothing. */
const printed: readonly { readonly text: RegExp; readonly limit: Limit }[] = [
  { text: /Too many open files|EMFILE/, limit: "openFiles" },
  { text: /File too large|EFBIG/, limit: "fileSize" },
];
/** As the C library, Python and numpy, Node, C++ and PyTorch say it. */
const printedMemory =
  /(?:Cannot|can't|Unable to|Failed to) allocate|ENOMEM|MemoryError|out of memory|allocation failed|bad_alloc|not enough memory/i;

/** Names a limit: `memory limit of 2 GiB reached`. */
export function describeLimit(limit: Limit, config: CellConfig): string {
  switch (limit) {
    case "memory":
      return `memory limit of ${sizeText(config.memoryBytes)} reached`;
    case "pids":
      return `limit of ${config.pidsMax} processes and threads reached`;
    case "cpu":
      return `processor time limit of ${config.cpuSeconds} s for one process reached`;
    case "fileSize":
      return `file size limit of ${sizeText(config.diskBytes)} reached`;
    case "disk":
      return `storage limit of ${sizeText(config.diskBytes)} reached`;
    case "inodes":
      return `storage limit of ${config.inodesMax} files reached`;
    case "unmeasured":
      return `storage limit of ${sizeText(config.diskBytes)} reached: part of the job's files cannot be measured`;
    case "openFiles":
      return `limit of ${config.openFilesMax} open files for one process reached`;
    case "wall":
      return `run time limit of ${config.wallSeconds} s reached`;
  }
}

/**
 * The limit that ended an executor; undefined where none is known. Reads the counters of the job's control groups and its full
 * file system, so the caller keeps both until then.
 *
 * @param path The work directory.
 */
export function exceededLimit(exit: ExecutorExit, cell: AssignedCell, path: string): Limit | undefined {
  if (exit.code === 0) return undefined;
  const signal = signals.find((each) => endedBy(exit, each));
  if (signal !== undefined) return signal.limit;
  const reached = readReached(cell.cgroupProcs);
  if (reached.memory > 0) return "memory";
  const full = cell.disk === undefined ? undefined : fullOf(path);
  if (full !== undefined) return full;
  if (reached.pids > 0) return "pids";
  if (!isGrouped(cell.cell, "memory") && printedMemory.test(exit.tail)) return "memory";
  return printed.find(({ text }) => text.test(exit.tail))?.limit;
}

/** A size in the unit that needs no fraction: leases are in GB, configurations mostly in multiples of 1,024. */
export function sizeText(bytes: number): string {
  const units: readonly [name: string, bytes: number][] = [
    ["GiB", 1024 ** 3],
    ["GB", 1e9],
    ["MiB", 1024 ** 2],
    ["MB", 1e6],
    ["KiB", 1024],
  ];
  const [name, unit] = units.find(([, unit]) => bytes % unit === 0) ?? ["bytes", 1];
  return `${bytes / unit} ${name}`;
}

function endedBy({ code, signal }: ExecutorExit, { name, number }: { readonly name: string; readonly number: number }) {
  return signal === name || code === 128 + number;
}

/** Whether a file system has no room or no names left. */
function fullOf(path: string): Limit | undefined {
  try {
    const { bfree, ffree } = statfsSync(path);
    return bfree === 0 ? "disk" : ffree === 0 ? "inodes" : undefined;
  } catch {
    return undefined;
  }
}
