// Cells: what is refused, what the chain of commands says, one worker a directory, and a real executor in the strongest cell.
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { Buffer } from "node:buffer";
import { dirname, join } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ExecutorConfig } from "../../../actors/config/config.ts";
import { cellDefault, type CellLevel, type CellSettings } from "../../../actors/config/cell_config.ts";
import { jobCell } from "../../../actors/job/cell/bounds.ts";
import { type Cell, cellRefusal, isAtLeast } from "../../../actors/job/cell/cell.ts";
import { cellCommand } from "../../../actors/job/cell/command_line.ts";
import { withDenoFlags } from "../../../actors/job/cell/deno_flags.ts";
import { findCell } from "../../../actors/job/cell/find_cell.ts";
import { prepareWorker } from "../../../actors/job/cell/prepare.ts";
import { lockWorkDir } from "../../../actors/job/cell/lock.ts";
import { openWorkDirectory } from "../../../actors/files/contained_files.ts";
import { failureOf, holdOpen, realPorts, runOf, temporary } from "../../support/job_world.ts";
import { asRoot, isFullCell, needing } from "../../support/prerequisites.ts";

const cellOf = (level: CellLevel, user: Cell["user"]): Cell => ({
  level,
  user,
  cgroups: [],
  disk: "measured",
  chain: "whole",
  notes: [],
});
/** What a lease of 4 GB memory and 2 GB storage gives. */
const bounds = jobCell(cellDefault, { memory: 4, storage: 2 });
const isRoot = process.getuid?.() === 0;

const test = suite("cells");

const refusals: [level: CellLevel, user: Cell["user"], config: Partial<CellSettings>, refused: boolean][] = [
  ["full", "per-job", {}, false],
  ["full", "own", {}, false],
  ["root", "per-job", {}, false],
  ["root", "per-job", { level: "full" }, true],
  ["full", "own", { level: "full" }, false],
  ["namespaces", "per-job", {}, false],
  ["namespaces", "own", {}, true],
  ["namespaces", "own", { allowUnconfined: true }, false],
  ["bare", "per-job", {}, true],
  ["bare", "own", { allowUnconfined: true }, false],
  ["bare", "own", { allowUnconfined: true, level: "namespaces" }, true],
];
for (const [level, user, config, refused] of refusals) {
  test(`${level} with ${user} user and ${JSON.stringify(config)} is ${refused ? "refused" : "taken"}`, () => {
    assert.is(cellRefusal(cellOf(level, user), { ...cellDefault, ...config }) !== undefined, refused);
  });
}

test("levels are ordered", () => {
  assert.is(isAtLeast("full", "root"), true);
  assert.is(isAtLeast("root", "root"), true);
  assert.is(isAtLeast("namespaces", "root"), false);
});

const command = { file: "/opt/program", args: ["a b", "$(id)", "--"], env: { SECRET: "x" } };
const place = { directory: "/w/hypha-1", user: 61_999, cgroupProcs: ["/cg/hypha-1/cgroup.procs"] };

test("what a job or an operator wrote is an argument, never part of a script; its environment is no argument", () => {
  for (const level of ["full", "root", "namespaces", "bare"] as const) {
    const { args, env, file } = cellCommand(cellOf(level, "per-job"), bounds, place, command, 77);
    assert.equal(args.slice(-4), ["/opt/program", "a b", "$(id)", "--"], level);
    assert.is([file, ...args].some((arg) => arg.includes("SECRET")), false);
    assert.is(env["SECRET"], "x");
  }
});

test("no level runs an executor as root: its own user comes before the namespaces, or inside at level root", () => {
  const position = (level: CellLevel, what: string) =>
    cellCommand(cellOf(level, "per-job"), bounds, place, command).args.indexOf(what);
  assert.ok(position("full", "--reuid=61999") < position("full", "bwrap"));
  assert.ok(position("root", "--reuid=61999") > position("root", "bwrap"));
  assert.ok(position("namespaces", "--reuid=61999") < position("namespaces", "--map-current-user"));
  assert.ok(position("bare", "--reuid=61999") > 0);
  assert.is(position("full", "/w/hypha-1") > 0, true);
});

test("what is below something that is mounted already is not mounted again", () => {
  const config = { ...bounds, readOnly: ["/opt", "/usr/share", "/srv/models", "/srv/models/a"] };
  const { args } = cellCommand(cellOf("full", "own"), config, { directory: "/w", cgroupProcs: [] }, command);
  const mounted = args.flatMap((arg, index) => arg === "--ro-bind" ? [args[index + 2]] : []);
  assert.equal(mounted, ["/usr", "/opt", "/srv/models"]);
});

test("bug: a directory that an operator named whole was hidden by the private file system over it", () => {
  const stageOf = (...readOnly: string[]) => {
    const { args } = cellCommand(cellOf("full", "per-job"), { ...bounds, readOnly }, place, command);
    return args[args.indexOf("stage") + 1];
  };
  assert.is(stageOf(), "/mnt");
  assert.is(stageOf("/mnt/data"), "/media");
  assert.is(stageOf("/mnt"), "/media");
  assert.is(stageOf("/mnt", "/media", "/srv"), "/home"); // the program is in /opt
});

test("a program below /tmp can be reached by the job's user: its directories are made searchable, on the cell's own /tmp", () => {
  const { args } = cellCommand(cellOf("root", "per-job"), bounds, place, { ...command, file: "/tmp/a/b/program" });
  const made = args.flatMap((arg, index) => arg === "--dir" ? [`${args[index - 1]} ${args[index + 1]}`] : []);
  assert.equal(made.filter((dir) => dir.includes("/tmp")), ["0755 /tmp/a", "0755 /tmp/a/b"]);
  assert.ok(args.lastIndexOf("/tmp") < args.indexOf("/tmp/a"));
});

test("an executor under Deno gets its permissions too, unless its operator named some", () => {
  const inside = { workDir: "/job", socketPath: "/job/bridge.sock" };
  const run = (file: string, ...args: string[]) =>
    withDenoFlags({ file, args, env: { SOCKET_PATH: "x" } }, inside, ["/srv/code"]).args;
  assert.equal(run("/opt/deno", "run", "a.ts"), [
    ...["run", "--no-prompt", "--no-remote", "--allow-read=/job,/srv/code", "--allow-write=/job"],
    ...["--allow-net=unix:/job/bridge.sock", "--allow-env=SOCKET_PATH", "a.ts"],
  ]);
  const evaluated = withDenoFlags(
    { file: "/opt/deno", args: ["run", "a.ts"], env: {} },
    { ...inside, socketPath: "" },
    [],
  );
  assert.not(evaluated.args.some((arg) => arg.startsWith("--allow-net")), "bug: Deno refused a socket without a path");
  assert.equal(run("/opt/./deno", "run", "--allow-read", "a.ts"), ["run", "--allow-read", "a.ts"]);
  assert.equal(run("/opt/deno", "eval", "1"), ["eval", "1"]);
  assert.equal(run("/opt/node", "run", "a.ts"), ["run", "a.ts"]);
});

needing(test, "flock", "sh", "cat")(
  "a second worker is refused the directory, by name; after the first it may have it",
  async () => {
    const place = temporary();
    const lock = join(place.path, "worker.lock");
    writeFileSync(lock, "", { mode: 0o644 });
    chmodSync(lock, 0o644);
    const first = await holdOpen(lockWorkDir(place.path));
    assert.is(first.value, "locked");
    assert.is(lstatSync(lock).mode & 0o777, 0o600, "bug: any local user could hold the lock");
    const refused = await failureOf(Effect.scoped(lockWorkDir(place.path)));
    assert.is(refused._tag, "WorkDirLocked");
    assert.match(refused.message, /another worker uses it/);
    // Bug: a worker under another key took the directory while the helper of its former one was about to end, and failed.
    const again = runOf(Effect.result(Effect.scoped(lockWorkDir(place.path))));
    await new Promise((resolve) => setTimeout(resolve, 300));
    await first.close();
    assert.is(Result.isSuccess(await again), true);
    place.remove();
  },
);

needing(test, "bash", "sh", "prlimit", "setpriv")(
  "the strongest cell here leaves nothing behind; it is full, and what that can't have is said",
  async () => {
    const place = temporary();
    // Below level full a job's user has to be able to search the directories above its own.
    chmodSync(place.path, 0o755);
    const search = { ports: realPorts(), workDir: join(place.path, "work") };
    const cell = await runOf(findCell({ ...search, config: bounds }));
    assert.is(cell.chain, "whole", cell.notes.join("; "));
    assert.is(cell.user, isRoot ? "per-job" : "own");
    assert.equal(readdirSync(search.workDir), []);
    assert.is(readFileSync("/proc/self/mounts", "utf8").includes(place.path), false);
    if (isFullCell(cell.level)) {
      const config = { ...bounds, readOnly: [join(place.path, "missing")] };
      const without = await runOf(findCell({ ...search, config, levels: ["full"] }));
      assert.is(without.level, "bare");
      assert.match(without.notes.join(), /missing/);
    }
    place.remove();
  },
);

needing(test, "bash", "sh", "prlimit", "setpriv")(
  "bug: one late probe, as on a machine that has just started, left a worker in a weaker cell until it was started again",
  async () => {
    const place = temporary();
    chmodSync(place.path, 0o755);
    const search = { ports: realPorts(), workDir: join(place.path, "work"), config: bounds };
    const cell = await runOf(findCell(search));
    const late = await runOf(findCell({ ...search, triesMs: [1] }));
    assert.is(late.level, "bare");
    assert.match(late.notes.join(), /no start within 1 ms/);
    assert.is((await runOf(findCell({ ...search, triesMs: [1, 20_000] }))).level, cell.level);
    place.remove();
  },
);

/** A program that asks for a library which no machine has. */
function withoutLibrary(): Uint8Array {
  const bytes = readFileSync("/usr/bin/true");
  const at = bytes.indexOf("libc.so.6");
  return Buffer.concat([bytes.subarray(0, at), Buffer.from("libq"), bytes.subarray(at + 4)]);
}

needing(test, "bash", "sh", "prlimit", "setpriv", "ldd")(
  "a worker tries in its cell what each executor needs to start, and runs none",
  async () => {
    const place = temporary();
    chmodSync(place.path, 0o755);
    const ran = join(place.path, "ran");
    const file = (name: string, content: string | Uint8Array, mode = 0o755) => {
      writeFileSync(join(place.path, name), content, { mode: 0o755 });
      chmodSync(join(place.path, name), mode);
      return join(place.path, name);
    };
    const programs: [cmd: string | undefined, problem: RegExp | undefined, args?: string[]][] = [
      ["sh", undefined, ["-c", "{WORK_DIR}/x", "/no/such/file"]],
      [undefined, undefined],
      [file("script", `#!/usr/bin/env -S sh -e\n: > ${ran}\n`), undefined],
      ["no-such-program", /"no-such-program": no such program/],
      [file("no-interpreter", "#!/opt/no-python3 -u\n"), /does not have its interpreter \/opt\/no-python3/],
      [file("no-name", "#!/usr/bin/env no-python3\n"), /does not have its interpreter no-python3 in PATH=/],
      [file("no-library", withoutLibrary()), /does not have a library: libq\.so\.6 => not found/],
      ...(isRoot
        ? [[file("closed", "#!/bin/sh\n", 0o700), /a job may not execute|its cell does not have/] as const]
        : []),
    ].map(([cmd, problem, args]) => [cmd, problem, args] as never);
    const executors = programs.map(([cmd, , args = []], index) =>
      ({
        class: "train",
        name: `${index}`,
        runtime: cmd === undefined ? "parameter-server" : "process",
        cmd,
        args,
      }) as unknown as ExecutorConfig
    );
    const resources = { cpu: 1, gpu: 0, memory: 1, storage: 1 };
    const workDir = join(place.path, "work");
    const prepare = (executors: readonly ExecutorConfig[]) =>
      runOf(
        Effect.scoped(
          prepareWorker({ ports: realPorts(), workDir, cacheBytes: 0, settings: cellDefault, resources, executors }),
        ),
      );
    const kept = join(workDir, "cache", "0".repeat(64));
    mkdirSync(dirname(kept), { recursive: true });
    writeFileSync(kept, "of a worker with a larger cache");
    const { executors: tried, cell } = await prepare(executors);
    assert.not.ok(existsSync(kept));
    const reasons = new Map(tried?.missing.map(({ executor, reason }) => [executor.name, reason]));
    for (const [index, [, problem]] of programs.entries()) {
      assert.match(reasons.get(`${index}`) ?? "offered", problem ?? "offered");
    }
    assert.equal(tried?.unread, []);
    assert.not.ok(existsSync(ran));
    if (isFullCell(cell?.level ?? "bare")) {
      const code = file("train.py", "");
      const [shell] = executors;
      const { executors: again } = await prepare([{
        ...shell as ExecutorConfig,
        args: [code, "/usr", "/no/such/file"],
      }]);
      assert.equal(again?.missing, []);
      assert.match(again?.unread.map(({ reason }) => reason).join() ?? "", `its cell does not have ${code} (`);
    }
    place.remove();
  },
);

test("bug: on a machine without a shell a worker offered none of its executors, and a training found no trainers", async () => {
  const place = temporary();
  const program = join(place.path, "program");
  writeFileSync(program, "#!/no/such/interpreter\n", { mode: 0o755 });
  const executor = (name: string, cmd: string) =>
    ({ class: "train", name, runtime: "process", cmd, args: [] }) as unknown as ExecutorConfig;
  const executors = [executor("here", program), executor("gone", join(place.path, "gone"))];
  const resources = { cpu: 1, gpu: 0, memory: 1, storage: 1 };
  const settings = { ...cellDefault, allowUnconfined: true };
  const workDir = join(place.path, "work");
  const { PATH } = process.env;
  process.env["PATH"] = place.path;
  try {
    const { executors: tried, cell } = await runOf(
      Effect.scoped(prepareWorker({ ports: realPorts(), workDir, cacheBytes: 0, settings, resources, executors })),
    );
    assert.is(cell?.level, "bare");
    assert.equal(tried?.missing.map(({ executor: { name } }) => name), ["gone"]);
  } finally {
    process.env["PATH"] = PATH ?? "";
    place.remove();
  }
});

asRoot(test)(
  "what the worker makes in a job's directory is the job's own, where it has a user of its own",
  async () => {
    const place = temporary();
    const path = join(place.path, "job");
    mkdirSync(path);
    const opened = await holdOpen(openWorkDirectory(path, { user: 61_999 }));
    const file = await holdOpen(opened.value.create("a/b/file"));
    await runOf(file.value.write(new Uint8Array(1)));
    await runOf(file.value.commit);
    await file.close();
    writeFileSync(join(path, "socket"), "");
    await runOf(opened.value.giveSocket("socket"));
    const { statSync } = await import("node:fs");
    for (const name of ["a", "a/b", "a/b/file", "socket"]) assert.is(statSync(join(path, name)).uid, 61_999, name);
    assert.is(statSync(join(path, "socket")).mode & 0o777, 0o600);
    await opened.close();
    place.remove();
    assert.not.ok(existsSync(path));
  },
);

test.run();
