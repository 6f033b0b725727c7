/**
 * Control groups: limits for an executor together with its child processes. Used where the worker may make groups. The mounted
 * version and the available controllers are probed.
 *
 * @module
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { Effect, type Scope } from "effect";
import type { CellConfig } from "./bounds.ts";
import type { Cell, CgroupLimit, CgroupParent } from "./cell.ts";

/** Where groups may be: version 2 alone, version 2 beside version 1, version 1 by controller. */
const hierarchies: readonly { readonly mount: string; readonly controller: string }[] = [
  { mount: "/sys/fs/cgroup", controller: "" },
  { mount: "/sys/fs/cgroup/unified", controller: "" },
  { mount: "/sys/fs/cgroup/memory", controller: "memory" },
  { mount: "/sys/fs/cgroup/pids", controller: "pids" },
];
const limitFiles: CgroupParent["limits"] = [
  { file: "memory.max", of: "memory" },
  { file: "memory.limit_in_bytes", of: "memory" },
  { file: "memory.memsw.limit_in_bytes", of: "memory" },
  { file: "memory.swap.max", of: "none" },
  { file: "memory.oom.group", of: "all" },
  { file: "pids.max", of: "pids" },
];
/** Tries of removing a group, and the pause between two: a group is busy until its last process is reaped. */
const removalAttemptsMax = 50, removalPauseMs = 20;

/** Finds where groups with limits can be made, by making one. */
export function findCgroups(uuid: string): readonly CgroupParent[] {
  const found: CgroupParent[] = [];
  for (const hierarchy of hierarchies) {
    for (const path of parentsIn(hierarchy)) {
      const limits = tryGroup(path, `hypha-${uuid}`);
      if (limits.length === 0) continue;
      found.push({ path, limits });
      break;
    }
  }
  return found;
}

/** Makes a job's groups. Closing the scope kills their processes and removes them. */
export function makeCgroups(
  cell: Cell,
  config: CellConfig,
  name: string,
): Effect.Effect<readonly string[], Error, Scope.Scope> {
  const paths = cell.cgroups.map(({ path }) => join(path, name));
  return Effect.acquireRelease(
    Effect.try({
      try: () => {
        cell.cgroups.forEach(({ limits }, index) => {
          const path = paths[index] as string;
          mkdirSync(path);
          for (const { file, of } of limits) writeFileSync(join(path, file), String(valueOf(of, config)));
        });
        return paths.map((path) => join(path, "cgroup.procs"));
      },
      catch: (error) => error as Error,
    }),
    () => Effect.ignore(removeCgroups(name)),
  );
}

/** A file system in memory counts as memory of the job that writes to it. */
function valueOf(of: CgroupLimit["of"], { memoryBytes, diskBytes, disk, pidsMax }: CellConfig): number {
  switch (of) {
    case "memory":
      return memoryBytes + (disk === "memory" ? diskBytes : 0);
    case "pids":
      return pidsMax;
    case "none":
      return 0;
    case "all":
      return 1;
  }
}

/** Counters of limits that a job's processes reached, by kind. */
export interface Reached {
  /** Processes that the kernel ended for want of memory. */
  readonly memory: number;
  /** Processes and threads that were not started. */
  readonly pids: number;
}

/** The places of the counters in a group: version 2 and version 1. */
const counters: readonly { readonly file: string; readonly of: keyof Reached; readonly line: RegExp }[] = [
  { file: "memory.events", of: "memory", line: /^oom_kill (\d+)$/m },
  { file: "memory.oom_control", of: "memory", line: /^oom_kill (\d+)$/m },
  { file: "pids.events", of: "pids", line: /^max (\d+)$/m },
];

/** Reads the counters of a job's groups. */
export function readReached(cgroupProcs: readonly string[]): Reached {
  const reached = { memory: 0, pids: 0 };
  for (const path of cgroupProcs.map((procs) => dirname(procs))) {
    for (const { file, of, line } of counters) {
      try {
        reached[of] += Number(line.exec(readFileSync(join(path, file), "utf8"))?.[1] ?? 0);
      } catch { /* this group has no such counter */ }
    }
  }
  return reached;
}

/** Seconds of processor time that a job's processes used together; infinite where no group of it counts them: only version 2 does. */
export function readProcessorSeconds(cgroupProcs: readonly string[]): number {
  for (const path of cgroupProcs.map((procs) => dirname(procs))) {
    try {
      const used = /^usage_usec (\d+)$/m.exec(readFileSync(join(path, "cpu.stat"), "utf8"))?.[1];
      if (used !== undefined) return Number(used) / 1e6;
    } catch { /* this group has no such counter */ }
  }
  return Infinity;
}

/** Kills the processes in a job's groups and removes the groups, if there are any. */
export function removeCgroups(name: string): Effect.Effect<void, Error> {
  const paths = parents().map((path) => join(path, name)).filter((path) => existsSync(path));
  const attempt = Effect.try({
    try: () => {
      for (const path of paths) {
        endAll(path);
        if (existsSync(path)) rmdirSync(path);
      }
    },
    catch: (error) => error as Error,
  });
  const again = (left: number): Effect.Effect<void, Error> =>
    Effect.catch(
      attempt,
      (error) =>
        left <= 1
          ? Effect.fail(error)
          : Effect.andThen(Effect.sleep(removalPauseMs), Effect.suspend(() => again(left - 1))),
    );
  return again(removalAttemptsMax);
}

function endAll(path: string): void {
  for (const pid of readFileSync(join(path, "cgroup.procs"), "utf8").split("\n")) {
    try {
      if (Number(pid) > 1) process.kill(Number(pid), "SIGKILL");
    } catch { /* it ended meanwhile */ }
  }
}

function parents(): readonly string[] {
  return [...new Set(hierarchies.flatMap(parentsIn))];
}

function parentsIn({ mount, controller }: { readonly mount: string; readonly controller: string }): readonly string[] {
  return [join(mount, ownGroup(controller)), mount];
}

/** The limits that a new group under `parent` has; none where it cannot be made. */
function tryGroup(parent: string, name: string): CgroupParent["limits"] {
  const path = join(parent, name);
  try {
    mkdirSync(path);
  } catch {
    return [];
  }
  try {
    const limits = limitFiles.filter(({ file }) => existsSync(join(path, file)));
    return limits.some(({ of }) => of === "memory" || of === "pids") ? limits : [];
  } finally {
    rmdirSync(path);
  }
}

/** This process's own group in a hierarchy: of version 2 where `controller` is empty. */
function ownGroup(controller: string): string {
  try {
    const lines = readFileSync("/proc/self/cgroup", "utf8").trim().split("\n").map((line) => line.split(":"));
    return lines.find(([, controllers = ""]) => controllers.split(",").includes(controller))?.[2] ?? "/";
  } catch {
    return "/";
  }
}
