/**
 * The processor time of this process and of those that it started (Linux): what a machine had to do, however busy it is.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** The kernel counts in hundredths of a second on every architecture that Node and Deno run on (`USER_HZ`). */
const tickMs = 10;

/**
 * Milliseconds of processor time so far: of this process, of its children that have ended, and of those that run, with theirs.
 *
 * @param children Process ids of those that run.
 */
export function processorMs(children: readonly number[]): number {
  return ["self", ...children].map((pid) => timesOf(`/proc/${pid}/stat`)).reduce((sum, each) => sum + each, 0);
}

/** User and system time of a process and of its children that it has waited for (proc(5), fields 14 to 17). */
export function timesOf(path: string): number {
  try {
    // The name, in parentheses, may hold anything.
    const fields = readFileSync(path, "utf8").replace(/^.*\) /s, "").split(" ");
    return fields.slice(11, 15).reduce((sum, ticks) => sum + Number(ticks) * tickMs, 0);
  } catch {
    return 0; // It has ended: its parent counts it.
  }
}
