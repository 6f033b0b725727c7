/**
 * One job's part of its worker's cell: a user, control groups, a size for its directory. Held as long as the job lives.
 *
 * @module
 */
import { Effect, type Scope } from "effect";
import { WorkFileFailed } from "../../files/path_refused.ts";
import type { DirectoryOwner } from "../work_directory.ts";
import type { CellConfig } from "./bounds.ts";
import type { Cell } from "./cell.ts";
import { makeCgroups } from "./cgroup.ts";
import { freeJobUser, takeJobUser } from "./job_user.ts";

/** A worker's cell, with the bounds of one job. */
export interface CellOfJob {
  readonly cell: Cell;
  readonly config: CellConfig;
}

/** One job's part of it. */
export interface AssignedCell extends CellOfJob, DirectoryOwner {
  readonly cgroupProcs: readonly string[];
}

/**
 * Assigns a job its part of the cell.
 *
 * @param name The name of the job's directory. Its control groups get the same name, so that a sweep finds them.
 */
export function assignCell(
  { cell, config: wanted }: CellOfJob,
  name: string,
): Effect.Effect<AssignedCell, WorkFileFailed, Scope.Scope> {
  const fail = (detail: string) => new WorkFileFailed({ code: "cell", path: name, detail });
  const isOwn = cell.disk === "file-system" && wanted.disk === "memory";
  const config: CellConfig = { ...wanted, disk: isOwn ? "memory" : "directory" };
  return Effect.gen(function* () {
    const user = cell.user === "own" ? undefined : yield* Effect.acquireRelease(
      Effect.suspend(() => {
        const user = takeJobUser();
        return user === undefined ? Effect.fail(fail("no user is free for it")) : Effect.succeed(user);
      }),
      (user) => Effect.sync(() => freeJobUser(user)),
    );
    const cgroupProcs = yield* Effect.mapError(makeCgroups(cell, config, name), (error) => fail(error.message));
    const disk = isOwn ? { bytes: config.diskBytes, inodes: config.inodesMax } : undefined;
    return { cell, config, user, cgroupProcs, disk };
  });
}
