/**
 * The demo as a whole, on Node, in a pseudo-terminal of 80 × 24, its nodes on both runtimes. `.ci/run` runs it on Node, mixed, by
 * hand with labels shuffled, and on a machine that has nothing but Deno.
 */
import { spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkSocketPaths } from "../../scripts/demo/cell.ts";
import { ByHand } from "../../scripts/demo/by_hand.ts";
import { type Layout, valuesOf } from "../../scripts/demo/configuration.ts";
import { planNetwork, startNode, untilHealthy } from "../../scripts/demo/network.ts";
import { survivors } from "../../scripts/demo/processes.ts";
import type { DemoResult, Verdict } from "../../scripts/demo/promises.ts";
import { findInPath } from "../../scripts/demo/runtimes.ts";
import { ownRuntime, startable } from "../../scripts/check/runtimes.ts";
import { isAtLeast } from "../../scripts/program/require_node.ts";
import { needing } from "../support/prerequisites.ts";
import { startInTerminal, type Terminal } from "../support/terminal.ts";

const test = suite("npm run demo");
const onDeno = ownRuntime === "deno";
const demoTimeoutMs = 500_000;
/** The demos' folders lie in here, away from those of demos that somebody else runs. A short name: sockets lie below it. */
const temporary = mkdtempSync(join(tmpdir(), "hd-"));
/** All that a machine with Deno alone has in its PATH. */
const denoAlone = join(temporary, "bin");
mkdirSync(denoAlone);
if (onDeno) symlinkSync(process.execPath, join(denoAlone, "deno"));

const script = fileURLToPath(new URL("../../scripts/demo.ts", import.meta.url));
const command: readonly [string, ...string[]] = onDeno
  ? [startable(process.execPath), "run", "-A", "--quiet", "--no-check", script]
  : [process.execPath, "--no-warnings", script];
const environment: Record<string, string | undefined> = {
  ...process.env,
  NO_COLOR: "1",
  TMPDIR: temporary,
  // Compiled once for all tests: a third of each start.
  NODE_COMPILE_CACHE: fileURLToPath(new URL("../../node_modules/.cache/node-compile", import.meta.url)),
  ...(onDeno ? { PATH: denoAlone } : {}),
};

interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs the demo; `onText` sees its progress as it comes. */
function demo(
  args: readonly string[],
  onText: (text: string, interrupt: () => void) => void = () => {},
): Promise<Ended> {
  return new Promise((resolve) => {
    const [program, ...before] = command;
    const child = spawn(program, [...before, ...args], {
      env: environment as NodeJS.ProcessEnv,
      stdio: ["ignore", "pipe", "pipe"],
    });
    const signal = (name: NodeJS.Signals) => void (child.pid !== undefined && process.kill(child.pid, name));
    const timer = setTimeout(() => signal("SIGTERM"), demoTimeoutMs);
    const output = { stdout: "", stderr: "" };
    for (const name of ["stdout", "stderr"] as const) {
      child[name].setEncoding("utf8").on("data", (text: string) => {
        output[name] += text;
        onText(output.stdout + output.stderr, () => signal("SIGINT"));
      });
    }
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, ...output });
    });
  });
}

/** Runs a demo that has to end at once: its exit code, and the one line that it says. */
function refused(args: readonly string[], env: Record<string, string> = {}): [code: number | null, said: string] {
  const [program, ...before] = command;
  const options = { encoding: "utf8", env: { ...environment, ...env } as NodeJS.ProcessEnv } as const;
  const { status, stdout, stderr } = spawnSync(program, [...before, ...args], options);
  assert.is(stdout, "");
  assert.is(stderr.split("\n").length, 2, stderr);
  return [status, stderr.trimEnd()];
}

/** The model stays when the demo has ended. */
const model = join(temporary, "model.safetensors");
const modelOut = ["--model-out", model];

/** A machine that does much else is late; the promise itself is .ci/run's, where the demo is alone. */
const isExcused = (broken: string) =>
  / closed the revoked worker after \d+ ms, over 2000 ms$/.test(broken) &&
  (loadavg()[0] ?? 0) > 3 * availableParallelism();

function assertKept(result: DemoResult & Verdict): void {
  assert.equal(result.promises.flatMap(({ broken }) => broken).filter((broken) => !isExcused(broken)), []);
  assert.is(result.promises.length, 13);
  assert.is(result.runtime, "mixed");
  assert.is(result.nodes, 9);
  assert.equal(result.rounds.map(({ round }) => round), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  assert.type(result.rounds[9]?.accuracy, "number");
  for (const code of ["certificate-revoked", "unknown-issuer", "certificate-expired", "self-signed"]) {
    assert.ok((result.refused[code] ?? 0) >= 1, `${code} in ${JSON.stringify(result.refused)}`);
  }
  assert.ok(Object.keys(result.revocation.closedMs).length >= 3);
  assert.is(result.recovered.length, 1);
  assert.match(result.recovered[0]?.killed ?? "", /^worker-[1-4]$/);
  // At the latest the round after the one in the middle finds the aggregator dead.
  assert.ok((result.recovered[0]?.rounds ?? 0) >= 2, JSON.stringify(result.recovered));
  for (const [name, ms] of Object.entries(result.revocation.closedMs)) {
    assert.type(ms, "number", name);
  }
  assert.equal(Object.keys(result).sort(), [
    "accepted",
    "accuracy",
    "bytes",
    "executor",
    "joined",
    "model",
    "nodes",
    "promises",
    "recovered",
    "refused",
    "revocation",
    "rounds",
    "runtime",
    "seconds",
    "verdict",
  ]);
}

test("wrong usage exits 2, and so does a runtime that the machine lacks: one line each", () => {
  const [code, said] = refused(["--runtime", "bun"]);
  assert.is(code, 2);
  assert.match(refused(["--executor", "ruby"])[1], /--executor is typescript or python, not ruby/);
  const [noPython, why] = refused(["--executor", "python"], { PATH: denoAlone });
  assert.is(noPython, 2);
  assert.match(why, /--executor python, and there is no python3 in PATH: (apt-get )?install .*python3-venv/);
  assert.match(said, /--runtime is node, deno or mixed, not bun/);
  assert.is(refused(["--no-such"])[0], 2);
  for (const [path, reason] of [["/", "is a directory"], ["/no/such/file", "its folder is not there"]] as const) {
    const [code, said] = refused(["--model-out", path]);
    assert.is(code, 2);
    assert.match(said, reason);
  }
  for (const runtime of onDeno ? ["node", "mixed"] : []) {
    const [code, said] = refused(["--runtime", runtime]);
    assert.is(code, 2);
    assert.match(said, new RegExp(`^Cannot run demo: --runtime ${runtime}, and no Node 22\\.19 or newer in PATH`));
  }
});

test("no directory for temporary files, or one that is a file: one line, exit 1", () => {
  const file = join(temporary, "file");
  writeFileSync(file, "");
  for (const [TMPDIR, reason] of [["/no/such", "there is no such directory"], [file, "it is no directory"]] as const) {
    const [code, said] = refused(["--quick", ...modelOut], { TMPDIR });
    assert.is(code, 1);
    assert.is(said, `Cannot make a folder in ${TMPDIR}: ${reason}. Set TMPDIR to a directory that you can write to`);
  }
});

test("a Node that is too old, or Deno under Node's name, is none", () => {
  assert.equal(["22.18.9", "22.19.0", "23.0.0", "8.99.0"].map((version) => isAtLeast(version, "22.19")), [
    false,
    true,
    true,
    false,
  ]);
  for (const [version, deno, expected] of [["20.18.1", "", false], ["26.3.0", "2.9.6", false], ["24.1.0", "", true]]) {
    const folder = mkdtempSync(join(temporary, "node-"));
    const versions = deno === "" ? { node: version } : { node: version, deno };
    const found = JSON.stringify({ path: "/bin/sh", versions });
    writeFileSync(join(folder, "node"), `#!/bin/sh\necho '${found}'\n`, { mode: 0o755 });
    assert.is(findInPath("node", `/no/such:${folder}`) !== undefined, expected, `${version} ${deno}`);
  }
});

test("a folder whose path is too long for sockets is told before anything starts", () => {
  const cell = { level: "bare", user: "own", cgroups: [], disk: "measured", chain: "none", notes: [] } as const;
  const folder = (bytes: number) => `/${"x".repeat(bytes - 1)}`;
  checkSocketPaths(folder(38), cell);
  assert.throws(() => checkSocketPaths(folder(39), cell), /is 1 bytes too long for sockets below it: set TMPDIR/);
  checkSocketPaths(folder(90), { ...cell, level: "full" });
});

test("a port in use: one line that names the address", async () => {
  const { gateway: plan } = await planNetwork({ runtime: ownRuntime, tools: ownRuntime });
  const folder = mkdtempSync(join(temporary, "port-"));
  const certifier = new ByHand(folder);
  await certifier.begin();
  const layout = { folder, way: "by-hand", gatewayPort: plan.port } as unknown as Layout;
  await certifier.certify(plan, valuesOf(plan, layout));
  const taken = createServer().listen(plan.port, "127.0.0.1");
  await once(taken, "listening");
  const node = startNode(plan, layout, certifier);
  const prober = { place: certifier.placeOf(plan.name), tools: ownRuntime };
  const reason = await untilHealthy(node, plan, prober).then(() => "it started", (error: Error) => error.message);
  taken.close();
  assert.match(
    reason,
    new RegExp(`^gateway ended \\(exit 1\\) before readiness: .*/ip4/127\\.0\\.0\\.1/tcp/${plan.port}`),
  );
  assert.not.match(reason, /\n/);
});

// On Deno the whole demo is the business of .ci/run, as on a machine that has Deno alone.
if (!onDeno) {
  needing(test, "script", "deno")(
    "80 × 24: nothing wraps, the progress line never stacks, the verdict is last; it stays for its console until Ctrl-C",
    async () => {
      const out = join(temporary, "out.json");
      const bars = ({ rows }: Terminal) => rows.filter((row) => /█|░|round \d+\//.test(row));
      let most = 0;
      let stayed = false;
      const { terminal, ended, written } = startInTerminal([
        ...command,
        "--quick",
        "--json",
        "--runtime",
        "mixed",
        "--console",
        ...modelOut,
      ], {
        columns: 80,
        env: { ...environment, NO_COLOR: "", CI: "", TERM: "xterm" },
        redirect: `> '${out}'`,
        look: (shown, { interrupt }) => {
          most = Math.max(most, bars(shown).length);
          if (stayed || !shown.rows.some((row) => row.includes("Ctrl-C ends it"))) return;
          stayed = true;
          interrupt();
        },
      });
      const shown = () => terminal.rows.join("\n");
      const code = await ended;
      const result = JSON.parse(readFileSync(out, "utf8"));
      assertKept(result);
      const isKept = result.verdict === "all promises held";
      assert.is(code, isKept ? 0 : 1, shown());
      assert.ok(result.accuracy >= 0.95, String(result.accuracy));
      assert.equal([result.model.path, result.model.bytes], [model, readFileSync(model).byteLength]);
      assert.is(result.model.sha256, createHash("sha256").update(readFileSync(model)).digest("hex"));
      assert.ok(result.joined.processorSeconds > 1 && result.joined.processorSeconds <= 60, result.joined);
      assert.equal(terminal.wrapped, []);
      const evaluated = result.rounds.filter(({ accuracy }: { accuracy: number | null }) => accuracy !== null);
      assert.is(written().split(/round \d+\//).length - 1, evaluated.length, "each evaluated round was shown");
      assert.is(most, 1, "progress lines that stood there at once");
      assert.equal(bars(terminal), []);
      if (isKept) assert.is(terminal.rows.at(-2), "all promises held (13 of 13)");
    },
  );
}

/** On Node when executors run in their cells; on Deno, whose signals are others, as soon as there are nodes. */
test("Ctrl-C in the middle leaves no process and no folder", async () => {
  let sent = false;
  const { code, stdout, stderr } = await demo(["--quick", "--keep", ...modelOut], (text, interrupt) => {
    if (sent || !text.includes(onDeno ? "answers its probe" : "leased for aggregate")) return;
    sent = true;
    interrupt();
  });
  assert.is(code, 130, stderr);
  const folder = /Kept: (.*)/.exec(stderr)?.[1] ?? "";
  assert.ok(existsSync(folder), "--keep keeps the folder and says where");
  if (onDeno) assert.match(stdout, /All processes run on Deno: no Node 22\.19 or newer/);
  assert.equal(survivors(folder), []);
  rmSync(folder, { recursive: true });
});

test.after(() => {
  const left = readdirSync(temporary);
  const alive = survivors(temporary);
  rmSync(temporary, { recursive: true, force: true });
  if (alive.length > 0) throw new Error(`processes survive: ${alive.join("; ")}`);
  if (left.some((name) => name.startsWith("hypha-demo-"))) throw new Error(`folders are left: ${left.join(", ")}`);
});

test.run();
