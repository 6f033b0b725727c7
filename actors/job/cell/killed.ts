/**
 * What may have killed a job's executor, in words for its scheduler and its operator, where no limit is known to have ended it.
 *
 * @module
 */
import { cpus } from "node:os";
import type { ExecutorExit } from "../process.ts";
import type { AssignedCell } from "./assign.ts";
import { isGrouped } from "./cell.ts";
import { readProcessorSeconds } from "./cgroup.ts";

/** Shells and bubblewrap report SIGKILL, 9, so. */
const killedCode = 128 + 9;

/**
 * Names what may have killed an executor that no limit is known to have ended; undefined where it was not killed, or has no processor
 * time limit that it can have reached. The kernel kills a process that goes on after the signal for this limit, and counts that nowhere;
 * neither runtime reports the processor time of a process that ended. It was at most what its job's control group counted, and at most
 * the time that it lasted on each processor.
 */
export function describeKill(exit: ExecutorExit, { cell, config, cgroupProcs }: AssignedCell): string | undefined {
  const { cpuSeconds } = config, lastedSeconds = (exit.lastedMs ?? Infinity) / 1_000;
  const isKilled = exit.signal === "SIGKILL" || exit.code === killedCode;
  if (!isKilled || cell.chain === "none" || cpuSeconds === undefined) return undefined;
  if (Math.min(lastedSeconds * cpus().length, readProcessorSeconds(cgroupProcs)) < cpuSeconds) return undefined;
  // A control group counts the processes that the kernel ends for want of memory.
  const memory = isGrouped(cell, "memory") ? "" : "for want of memory on the machine, or ";
  return `killed (SIGKILL), probably by the processor time limit of ${cpuSeconds} s for one process, else ${memory}` +
    "by another program or an operator";
}
