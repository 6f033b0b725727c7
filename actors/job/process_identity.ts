/**
 * Which process a number stands for: numbers come back, so a process is known by its boot, its number and when it began.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";

/** A process, for as long as the machine runs. Boot and start are empty where there is no `/proc` (macOS). */
export interface ProcessIdentity {
  readonly bootId: string;
  readonly pid: number;
  /** Clock ticks from boot to the process's start. */
  readonly startTime: string;
}

/** The identity of a running process; `undefined` when there is none of that number. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  const bootId = readOrEmpty("/proc/sys/kernel/random/boot_id").trim();
  if (bootId === "") return exists(pid) ? { bootId, pid, startTime: "" } : undefined;
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  // The command's name may hold spaces and parentheses: fields are counted after the last `)`. Field 22 is the start;
  // field 3 the state, and a zombie runs no more.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const startTime = fields[19];
  if (stat === "" || startTime === undefined || fields[0] === "Z" || fields[0] === "X") return undefined;
  return { bootId, pid, startTime };
}

/** Whether exactly that process still runs. */
export function isAlive(identity: ProcessIdentity): boolean {
  const now = identifyProcess(identity.pid);
  return now !== undefined && now.bootId === identity.bootId && now.startTime === identity.startTime;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** Signal 0 asks whether there is such a process; EPERM says there is, someone else's. */
function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
