/** The evaluation of parameters by a program: its files, its metrics, and each way in which it gives none. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Effect, Exit, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { jobCell } from "../../actors/job/cell/bounds.ts";
import type { Cell } from "../../actors/job/cell/cell.ts";
import { findCell } from "../../actors/job/cell/find_cell.ts";
import { evaluateParameters } from "../../actors/job/evaluate_parameters.ts";
import { realServices } from "../../actors/runtime/real_ports.ts";
import { makeFakeWorld } from "../support/fake_transport.ts";
import { temporary } from "../support/job_world.ts";

const test = suite("evaluateParameters()");
const place = temporary();
test.after(() => place.remove());
const parameters = join(place.path, "round-3.safetensors");
writeFileSync(parameters, "theta");
const heldOut = join(place.path, "held_out.csv");
writeFileSync(heldOut, "1,2,3\n");
const workDir = join(place.path, "evaluations");
mkdirSync(workDir);
const bare: Cell = { level: "bare", user: "own", cgroups: [], disk: "measured", chain: "none", notes: [] };
const own = { ...cellDefault, allowUnconfined: true };

/** Runs a shell's script as the program. */
function run(script: string, { cell = bare, settings = own, timeoutMs = 60_000 } = {}) {
  const { ports } = makeFakeWorld();
  const executor = { cmd: "sh", args: ["-c", `cd "$WORK_DIR"; ${script}`] };
  const measured = evaluateParameters(
    { ports, executor, cell, settings, workDir },
    { parameters, heldOut, jobJson: '{"training":{"round":3}}' },
  );
  return Effect.runPromise(
    Effect.result(Effect.timeout(measured, timeoutMs)).pipe(Effect.provide(realServices)),
  );
}

const reasonOf = (result: Result.Result<unknown, Error>) => Result.isFailure(result) ? result.failure.message : "none";
/** Says all that it was given, as a metric for each text that is as it should be. */
const looks = `
[ "$(cat parameters.safetensors)" = theta ] && [ "$(cat held_out/held_out.csv)" = 1,2,3 ] &&
[ "$JOB_JSON" = '{"training":{"round":3}}' ] && printf '{"metrics": {"accuracy": 0.5, "loss": 1.25}, "more": 1}' > result.json`;

test("a program finds parameters, held-out rows and its job, and its metrics are read", async () => {
  assert.equal(Result.getOrThrow(await run(looks)), { accuracy: 0.5, loss: 1.25 });
  assert.equal(readdirSync(workDir), [], "nothing is left");
});

test("it does so in the strongest cell of this machine", async () => {
  const { ports } = makeFakeWorld();
  const config = jobCell(cellDefault, { memory: 1, storage: 1 });
  const cell = await Effect.runPromise(findCell({ ports, config, workDir }));
  assert.equal(Result.getOrThrow(await run(looks, { cell })), { accuracy: 0.5, loss: 1.25 });
  assert.equal(readdirSync(workDir), []);
});

test("bug: after a clock was set back, the log got no more lines of an evaluation", async () => {
  const { ports } = makeFakeWorld();
  const lines: string[] = [];
  let now = 7_200_000;
  // The first line sets it back by an hour, which a clock without steps does not see.
  const report: typeof ports.report = (line) => {
    if (line.event !== "evaluation.output") return;
    now = 3_600_000;
    lines.push(line.message);
  };
  const executor = {
    cmd: "sh",
    args: ["-c", `cd "$WORK_DIR"; echo first; sleep 0.1; seq 1 60; sleep 1.2; echo last; ${looks}`],
  };
  const measured = evaluateParameters(
    {
      ports: { ...ports, report, now: () => now, monotonic: () => performance.now() },
      ...{ executor, cell: bare, settings: own, workDir },
    },
    { parameters, heldOut, jobJson: '{"training":{"round":3}}' },
  );
  Result.getOrThrow(await Effect.runPromise(Effect.result(measured).pipe(Effect.provide(realServices))));
  assert.equal([lines[0], lines.at(-1)], ["first", "last"]);
});

const failures: [name: string, script: string, reason: RegExp][] = [
  ["ends with another code", "echo no such model >&2; exit 3", /^it ended with 3: .*no such model/s],
  ["writes no result", "true", /^its result\.json: /],
  ["writes no JSON", "echo x > result.json", /^its result\.json: expected \{"metrics"/],
  ["writes a metric that is no number", `echo '{"metrics": {"a": "b"}}' > result.json`, /expected \{"metrics"/],
  ["writes infinity", `echo '{"metrics": {"a": 1e999}}' > result.json`, /expected \{"metrics"/],
  ["writes a large file", "head -c 70000 /dev/zero > result.json", /more than 65536 bytes/],
  ["writes a link to another file", `ln -s "${parameters}" result.json`, /^its result\.json: /],
];
for (const [name, script, reason] of failures) {
  test(`a program that ${name} gives no metrics`, async () => {
    assert.match(reasonOf(await run(script)), reason);
    assert.equal(readdirSync(workDir), []);
  });
}

test("more than 64 metrics are none", async () => {
  const metrics = Object.fromEntries(Array.from({ length: 65 }, (_, nth) => [`m${nth}`, nth]));
  const result = await run(`echo '${JSON.stringify({ metrics })}' > result.json`);
  assert.match(reasonOf(result), /more than 64 metrics/);
});

test("without confinement it does not start, unless the configuration allows it", async () => {
  const started = join(place.path, "started");
  const result = await run(`touch ${started}`, { settings: cellDefault });
  assert.match(reasonOf(result), /nothing would confine its executor/);
  assert.not(existsSync(started));
});

test("an evaluation that is interrupted ends its program and leaves nothing", async () => {
  const { ports } = makeFakeWorld();
  const executor = { cmd: "sh", args: ["-c", 'cd "$WORK_DIR"; touch here; exec sleep 600'] };
  const measured = evaluateParameters(
    { ports, executor, cell: bare, settings: own, workDir },
    { parameters, heldOut, jobJson: "{}" },
  );
  const ended = new Promise<Exit.Exit<unknown, unknown>>((resolve) => {
    const fiber = Effect.runFork(Effect.provide(measured, realServices));
    fiber.addObserver(resolve);
    const look = setInterval(() => {
      if (!readdirSync(workDir).some((name) => existsSync(join(workDir, name, "here")))) return;
      clearInterval(look);
      fiber.interruptUnsafe();
    }, 20);
  });
  assert.ok(Exit.isFailure(await ended));
  assert.equal(readdirSync(workDir), []);
});

test.run();
