/** An old Node: the programs and npm's commands say what they need in one line, before anything else loads. */
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runCommand } from "../../../scripts/check/command.ts";
import { nodeReporting, systemOldNode } from "../../../scripts/check/old_node.ts";
import { findRuntime } from "../../../scripts/check/runtimes.ts";
import { nodeMin } from "../../../scripts/program/require_node.ts";
import { needing } from "../../support/prerequisites.ts";

const old = suite("an old Node");
const test = needing(old, "node");
const manifest = JSON.parse(readFileSync("package.json", "utf8"));
const programs = Object.keys(manifest.bin) as string[];
const node = findRuntime("node") ?? "node";

const folder = mkdtempSync(join(tmpdir(), "hypha-old-node-"));
old.after(() => rmSync(folder, { recursive: true, force: true }));

/** What a runtime of these versions answers. */
const printed = (versions: object) => JSON.stringify({ path: "/opt/node", versions });

/** `ensure.mjs` in a tree where everything is installed: in this one it might install, under the tests that run. */
function installedEnsure(): string {
  const tree = mkdtempSync(join(folder, "tree-"));
  const lock = readFileSync("package-lock.json");
  for (const each of ["scripts", "node_modules"]) mkdirSync(join(tree, each));
  cpSync("scripts/ensure.mjs", join(tree, "scripts/ensure.mjs"));
  writeFileSync(join(tree, "package-lock.json"), lock);
  writeFileSync(join(tree, "node_modules/.ensured"), createHash("sha256").update(lock).digest("hex"));
  symlinkSync(resolve("node_modules/.bin"), join(tree, "node_modules/.bin"));
  return join(tree, "scripts/ensure.mjs");
}

const saying = (version: string) => nodeReporting(version).command.slice(1);
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
  const enough = await run(node, ...saying("20.0.0"), installedEnsure(), "node", "--version");
  assert.equal([enough.code, enough.stdout], [0, `${(await run(node, "--version")).stdout}`]);
});

const systems: [name: string, prints: string, version: string | undefined][] = [
  ["22.18.9", printed({ node: "22.18.9" }), "22.18.9"],
  ["20.20.2", printed({ node: "20.20.2" }), "20.20.2"],
  [`${nodeMin}.0`, printed({ node: `${nodeMin}.0` }), undefined],
  ["24.0.0", printed({ node: "24.0.0" }), undefined],
  ["Deno under Node's name", printed({ node: "20.20.2", deno: "2.9.6" }), undefined],
  ["a program that prints something else", "v20.20.2", undefined],
];
for (const [name, prints, version] of systems) {
  needing(old, "sh")(
    `${name} as the system's Node is ${version === undefined ? "none that is too old" : "too old"}`,
    () => {
      const bin = mkdtempSync(join(folder, "system-"));
      const command = join(bin, "node");
      writeFileSync(command, `#!/bin/sh\necho '${prints}'\n`, { mode: 0o755 });
      assert.equal(systemOldNode(bin), version === undefined ? undefined : { command: [command], version });
    },
  );
}

old("a system without a Node has none that is too old", () => assert.is(systemOldNode(folder), undefined));

old.run();
