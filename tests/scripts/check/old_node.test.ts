/** An old Node: the programs and npm's commands say what they need in one line, before anything else loads. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../../scripts/check/command.ts";
import { nodeSaying, systemOldNode } from "../../../scripts/check/old_node.ts";
import { findRuntime } from "../../../scripts/check/runtimes.ts";
import { nodeMin } from "../../../scripts/program/require_node.ts";
import { needing } from "../../support/prerequisites.ts";

const old = suite("an old Node");
const test = needing(old, "node");
const manifest = JSON.parse(readFileSync("package.json", "utf8"));
const programs = Object.keys(manifest.bin) as string[];
const node = findRuntime("node") ?? "node";

const saying = (version: string) => nodeSaying(version).command.slice(1);
const sourceOf = (program: string) => `scripts/${program.replace("-", "_")}.ts`;
const run = (command: string, ...args: readonly string[]) => runCommand(command, args, { timeoutMs: 60_000 });

old("the version that the programs check is the one that package.json names", () => {
  assert.is(manifest.engines.node, `>=${nodeMin}`);
});

for (const program of programs) {
  test(`${program} says in one line what it needs, and exits 1`, async () => {
    const { code, stdout, stderr } = await run(node, ...saying("22.18.9"), sourceOf(program), "--help");
    assert.equal([code, stdout], [1, ""]);
    assert.is(
      stderr,
      `Cannot run ${program}: it needs Node ${nodeMin} or newer, and this is Node 22.18.9: ` +
        "install it from https://nodejs.org/en/download\n",
    );
  });
}

test("the oldest Node that is new enough, and every newer one, is taken", async () => {
  const versions = [`${nodeMin}.0`, "23.0.0", "100.1.0"];
  const ended = await Promise.all(
    versions.map((version) => run(node, ...saying(version), sourceOf("hypha-certutil"), "--version")),
  );
  assert.equal(ended.map(({ code, stderr }) => [code, stderr]), versions.map(() => [0, ""]));
});

test("npm's commands say the same of a Node that cannot start the pinned one", async () => {
  const { code, stdout, stderr } = await run(node, ...saying("18.19.1"), "scripts/ensure.mjs", "node", "--version");
  assert.equal([code, stdout], [1, ""]);
  assert.match(
    stderr,
    /^Cannot start: [^\n]* need Node 20 or newer, and this is Node 18\.19\.1: install it from [^\n]+\n$/,
  );
  // Without its stamp it would install, under the tests that run.
  if (!existsSync("node_modules/.ensured")) return;
  const enough = await run(node, ...saying("20.0.0"), "scripts/ensure.mjs", "node", "--version");
  assert.equal([enough.code, enough.stdout], [0, `${(await run(node, "--version")).stdout}`]);
});

test("a Node of the system that is too old is found as what it is", () => {
  const system = systemOldNode();
  if (system === undefined) return; // There is none here.
  assert.match(spawnSync(system.command[0], ["--version"], { encoding: "utf8" }).stdout, `v${system.version}`);
  assert.ok(Number(system.version.split(".")[0]) < 22);
});

old.run();
