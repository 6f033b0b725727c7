/**
 * The identity of a process. Process numbers are reused, so a process is identified by boot, number and start time.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";

/** A process, until the machine restarts. Boot and start are empty where there is no `/proc` (macOS). */
export interface ProcessIdentity {
  readonly bootId: string;
  readonly pid: number;
  /** Clock ticks from boot to the process's start. */
  readonly startTime: string;
}

/** The identity of a running process; `undefined` where no process has that number. */
export function identifyProcess(pid: number): ProcessIdentity | undefined {
  const bootId = readOrEmpty("/proc/sys/kernel/random/boot_id").trim();
  if (bootId === "") return exists(pid) ? { bootId, pid, startTime: "" } : undefined;
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  // The command's name may hold spaces and parentheses: fields are counted after the last `)`. Field 22 is the start;
  // field 3 is the state, and a zombie no longer runs.
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

/** Signal 0 checks for the process; EPERM means that it exists and belongs to another user. */
function exists(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
