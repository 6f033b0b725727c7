import { chmodSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { basename, dirname, join, resolve } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { Effect, Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { makeCommand } from "../../actors/job/command.ts";
import { identifyProcess, isAlive } from "../../actors/job/process_identity.ts";
import { collectOutput, lineCharactersMax, linesPerSecondMax, tailBytesMax } from "../../actors/job/output.ts";
import { failureReason } from "../../actors/job/reason.ts";
import { type Executor, startExecutor } from "../../actors/job/process.ts";
import { eventually, failureOf, runOf, temporary } from "../support/job_world.ts";
import { needing } from "../support/prerequisites.ts";

const here = dirname(fileURLToPath(import.meta.url));
const node = resolve(here, "../../node_modules/.bin/node");
const vectors: { environment: { added: string[] }; args_template: string[]; args: string[]; job_json: string } = JSON
  .parse(
    readFileSync(join(here, "../vectors/wire/bridge.json"), "utf8"),
  );
const place = { socketPath: "/w/bridge.sock", workDir: "/w", jobJson: vectors.job_json, token: undefined };
const environment = { PATH: "/usr/bin:/bin", HOME: "/home/me", LANG: "C", SECRET: "x" };

// ── The command ─────────────────────────────────────────────────────────────────────────────────────────────────────

const command = suite("makeCommand()");
const made = (cmd: string, args: readonly string[], over: object = {}) =>
  Result.getOrThrow(makeCommand({ cmd, args }, { ...place, ...over }, environment));

command("fills in the captured arguments, and leaves other braces", () => {
  const expected = vectors.args.map((arg) => arg.replace("{WORK_DIR}", "/w"));
  assert.equal(made("/bin/sh", vectors.args_template).args, expected);
});

command("does not fill in a value's own braces", () => {
  assert.equal(made("/bin/sh", ["{JOB_JSON}"], { jobJson: "{WORK_DIR}" }).args, ["{WORK_DIR}"]);
});

command("hands on PATH, HOME and LANG, and the job's variables; the token where there is one", () => {
  assert.equal(made("/bin/sh", []).env, {
    PATH: "/usr/bin:/bin",
    HOME: "/home/me",
    LANG: "C",
    SOCKET_PATH: "/w/bridge.sock",
    WORK_DIR: "/w",
    JOB_JSON: vectors.job_json,
  });
  const added = Object.keys(made("/bin/sh", []).env).filter((name) => !(name in environment));
  assert.equal(added.sort(), vectors.environment.added);
  assert.is(made("/bin/sh", [], { token: "t" }).env["BRIDGE_TOKEN"], "t");
});

command("finds a program in PATH, and says where it looked", () => {
  assert.match(made("sh", []).file, /^\/(usr\/)?bin\/sh$/);
  const missing = makeCommand({ cmd: "no-such-program", args: [] }, place, environment);
  assert.ok(Result.isFailure(missing));
  assert.is(missing.failure._tag, "ExecutorMissing");
  assert.match(missing.failure.message, /"no-such-program": no such program in PATH=\/usr\/bin:\/bin/);
  for (const cmd of ["", "/", "/etc", "/etc/passwd", "./no-such-program"]) {
    assert.ok(Result.isFailure(makeCommand({ cmd, args: [] }, place, environment)), cmd);
  }
});

command("spells the runtime's own path so that Deno does not take it for Node", () => {
  const { execPath } = process;
  const spelled = `${dirname(execPath)}/./${basename(execPath)}`;
  const { file, args } = made(execPath, [execPath, `--x=${execPath}`]);
  assert.equal([file, ...args], [spelled, spelled, `--x=${execPath}`]);
});
command.run();

// ── The output ──────────────────────────────────────────────────────────────────────────────────────────────────────

const output = suite("collectOutput()");
const bytes = (text: string) => new TextEncoder().encode(text);
function collected() {
  const lines: string[] = [], suppressed: number[] = [];
  const clock = { now: 0 };
  const sink = {
    line: (text: string) => void lines.push(text),
    suppressed: (count: number) => void suppressed.push(count),
  };
  return { lines, suppressed, clock, output: collectOutput(sink, () => clock.now) };
}

output("joins pieces to lines, each stream by itself, and ends the last one", () => {
  const { lines, output } = collected();
  const [first = new Uint8Array(), second = new Uint8Array()] = [bytes("é").slice(0, 1), bytes("é").slice(1)];
  output.take("stdout", bytes("a"));
  output.take("stderr", bytes("err\n"));
  output.take("stdout", first);
  output.take("stdout", second);
  output.take("stdout", bytes("b\r\n\nlast"));
  output.end();
  assert.equal(lines, ["err", "aéb", "", "last"]);
});

output("cuts a long line and drops the rest of it", () => {
  const { lines, output } = collected();
  for (let piece = 0; piece < 100; piece++) output.take("stdout", bytes("x".repeat(10_000)));
  output.take("stdout", bytes(`\n${"y".repeat(lineCharactersMax)}\n`));
  assert.equal(lines.map((line) => line.length), [lineCharactersMax + 1, lineCharactersMax]);
});

output("logs so many lines a second, and counts the others", () => {
  const { lines, suppressed, clock, output } = collected();
  output.take("stdout", bytes("x\n".repeat(linesPerSecondMax + 5)));
  assert.is(lines.length, linesPerSecondMax);
  clock.now = 1_000;
  output.take("stdout", bytes("x\n"));
  assert.equal([lines.length, suppressed], [linesPerSecondMax + 1, [5]]);
});

output("bug: lines beyond those of a second were decoded, and empty ones took most of the worker's thread", () => {
  const { lines, suppressed, clock, output } = collected();
  const { decode } = TextDecoder.prototype;
  let decoded = 0;
  TextDecoder.prototype.decode = function (...args) {
    decoded += 1;
    return decode.apply(this, args);
  };
  try {
    for (let piece = 0; piece < 10; piece++) output.take("stdout", new Uint8Array(65_536).fill(10));
    output.take("stderr", bytes("a\nb\nbegun"));
  } finally {
    TextDecoder.prototype.decode = decode;
  }
  assert.ok(decoded < 4 * linesPerSecondMax, `${decoded} decoded`);
  assert.is(lines.length, linesPerSecondMax);
  clock.now = 1_000;
  output.take("stderr", bytes(" and ended\n"));
  assert.equal([lines.slice(linesPerSecondMax), suppressed], [["begun and ended"], [
    10 * 65_536 - linesPerSecondMax + 2,
  ]]);
});

output("keeps the last bytes of both streams", () => {
  const { output } = collected();
  output.take("stdout", bytes("a".repeat(tailBytesMax)));
  output.take("stderr", bytes("b"));
  assert.is(output.tail(), `${"a".repeat(tailBytesMax - 1)}b`);
  output.take("stdout", bytes("c".repeat(tailBytesMax + 10)));
  assert.is(output.tail(), "c".repeat(tailBytesMax));
});

output("takes the meaning out of control characters", () => {
  const { lines, output } = collected();
  output.take("stdout", bytes("\x1b[31mred\x07\tx\x9b\n"));
  assert.equal(lines, [" [31mred \tx "]);
});

output("a reason is at most 4,096 bytes, begins with the summary and ends with the tail", () => {
  const size = (text: string) => new TextEncoder().encode(text).length;
  assert.is(failureReason("exit 3"), "exit 3");
  assert.is(failureReason("exit 3", "  no\n"), "exit 3; its last output:\nno");
  const long = failureReason("exit 3", `${"é€😀".repeat(2_000)}end`);
  assert.ok(size(long) <= 4_096 && size(long) > 4_080, String(size(long)));
  assert.ok(long.startsWith("exit 3; ") && long.endsWith("😀end") && !long.includes("�"));
  assert.is(size(failureReason("x".repeat(5_000), "tail")), 4_096);
  assert.is(size(failureReason("é".repeat(5_000))), 4_096);
  assert.is(size(failureReason(`x${"é".repeat(5_000)}`)), 4_095);
});
output.run();

// ── The process ─────────────────────────────────────────────────────────────────────────────────────────────────────

const test = suite("startExecutor()");
const withSleep = needing(test, "sleep");
const here2 = temporary();
test.after(() => here2.remove());

function run<A>(
  script: string,
  use: (executor: Executor, lines: string[]) => Effect.Effect<A, unknown>,
  graceMs = 300,
): Promise<A> {
  const lines: string[] = [];
  const sink = { line: (text: string) => void lines.push(text), suppressed: () => {} };
  const command = { file: "/bin/sh", args: ["-c", script], env: { PATH: process.env["PATH"] ?? "" } };
  return runOf(Effect.scoped(
    Effect.flatMap(startExecutor(command, { sink, now: () => 0, graceMs }), (executor) => use(executor, lines)),
  ));
}
const waitFor = (what: string, holds: () => boolean) => Effect.promise(() => eventually(what, holds));

test("an exit has its code and the end of both outputs", async () => {
  const exit = await run("echo out; echo err >&2; exit 3", ({ exited }) => exited);
  assert.is(exit.code, 3);
  assert.equal(exit.tail.split("\n").sort(), ["", "err", "out"]);
});

needing(test, "head")(
  "bug: output was read as fast as it came; what is over 1 MiB waits for the next second",
  async () => {
    const before = performance.now();
    const exit = await run("head -c 1600000 /dev/zero >&2; head -c 10 /dev/zero; echo end", ({ exited }) => exited);
    assert.ok(performance.now() - before >= 900, `${performance.now() - before} ms`);
    assert.match(exit.tail, /\0end\n$/);
  },
);

test("a crash has its signal", async () => {
  const exit = await run("kill -SEGV $$", ({ exited }) => exited);
  assert.equal([exit.code, exit.signal], [null, "SIGSEGV"]);
});

needing(test, "env", "sort", "cut")("input is empty, and the environment is what was given", async () => {
  const lines = await run(
    "read x; echo got=$x; env | sort | cut -d= -f1",
    ({ exited }, lines) => Effect.as(exited, lines),
  );
  const names = lines.filter((line) => !["PWD", "SHLVL", "_", "OLDPWD"].includes(line));
  assert.equal(names, ["got=", "PATH"]);
});

test("a file that is no program is a typed failure", async () => {
  const path = join(here2.path, "text");
  writeFileSync(path, "#!/no/such/interpreter\n");
  chmodSync(path, 0o755);
  const options = { sink: { line: () => {}, suppressed: () => {} }, now: () => 0, graceMs: 100 };
  const env = { PATH: "" };
  const failure = await failureOf(Effect.scoped(startExecutor({ file: path, args: [], env }, options)));
  assert.equal([failure._tag, failure.code], ["ExecutorNotStarted", "ENOENT"]);
  const big = { file: "/bin/true", args: [], env: { JOB_JSON: "x".repeat(200_000) } };
  assert.is((await failureOf(Effect.scoped(startExecutor(big, options)))).code, "E2BIG");
});

withSleep("SIGTERM comes first, and is enough for who listens", async () => {
  const exit = await run(
    "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done",
    ({ terminate }, lines) => Effect.andThen(waitFor("up", () => lines.includes("up")), terminate),
    5_000,
  );
  assert.is(exit.code, 7);
  // The shell says on its other stream that its `sleep` was terminated, which may be read before or after.
  assert.match(exit.tail, /^up\n[^]*bye\n/);
});

withSleep("who ignores SIGTERM is killed after the grace, not before", async () => {
  const graceMs = 400;
  const tookMs = await run(
    "trap '' TERM; echo up; while :; do sleep 0.05; done",
    ({ terminate }, lines) =>
      Effect.gen(function* () {
        yield* waitFor("up", () => lines.includes("up"));
        const from = performance.now();
        const exit = yield* terminate;
        assert.is(exit.signal, "SIGKILL");
        return performance.now() - from;
      }),
    graceMs,
  );
  assert.ok(tookMs >= graceMs - 20 && tookMs < graceMs + 2_000, `${tookMs} ms`);
});

withSleep("who is killed gets no SIGTERM", async () => {
  const exit = await run(
    "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.05; done",
    ({ kill }, lines) => Effect.andThen(waitFor("up", () => lines.includes("up")), kill),
    5_000,
  );
  assert.equal([exit.code, exit.signal, exit.tail], [null, "SIGKILL", "up\n"]);
});

withSleep("what it started in its group is gone with it: after its end, and when it is ended", async () => {
  const grandchildren = (lines: readonly string[]) => lines.filter((line) => /^\d+$/.test(line)).map(Number);
  const family = "(trap '' TERM; exec sleep 60) & echo $!; sh -c 'sleep 60 & echo $!; wait' &";
  for (const [rest, end] of [["sleep 0.3; exit 0", false], ["echo up; wait", true]] as const) {
    const pids = await run(`${family} ${rest}`, ({ exited, terminate }, lines) =>
      Effect.gen(function* () {
        yield* waitFor("both", () => grandchildren(lines).length === 2);
        const pids = grandchildren(lines);
        assert.ok(pids.every((pid) => identifyProcess(pid) !== undefined));
        yield* (end ? terminate : exited);
        return pids;
      }));
    await eventually("the grandchildren's end", () => pids.every((pid) => identifyProcess(pid) === undefined));
  }
});

withSleep("the scope's end is its end", async () => {
  const pid = await run("sleep 60", ({ pid }) => Effect.succeed(pid));
  assert.is(identifyProcess(pid), undefined);
});

needing(withSleep, "node")("when this process exits without ending it, its group is killed", async () => {
  const program = `
    import { Effect } from "effect";
    import { startExecutor } from ${JSON.stringify(resolve(here, "../../actors/job/process.ts"))};
    const command = { file: "/bin/sh", args: ["-c", "trap '' TERM; sleep 60 & echo $!; wait"], env: { PATH: "/usr/bin:/bin" } };
    const sink = { line: (pid) => { console.log(pid); process.exit(3); }, suppressed() {} };
    Effect.runFork(Effect.scoped(Effect.andThen(startExecutor(command, { sink, now: () => 0, graceMs: 9e4 }), Effect.never)));`;
  const args = ["--input-type=module", "-e", program];
  const { status, stdout, stderr } = spawnSync(node, args, {
    cwd: resolve(here, "../.."),
    encoding: "utf8",
    timeout: 90_000,
  });
  assert.is(status, 3, stderr);
  await eventually("its end", () => identifyProcess(Number(stdout)) === undefined);
});

needing(withSleep, "cp", "sh", "cat")("a process is known by its start, not by its number", () => {
  const self = identifyProcess(process.pid);
  assert.ok(self !== undefined && isAlive(self));
  assert.not.ok(isAlive({ ...self, startTime: "1" }));
  assert.not.ok(isAlive({ ...self, bootId: "another" }));
  assert.is(identifyProcess(2 ** 22 + 1), undefined);
  // A name with spaces and parentheses does not shift the fields.
  const odd = join(here2.path, "a ) (b");
  mkdirSync(here2.path, { recursive: true });
  spawnSync("cp", ["/bin/sleep", odd]);
  const child = spawnSync("sh", ["-c", `"$0" 5 >/dev/null & p=$!; sleep 0.05; cat /proc/$p/stat; kill $p`, odd], {
    encoding: "utf8",
  });
  assert.match(child.stdout, /\(a \) \(b\)/);
});
test.run();
