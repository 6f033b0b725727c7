/**
 * The processor time of this process and of those that it started (Linux): what a machine had to do, however busy it is.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** The kernel counts in hundredths of a second on every architecture that Node and Deno run on (`USER_HZ`). */
const tickMs = 10;

/** What the kernel says of a process. */
export interface ProcessStats {
  /** Its session. */
  readonly session: number;
  /** Processor time of the process and of its children that it has waited for, in milliseconds. */
  readonly timeMs: number;
}

/**
 * Milliseconds of processor time so far: of this process, of its children that have ended, and of those that run, with theirs.
 *
 * @param children Process ids of those that run.
 */
export function processorMs(children: readonly number[]): number {
  return ["self", ...children].reduce<number>((sum, pid) => sum + (statsOf(pid)?.timeMs ?? 0), 0);
}

/** Reads `/proc/PID/stat` (proc_pid_stat(5), fields 6 and 14 to 17); undefined where the process has ended. */
export function statsOf(pid: number | string): ProcessStats | undefined {
  try {
    // The name, in parentheses, may hold anything.
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8").replace(/^.*\) /s, "").split(" ");
    const timeMs = fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * tickMs, 0);
    return { session: Number(fields[3]), timeMs };
  } catch {
    return undefined;
  }
}
