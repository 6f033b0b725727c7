/** What a program does about signals, sent by this process to itself. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { drainTimeoutMsDefault, telemetryLeaveMs } from "../../actors/config/defaults.ts";
import { closeMs, countersMs } from "../../actors/node/node_setup.ts";
import { auditCloseMs } from "../../scripts/program/audit.ts";
import { disposeMs, leaveMsOf } from "../../scripts/program/run.ts";
import { listenToSignals, rememberReload } from "../../scripts/program/signals.ts";
import { startProgram } from "../support/program.ts";

function listen() {
  const heard: string[] = [];
  const quiet = listenToSignals({
    stop: (signal) => heard.push(`stop ${signal}`),
    abort: (signal) => heard.push(`abort ${signal}`),
    reload: () => heard.push("reload"),
    crash: (error) => heard.push(`crash ${String(error)}`),
  });
  return { heard, quiet };
}

async function until(holds: () => boolean): Promise<void> {
  const end = performance.now() + 20_000;
  while (!holds() && performance.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  assert.ok(holds());
}

const test = suite("listenToSignals()");

test("ends in order at the first signal, at once at the second, whichever they are", async () => {
  const { heard, quiet } = listen();
  process.kill(process.pid, "SIGTERM");
  await until(() => heard.length === 1);
  process.kill(process.pid, "SIGINT");
  await until(() => heard.length === 2);
  quiet();
  assert.equal(heard, ["stop SIGTERM", "abort SIGINT"]);
});

test("looks at the trust files again at SIGHUP, as often as it comes", async () => {
  const { heard, quiet } = listen();
  process.kill(process.pid, "SIGHUP");
  await until(() => heard.length === 1);
  process.kill(process.pid, "SIGHUP");
  await until(() => heard.length === 2);
  quiet();
  assert.equal(heard, ["reload", "reload"]);
});

test("bug: SIGHUP ended a program that was still starting, and systemd took that for an orderly end", async () => {
  const script = new URL("../support/early_hangup.ts", import.meta.url);
  for (const name of ["hypha-gateway", "hypha-ca"] as const) {
    const args = [name, "run", "-c", "no-such-file.toml"];
    const { code, signal, stderr } = await startProgram("gateway", args, { script }).ended;
    assert.equal([code, signal], [2, null], stderr);
    assert.match(stderr, "no-such-file.toml");
  }
  const other = await startProgram("gateway", ["hypha-gateway", "status", "-c", "no.toml"], { script }).ended;
  assert.is(other.signal, "SIGHUP", "other commands end with their terminal");
});

test("bug: a SIGHUP that came before was lost: it is taken up once", async () => {
  const before = process.listenerCount("SIGHUP");
  rememberReload();
  let came = 0;
  const count = () => void (came += 1);
  process.on("SIGHUP", count);
  process.kill(process.pid, "SIGHUP");
  process.kill(process.pid, "SIGHUP");
  await until(() => came > 0); // one, where the system joins the two
  await new Promise((resolve) => setTimeout(resolve, 50));
  process.off("SIGHUP", count);
  const first = listen();
  first.quiet();
  const second = listen();
  second.quiet();
  assert.equal([first.heard, second.heard], [["reload"], []]);
  assert.is(process.listenerCount("SIGHUP"), before);
});

test("hears of errors that nobody caught", () => {
  const { heard, quiet } = listen();
  // Ours is the last to listen; the runner's own would count these as failures.
  for (const [event, error] of [["uncaughtException", new Error("x")], ["unhandledRejection", "y"]] as const) {
    const ours = process.listeners(event as "uncaughtException").at(-1);
    ours?.(error as Error, "uncaughtException");
  }
  quiet();
  assert.equal(heard, ["crash Error: x", "crash y"]);
});

test("leaves nothing listening behind", () => {
  const before = process.listenerCount("SIGTERM");
  listen().quiet();
  assert.is(process.listenerCount("SIGTERM"), before);
});

/** Starts a command of this tree that prints `ready`, sends it a signal, and says how it ended and what it printed. */
function signalled(file: string, args: readonly string[], signal: NodeJS.Signals) {
  const child = spawn(file, args, { stdio: ["ignore", "pipe", "inherit"] });
  let printed = "";
  child.stdout.on("data", (bytes) => {
    const was = printed;
    printed += String(bytes);
    if (!was.includes("ready") && printed.includes("ready") && child.pid !== undefined) process.kill(child.pid, signal);
  });
  return new Promise<readonly [number | null, string]>((resolve) => {
    child.on("close", (code) => resolve([code, printed]));
  });
}

// On Deno the same process of Node would be tested.
if (!("Deno" in globalThis)) {
  const ensure = fileURLToPath(new URL("../../scripts/ensure.mjs", import.meta.url));
  const stays = `process.on("SIGTERM", () => { console.log("told"); process.exit(7); });
    setInterval(() => {}, 1000); console.log("ready");`;

  test("npm's commands pass a signal on to the program that they start, and end as it does", async () => {
    const [told, killed] = await Promise.all([
      signalled(process.execPath, [ensure, "node", "-e", stays], "SIGTERM"),
      signalled(
        process.execPath,
        [ensure, "node", "-e", 'setInterval(() => {}, 1000); console.log("ready");'],
        "SIGINT",
      ),
    ]);
    assert.equal(told, [7, "ready\ntold\n"]);
    assert.equal(killed, [130, "ready\n"]);
  });

  test("bug: a signal in the moment in which npm's command had started its program ended the command alone", async () => {
    const atOnce = `import childProcess from "node:child_process";
      import { syncBuiltinESMExports } from "node:module";
      const { spawn } = childProcess;
      childProcess.spawn = (...given) => {
        const child = spawn(...given);
        process.kill(process.pid, "SIGTERM");
        return child;
      };
      syncBuiltinESMExports();`;
    const program = "setTimeout(() => console.log('it went on'), 1000);";
    const args = ["--import", `data:text/javascript,${encodeURIComponent(atOnce)}`, ensure, "node", "-e", program];
    assert.equal(await signalled(process.execPath, args, "SIGTERM"), [143, ""]);
  });
}

test("bug: a node that ended was ended at once before the limits of all steps of its end had passed", () => {
  const drainTimeoutMs = drainTimeoutMsDefault;
  const steps = {
    ...{ drainTimeoutMs, countersMs, closing: closeMs, previousIdentities: closeMs },
    ...{ telemetryLeaveMs, auditCloseMs, disposeMs },
  };
  const limit = leaveMsOf({ drainTimeoutMs });
  assert.ok(limit > Object.values(steps).reduce((sum, each) => sum + each), `${limit} ms: ${JSON.stringify(steps)}`);
  const roles = ["gateway", "scheduler", "worker", "data"];
  const places = [
    ...roles.map((role) => [`docs/systemd/hypha-${role}.service`, /^TimeoutStopSec=(\d+)$/m] as const),
    ["docs/container/compose.yaml", /^ +stop_grace_period: (\d+)s$/m] as const,
  ];
  const more = `drain_timeout_ms and ${leaveMsOf({ drainTimeoutMs: 0 }) / 1_000} seconds more`;
  for (const [file, pattern] of places) {
    const text = readFileSync(file, "utf8");
    const [, seconds] = pattern.exec(text) ?? [];
    assert.ok(limit < Number(seconds) * 1_000, `${file}: killed after ${seconds} s`);
    assert.match(text, more, file);
  }
});

test.run();
