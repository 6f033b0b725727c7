import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { survivors } from "../../scripts/demo/processes.ts";

const test = suite("npm run demo");
const runtime = "Deno" in globalThis ? "deno" : "node";
const node = join("node_modules", ".bin", "node");
const demoTimeoutMs = 150_000;
/** The demos' folders lie in here, away from those of demos that somebody else runs. A short name: sockets lie below it. */
const temporary = mkdtempSync(join(tmpdir(), "hd-"));

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
    const child = spawn(node, ["--no-warnings", "scripts/demo.ts", "--runtime", runtime, ...args], {
      env: { ...process.env, NO_COLOR: "1", TMPDIR: temporary },
      stdio: ["ignore", "pipe", "pipe"],
    });
    const timer = setTimeout(() => child.kill("SIGTERM"), demoTimeoutMs);
    let stdout = "";
    let stderr = "";
    const interrupt = () => {
      if (child.pid !== undefined) process.kill(child.pid, "SIGINT");
    };
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      stdout += text;
      onText(stdout + stderr, interrupt);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      stderr += text;
      onText(stdout + stderr, interrupt);
    });
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, stdout, stderr });
    });
  });
}

test("wrong usage exits 2 and says how", async () => {
  const { code, stderr } = await demo(["--runtime", "bun"]);
  assert.is(code, 2);
  assert.match(stderr, /--runtime is node, deno or mixed, not bun/);
});

test("shuffled labels stay under 20 %, and standard output is one JSON object", async () => {
  const { code, stdout, stderr } = await demo(["--quick", "--shuffle-labels", "--json"]);
  assert.is(code, 0, stderr);
  const result = JSON.parse(stdout);
  assert.ok(result.accuracy < 0.2, String(result.accuracy));
  assert.is(result.runtime, runtime);
  assert.is(result.nodes, 7);
  assert.is(result.rounds.length, 10);
  for (const code of ["certificate-revoked", "unknown-issuer", "certificate-expired", "self-signed"]) {
    assert.ok(result.refused[code] >= 1, `${code} in ${JSON.stringify(result.refused)}`);
  }
  for (const [name, ms] of Object.entries(result.revocation.closedMs)) {
    assert.ok(typeof ms === "number" && ms <= 1_000, `${name}: ${ms}`);
  }
});

test("Ctrl-C in the middle leaves no process and no folder", async () => {
  let sent = false;
  const { code, stderr } = await demo(["--quick", "--keep"], (text, interrupt) => {
    if (sent || !text.includes("leased for aggregate")) return;
    sent = true;
    interrupt();
  });
  assert.is(code, 130, stderr);
  const folder = /Kept: (.*)/.exec(stderr)?.[1] ?? "";
  assert.ok(existsSync(folder), "--keep keeps the folder and says where");
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
