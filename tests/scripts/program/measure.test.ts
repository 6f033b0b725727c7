/** A scheduler's evaluating programs: tried when it starts, and ended when they take too long. */
import { randomUUID } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { SchedulerConfig } from "../../../actors/config/config.ts";
import { evaluatingCellDefault } from "../../../actors/config/cell_config.ts";
import { realServices } from "../../../actors/runtime/real_ports.ts";
import type { Services } from "../../../actors/runtime/ports.ts";
import { measureIn } from "../../../scripts/program/measure.ts";
import { makeFakeWorld } from "../../support/fake_transport.ts";
import { temporary } from "../../support/job_world.ts";

const test = suite("measureIn()");
const place = temporary();
test.after(() => place.remove());
const parameters = join(place.path, "round-1.safetensors"), heldOut = join(place.path, "rows.csv");
writeFileSync(parameters, "theta");
writeFileSync(heldOut, "1\n");
mkdirSync(join(place.path, "evaluations"));

const executors = [
  { name: "gone", cmd: "/no/such/program", args: [] },
  { name: "hangs", cmd: "sh", args: ["-c", "exec sleep 600"] },
];
const cell = { ...evaluatingCellDefault, levelMax: "bare" as const, allowUnconfined: true, wallSeconds: 1 };
const training = { id: "t-1", run: 1, round: 1 };
const { ports, reported } = makeFakeWorld();
const programs = measureIn({ executors, cell, stateDir: place.path, job: undefined }, ports);
const reasonOf = async (effect: Effect.Effect<unknown, Error, Services>) => {
  const result = await Effect.runPromise(Effect.provide(Effect.result(effect), realServices));
  return Result.isFailure(result) ? result.failure.message : "none";
};

test("bug: a program that cannot be started was noticed at the first round's end; it is at the scheduler's start", async () => {
  assert.is(await reasonOf(programs.check("hangs")), "none");
  assert.equal(reported("evaluation.executor").map(({ name }) => name), ["gone"]);
  assert.match(await reasonOf(programs.check("gone")), /executor gone cannot be started: .*\/no\/such\/program/);
  assert.match(await reasonOf(programs.check("other")), /none of class evaluate named other/);
  assert.match(
    await reasonOf(programs.measure({ executor: "gone", parameters, heldOut, training }, () => {})),
    /executor gone cannot be started/,
  );
});

test("bug: a program that hangs held all later evaluations for thirty days; it has an hour", async () => {
  assert.is(evaluatingCellDefault.wallSeconds, 3_600);
  const reason = await reasonOf(programs.measure({ executor: "hangs", parameters, heldOut, training }, () => {}));
  assert.match(reason, /executor hangs: .*run time limit of 1 s reached/);
});

test("bug: a turn whose program was tried in it had no time limit: it began only after the try", async () => {
  let began = 0;
  await reasonOf(programs.measure({ executor: "gone", parameters, heldOut, training }, () => void began++));
  assert.is(began, 1);
});

test("bug: several trainings were evaluated at once, each with 4 GB of memory and 16 GB of disk", async () => {
  const log = join(place.path, "log");
  const slow =
    `echo began >> ${log}; sleep 0.5; echo ended >> ${log}; echo '{"metrics": {}}' > "$WORK_DIR/result.json"`;
  const one = measureIn({
    executors: [{ name: "slow", cmd: "sh", args: ["-c", slow] }],
    cell: { ...cell, wallSeconds: 30 },
    stateDir: place.path,
    job: undefined,
  }, ports);
  let began = 0;
  const run = () => reasonOf(one.measure({ executor: "slow", parameters, heldOut, training }, () => void began++));
  assert.equal(await Promise.all([run(), run()]), ["none", "none"]);
  assert.is(readFileSync(log, "utf8"), "began\nended\nbegan\nended\n");
  assert.is(began, 2);
});

test("bug: a program that was installed after it was tried could not be started until the scheduler started again", async () => {
  const { ports, reported } = makeFakeWorld();
  const cmd = join(place.path, "evaluate");
  const late = measureIn({
    executors: [{ name: "late", cmd, args: [] }, ...executors],
    cell,
    stateDir: place.path,
    job: undefined,
  }, ports);
  assert.is(await reasonOf(late.check("hangs")), "none");
  assert.match(await reasonOf(late.check("late")), /executor late cannot be started/);
  writeFileSync(cmd, "#!/bin/sh\n", { mode: 0o755 });
  assert.is(await reasonOf(late.check("late")), "none");
  const told = reported("evaluation.executor").length;
  assert.is(await reasonOf(late.check("late")), "none");
  assert.equal(
    [reported("evaluation.executor").length, reported("evaluation.cell").length],
    [told, 1],
    "it is known now",
  );
});

test("bug: what a scheduler that was killed left stayed where its record was damaged, and was not reported", async () => {
  const leave = (name: string) => {
    const stateDir = join(place.path, name), path = join(stateDir, "evaluations", `hypha-${randomUUID()}`);
    mkdirSync(path, { recursive: true });
    writeFileSync(`${path}.owner`, "{");
    return { stateDir, path };
  };
  const check = async (stateDir: string, job: SchedulerConfig["job"]) => {
    const { ports, reported, reports } = makeFakeWorld();
    await reasonOf(measureIn({ executors, cell, stateDir, job }, ports).check("hangs"));
    for (const { message } of reports.filter(({ event }) => event === "evaluation.unowned")) {
      assert.match(message, /\.owner\b/);
    }
    return reported("evaluation.unowned").map(({ unowned }) => unowned);
  };
  const locked = leave("locked"), unlocked = leave("unlocked");
  assert.equal(await check(locked.stateDir, undefined), []);
  assert.is(existsSync(locked.path), false, "it runs with the lock of its state directory only");
  assert.equal(await check(unlocked.stateDir, {} as NonNullable<SchedulerConfig["job"]>), [[unlocked.path]]);
  assert.ok(existsSync(unlocked.path));
});

test("bug: what a scheduler could not sweep was not reported", async () => {
  const stateDir = join(place.path, "file");
  mkdirSync(stateDir);
  writeFileSync(join(stateDir, "evaluations"), "");
  const { ports, reports } = makeFakeWorld();
  await reasonOf(measureIn({ executors, cell, stateDir, job: undefined }, ports).check("hangs"));
  const unswept = reports.filter(({ event }) => event === "evaluation.unswept");
  assert.equal(unswept.map(({ level }) => level), ["warn"]);
  assert.match(unswept[0]?.message ?? "", /ENOTDIR/);
});

test.run();
