// What a worker has open for a job counts to the job's storage, once, also after the job removed it.
import { spawn } from "node:child_process";
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { Clock, Deferred, Duration, Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cellDefault } from "../../../actors/config/cell_config.ts";
import { openWorkDirectory, type WorkDirectory } from "../../../actors/files/contained_files.ts";
import { jobCell } from "../../../actors/job/cell/bounds.ts";
import type { Cell } from "../../../actors/job/cell/cell.ts";
import { watchLimits } from "../../../actors/job/cell/watch.ts";
import { holdOpen, runOf, temporary } from "../../support/job_world.ts";

const test = suite("watchLimits()");

const cell: Cell = { level: "bare", user: "own", cgroups: [], disk: "measured", chain: "none", notes: [] };
const config = {
  ...jobCell(cellDefault, { memory: 1, storage: 1 }),
  diskBytes: 1024 * 1024,
  disk: "directory" as const,
};
const sleeping = spawn("sleep", ["600"]);
test.after(() => void sleeping.kill());

/** The limit that the first measurement finds exceeded; undefined where it finds none. It has no pause before it. */
function firstMeasured(directory: WorkDirectory, pid: number): Promise<string | undefined> {
  return runOf(Effect.gen(function* () {
    const isWithin = yield* Deferred.make<undefined>();
    let pauses = 0;
    const pause = Effect.suspend(() =>
      pauses++ === 0 ? Effect.void : Effect.andThen(Deferred.succeed(isWithin, undefined), Effect.never)
    );
    const clock: Clock.Clock = {
      ...(yield* Clock.Clock),
      monotonicTimeNanosUnsafe: () => process.hrtime.bigint(),
      sleep: (duration) => Duration.toMillis(duration) > 86_000_000 ? Effect.never : pause, // the run time
    };
    const watched = watchLimits({ cell, config, cgroupProcs: [] }, directory, pid);
    return yield* Effect.raceFirst(Effect.provideService(watched, Clock.Clock, clock), Deferred.await(isWithin));
  }));
}

/** A work directory, and the limit that a measurement for a job of that process finds exceeded. */
async function withDirectory(
  use: (world: {
    readonly path: string;
    readonly read: (name: string) => Promise<() => Promise<void>>;
    readonly begin: (name: string, bytes: Uint8Array) => Promise<unknown>;
    readonly limitOf: (pid: number | undefined, changes?: Partial<WorkDirectory>) => Promise<string | undefined>;
  }) => Promise<void>,
): Promise<void> {
  const place = temporary();
  const closing: (() => Promise<void>)[] = [];
  const directory = await holdOpen(openWorkDirectory(place.path));
  const keep = async (opening: Parameters<typeof holdOpen>[0]) => {
    const { close } = await holdOpen(opening);
    closing.push(close);
    return close;
  };
  try {
    await use({
      path: place.path,
      read: (name) => keep(directory.value.openForReading(name)),
      begin: (name, bytes) => keep(Effect.tap(directory.value.create(name), (file) => file.write(bytes))),
      limitOf: (pid = 0, changes = {}) => firstMeasured({ ...directory.value, ...changes }, pid),
    });
  } finally {
    for (const close of closing) await close();
    await directory.close();
    place.remove();
  }
}

const write = (path: string, sizeBytes: number) => writeFileSync(path, new Uint8Array(sizeBytes));

test("bug: files that a job sent and then removed, and that its worker had open, were not measured", async () => {
  await withDirectory(async ({ path, read, limitOf }) => {
    for (const name of ["a", "b", "c"]) {
      write(join(path, name), 400_000);
      await read(name);
      rmSync(join(path, name));
    }
    assert.equal(readdirSync(path), []);
    assert.is(await limitOf(sleeping.pid), "disk");
  });
});

test("bug: a file in the making whose name the job removed was not measured", async () => {
  await withDirectory(async ({ path, begin, limitOf }) => {
    await begin("artifacts/weights", new Uint8Array(1_200_000));
    rmSync(join(path, "artifacts"), { recursive: true });
    assert.is(await limitOf(sleeping.pid), "disk");
  });
});

test("a file counts once: with a name, open twice, or open in the job too; one that was closed does not count", async () => {
  await withDirectory(async ({ path, read, limitOf }) => {
    for (const name of ["named", "removed"]) {
      write(join(path, name), 500_000);
      await read(name);
      await read(name);
    }
    rmSync(join(path, "removed"));
    // This process stands for the job: it has both open, too.
    assert.is(await limitOf(process.pid), undefined);
    write(join(path, "more"), 100_000);
    assert.is(await limitOf(process.pid), "disk");
  });
  await withDirectory(async ({ path, read, limitOf }) => {
    write(join(path, "sent"), 1_200_000);
    const close = await read("sent");
    rmSync(join(path, "sent"));
    await close();
    assert.is(await limitOf(sleeping.pid), undefined);
  });
});

test("bug: the watch broke off where a file that is open in the worker could not be measured", async () => {
  await withDirectory(async ({ limitOf }) => {
    const unnamed = () => {
      throw new Error("EIO: i/o error, fstat");
    };
    assert.is(await limitOf(sleeping.pid, { unnamed }), "unmeasured");
  });
});

test.run();
