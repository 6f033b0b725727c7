// Every limit reached once in a real cell: the reason names it. A job gets what it was leased, measured from the inside. As root, and as an
// ordinary user in a process of its own.
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Clock, Duration, Effect } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { jobCell } from "../../../actors/job/cell/bounds.ts";
import { cellDefault } from "../../../actors/config/cell_config.ts";
import { isGrouped } from "../../../actors/job/cell/cell.ts";
import { sizeText } from "../../../actors/job/cell/exceeded.ts";
import { watchLimits } from "../../../actors/job/cell/watch.ts";
import { openWorkDirectory } from "../../../actors/files/contained_files.ts";
import { runtimeBinary } from "../../../scripts/demo/processes.ts";
import { type HostileJob, makeWorld, ranMark, runJob } from "../../../scripts/attack/cell/world.ts";
import { runOf, temporary } from "../../support/job_world.ts";
import { runAsOrdinary } from "../../support/ordinary_user.ts";
import { needing } from "../../support/prerequisites.ts";

const place = temporary();
chmodSync(place.path, 0o755);
const world = await makeWorld(place.path, await runtimeBinary("node"), undefined);
if (world === undefined) throw new Error("Cannot run jobs: no cell was found");
const { cell } = world;

const test = suite("limits of jobs");
test.after(() => place.remove());
const inCell = needing(test, "bash", "sh", "prlimit", "setpriv", "head", "tail");

/** Ends well before a job's own end, on a busy machine too. */
const endMs = 60_000;
const kib = 1024, mib = 1024 * kib;

async function endOf(job: HostileJob): Promise<{ readonly reason: string; readonly output: readonly string[] }> {
  const running = await runJob(world as NonNullable<typeof world>, job, endMs);
  const outcome = await running.ended(0);
  assert.ok(running.output().includes(ranMark), `the job did not run: ${JSON.stringify(outcome)}`);
  return {
    reason: outcome?.type === "finished" ? "" : outcome?.reason ?? "",
    output: running.output().filter((line) => line !== ranMark),
  };
}

const grouped = isGrouped(cell, "memory"), counted = isGrouped(cell, "pids"), ownDisk = cell.disk === "file-system";
/** Without a control group Node needs more to start at all. */
const memoryBytes = (grouped ? 128 : 700) * mib;
const small = { diskBytes: mib, disk: "directory" } as const;
const fill = "for i in 1 2 3 4 5 6; do head -c 400K /dev/zero > f$i || exit 1; done";
const limits: [what: string, job: HostileJob, reason: string, here?: boolean][] = [
  ["memory, of the executor itself", {
    runtime: "node",
    code: "const held = []; for (;;) held.push(Buffer.alloc(10_000_000, 1));",
    cell: { memoryBytes },
  }, `memory limit of ${sizeText(memoryBytes)} reached`],
  [
    "memory, of a child that another process waits for",
    {
      code: "head -c 800M /dev/zero | tail -c 800M; sleep 60",
      cell: { memoryBytes: 128 * mib },
    },
    "memory limit of 128 MiB reached",
    grouped,
  ],
  [
    "processes",
    {
      code: "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do sleep 5 & done",
      cell: { pidsMax: 16 },
    },
    "limit of 16 processes and threads reached",
    counted,
  ],
  ["processor time", {
    code: "while :; do :; done",
    cell: { cpuSeconds: 1 },
  }, "processor time limit of 1 s for one process reached"],
  [
    "size of a file",
    { code: "exec head -c 2M /dev/zero > f", cell: small },
    "file size limit of 1 MiB reached",
  ],
  ["size of a file, where the runtime reports an error", {
    runtime: "node",
    code: "const fs = require('node:fs'); const f = fs.openSync('f', 'w'); " +
      "for (;;) fs.writeSync(f, Buffer.alloc(200000));",
    cell: small,
  }, "file size limit of 1 MiB reached"],
  [
    "storage, measured",
    { code: `${fill}; sleep 60`, cell: small },
    "storage limit of 1 MiB reached",
  ],
  [
    "bug: storage, of files in too many directories to name",
    {
      code: "d=d; for i in 1 2 3 4 5; do d=$d/d/d/d/d/d/d; done; mkdir -p $d/d/d && cd $d/d/d || exit 1\n" +
        `${fill}; sleep 60`,
      cell: small,
    },
    "storage limit of 1 MiB reached",
  ],
  [
    "bug: storage, of files that no directory lists",
    {
      code: "exec 7>a 8>b 9>c; rm a b c\n" +
        "for file in 7 8 9; do head -c 400K /dev/zero >&$file || exit 1; done; sleep 60",
      cell: small,
    },
    "storage limit of 1 MiB reached",
  ],
  [
    "bug: storage, of a directory whose name is not UTF-8",
    {
      code: `mkdir "$(printf '\\377')" && cd "$(printf '\\377')" || exit 1\n${fill}; sleep 60`,
      cell: small,
    },
    "storage limit of 1 MiB reached",
  ],
  [
    "bug: storage, of a directory that has the name of another one in a listing",
    {
      code: "mkdir \"$(printf '\\357\\277\\275')\"\n" +
        `mkdir "$(printf '\\377')" && cd "$(printf '\\377')" || exit 1\n${fill}; sleep 60`,
      cell: small,
    },
    "storage limit of 1 MiB reached",
  ],
  [
    "bug: storage, of a directory that may not be read",
    { code: `mkdir d && cd d || exit 1\n${fill}; chmod 0 ../d; sleep 60`, cell: small },
    "storage limit of 1 MiB reached",
  ],
  ["number of files, measured", {
    code: "i=0; while [ $i -lt 40 ]; do : > f$i; i=$((i+1)); done; sleep 60",
    cell: { ...small, inodesMax: 30 },
  }, "storage limit of 30 files reached"],
  [
    "storage, of a file system of its own",
    { code: fill, cell: { ...small, disk: "memory" } },
    "storage limit of 1 MiB reached",
    ownDisk,
  ],
  [
    "number of files, of a file system of its own",
    {
      code: "i=0; while [ $i -lt 40 ]; do : > f$i || exit 1; i=$((i+1)); done",
      cell: { ...small, disk: "memory", inodesMax: 30 },
    },
    "storage limit of 30 files reached",
    ownDisk,
  ],
  ["open files", {
    runtime: "node",
    code: "for (;;) require('node:fs').openSync('/dev/null');",
    cell: { openFilesMax: 64 },
  }, "limit of 64 open files for one process reached"],
  ["run time", { code: "sleep 60", cell: { wallSeconds: 1 } }, "run time limit of 1 s reached"],
];
const isRoot = process.getuid?.() === 0;
/** The same tests as an ordinary user; they run while these do. */
const asOrdinary = isRoot ? runAsOrdinary(process.argv[1] ?? "", fileURLToPath(import.meta.url)) : undefined;

/** A cell whose work directory is measured. */
function measured(inodesMax: number) {
  const config = { ...jobCell(cellDefault, { memory: 1, storage: 1 }), inodesMax };
  return { cell: { ...cell, cgroups: [] }, config, cgroupProcs: [] };
}

test("bug: measuring a work directory with many files took nearly all of the worker's time", async () => {
  const place = temporary();
  const deep = join(place.path, ...Array.from({ length: 31 }, () => "d"));
  mkdirSync(deep, { recursive: true });
  const files = 10_000;
  for (let made = 0; made < files; made++) writeFileSync(join(deep, `f${made}`), "");
  const assigned = measured(files + 30);
  const ended = Effect.flatMap(openWorkDirectory(place.path), (directory) => {
    const before = process.cpuUsage();
    return Effect.map(
      watchLimits(assigned, directory, process.pid),
      (limit) => ({ limit, ...process.cpuUsage(before) }),
    );
  });
  const { limit, user, system } = await runOf(Effect.scoped(Effect.timeout(ended, endMs)));
  place.remove();
  assert.is(limit, "inodes");
  const microseconds = (user + system) / files;
  assert.ok(microseconds < 60, `${microseconds} microseconds of processor time a file`);
});

/** Uses a processor for so long, in milliseconds of this thread's own time. */
function useProcessor(ms: number): void {
  for (const from = process.threadCpuUsage(), used = { ms: 0 }; used.ms < ms;) {
    const { user, system } = process.threadCpuUsage(from);
    used.ms = (user + system) / 1_000;
  }
}

test("bug: a measurement that takes long began again after a second, and let other tasks run after 500 files", async () => {
  const place = temporary();
  let turns = 0, turnsMeanwhile = 0, walks = 0;
  const turn = setInterval(() => turns++, 1);
  function* walk() {
    walks += 1;
    const turnsBefore = turns;
    for (let file = 0; file < 200; file++) {
      useProcessor(1);
      turnsMeanwhile = turns - turnsBefore;
      yield { name: `f${file}`, sizeBytes: 0 };
    }
  }
  const watched = Effect.flatMap(
    openWorkDirectory(place.path),
    (directory) => watchLimits(measured(1_000), { ...directory, walk }, process.pid),
  );
  await runOf(Effect.timeoutOption(Effect.scoped(watched), "2.9 seconds"));
  clearInterval(turn);
  place.remove();
  assert.is(walks, 1);
  assert.ok(turnsMeanwhile > 5, String(turnsMeanwhile));
});

/** How long `watchLimits` pauses before each walk, in milliseconds; `walk` gets the number of the walk, and moves the clock on. */
async function pausesOf(walk: (walks: number, moveOn: (ms: number) => void) => void, walksMax: number) {
  const place = temporary();
  const pauses: number[] = [];
  let movedMs = 0, walks = 0;
  const clock: Clock.Clock = {
    ...Effect.runSync(Clock.Clock),
    monotonicTimeNanosUnsafe: () => BigInt(Math.round((performance.now() + movedMs) * 1e6)),
    sleep: (duration) =>
      Effect.suspend(() => {
        const ms = Duration.toMillis(duration);
        if (ms > 86_000_000) return Effect.never; // the run time
        pauses.push(ms);
        return pauses.length > walksMax ? Effect.never : Effect.void;
      }),
  };
  const watched = Effect.flatMap(openWorkDirectory(place.path), (directory) =>
    watchLimits(measured(1_000), {
      ...directory,
      *walk() {
        walk(++walks, (ms) => movedMs += ms);
        yield { name: "f", sizeBytes: 0 };
      },
    }, process.pid));
  const done = Effect.promise(async () => {
    while (pauses.length <= walksMax) await new Promise((resolve) => setTimeout(resolve, 10));
  });
  const limit = await runOf(Effect.provideService(
    Effect.raceFirst(Effect.scoped(watched), Effect.as(done, undefined)),
    Clock.Clock,
    clock,
  ));
  place.remove();
  return { pauses, limit };
}

test("bug: a job that kept the worker waiting while its directory was measured was not measured for minutes", async () => {
  const waited = new Int32Array(new SharedArrayBuffer(4));
  const { pauses, limit } = await pausesOf(() => void Atomics.wait(waited, 0, 0, 1_500), 1);
  assert.is(limit, undefined);
  assert.equal(pauses.length, 2);
  assert.ok((pauses[1] ?? 0) < 3_000, `${pauses[1]} ms after 1.5 s without a CPU`);
});

test("bug: the pause between two measurements had no limit", async () => {
  const { pauses } = await pausesOf(() => useProcessor(1_500), 1);
  assert.equal(pauses, [1_000, 10_000]);
});

test("bug: a measurement without end was no reason to end a job", async () => {
  const { limit, pauses } = await pausesOf((walks, moveOn) => moveOn(walks === 1 ? 29_000 : 31_000), 3);
  assert.is(limit, "unmeasured");
  assert.is(pauses.length, 3);
});

test("bug: one slow measurement ended a job; now the second in a row does", async () => {
  const { limit, pauses } = await pausesOf((walks, moveOn) => moveOn(walks % 2 === 1 ? 31_000 : 29_000), 5);
  assert.is(limit, undefined);
  assert.is(pauses.length, 6);
});

const reached = limits.filter(([, , , here = true]) => here);
/** All at once: most of them wait. */
let ends: readonly ReturnType<typeof endOf>[] = [];
const start = () => {
  if (ends.length === 0) ends = reached.map(([, job]) => endOf(job));
  for (const end of ends) end.catch(() => {/* its own test fails */});
};
reached.forEach(([what, { runtime = "sh" }, expected], index) => {
  (runtime === "node" ? needing(inCell, "node") : inCell)(`names a limit that ended a job: ${what}`, async () => {
    start();
    const { reason } = await (ends[index] as NonNullable<typeof ends[number]>);
    assert.ok(reason.startsWith(`cell-limit: ${expected}`), reason);
  });
});

inCell("a job that fails by itself names no limit, whatever the limits are", async () => {
  const { reason } = await endOf({ code: "exit 3", cell: { cpuSeconds: 100, ...small } });
  assert.is(reason.startsWith("executor exited with code 3"), true, reason);
  const killed = await endOf({ code: "kill -KILL $$" });
  assert.not.match(killed.reason, /cell-limit/);
});

inCell("bug: every kill of a job with a processor time limit was reported as that limit", async () => {
  const [killed, ignored] = await Promise.all([
    endOf({ code: "kill -KILL $$", cell: { cpuSeconds: 1_000 } }),
    endOf({ code: "trap '' XCPU; while :; do :; done", cell: { cpuSeconds: 1 } }),
  ]);
  assert.match(killed.reason, /^executor (exited with code 137|was ended by SIGKILL)/);
  assert.match(
    ignored.reason,
    /^killed \(SIGKILL\), probably by the processor time limit of 1 s for one process, else /,
  );
});

inCell("bug: a job that reached its storage limit had five more seconds to write", async () => {
  const { reason, output } = await endOf({
    code: `trap 'echo terminated' TERM\n${fill}; while :; do sleep 0.1; done`,
    cell: small,
  });
  assert.ok(reason.startsWith("cell-limit: storage limit of 1 MiB reached"), reason);
  assert.equal(output, []);
});

inCell("a job gets what was leased, measured inside its cell", async () => {
  const leased = jobCell(cellDefault, { memory: 0.9, storage: 0.6 });
  const { output, reason } = await endOf({
    code: `head -c 700M /dev/zero | tail -c 700M | wc -c
      head -c 500M /dev/zero > big && rm big && echo written
      df -B1 --output=size /job /dev/shm 2>/dev/null | tail -n +2`,
    cell: { memoryBytes: leased.memoryBytes, diskBytes: leased.diskBytes },
  });
  assert.is(reason, "");
  const [memory, written, disk, shared] = output;
  assert.is(memory?.trim(), String(700 * mib));
  assert.is(written, "written");
  if (!ownDisk || cell.level !== "full") return;
  const page = 4 * kib;
  assert.ok(Math.abs(Number(disk) - leased.diskBytes) <= page, `${disk} of ${leased.diskBytes}`);
  assert.ok(Math.abs(Number(shared) - leased.memoryBytes / 2) <= page, `${shared} of half ${leased.memoryBytes}`);
});

if (grouped && isRoot) {
  // Torch starts hundreds: with stacks of 8 MiB each, 375 of them reached a limit of 4 GiB without using any of it.
  needing(test, "python3")(
    "bug: threads that only wait reached the memory limit by the size of their stacks",
    async () => {
      const script = "import threading\\nstop = threading.Event()\\n" +
        "threads = [threading.Thread(target=stop.wait) for _ in range(600)]\\n" +
        "[thread.start() for thread in threads]\\nprint(len(threads))\\nstop.set()";
      const { output } = await endOf({
        code: `printf '${script}' > threads.py; python3 threads.py`,
        cell: { memoryBytes: 512 * mib },
      });
      assert.equal(output, ["600"]);
    },
  );
}

test("sizes are said in the unit that needs no fraction", () => {
  assert.equal(
    [2 * 1024 ** 3, 16e9, 128 * mib, 7e8, 64 * kib, 1_500, 12_345].map(sizeText),
    ["2 GiB", "16 GB", "128 MiB", "700 MB", "64 KiB", "1500 bytes", "12345 bytes"],
  );
});

if (asOrdinary !== undefined) {
  inCell("an ordinary user's worker names the limits, and gives what was leased, in the same way", async () => {
    const output = await asOrdinary;
    assert.match(output, /"passed":[12][0-9],"failed":0/, output);
  });
}

test.run();
