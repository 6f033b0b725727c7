/**
 * The pictures of the machines are those of the machines.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";

const test = suite("diagrams");

test("docs/machines.md is current", () => {
  const script = fileURLToPath(new URL("../../scripts/diagrams.ts", import.meta.url));
  const before = "deno" in process.versions ? ["run", "-A", "--no-lock"] : ["--no-warnings"];
  const { stdout, stderr, status } = spawnSync(process.execPath, [...before, script, "--check"], { encoding: "utf8" });
  assert.is(status, 0, stdout + stderr);
});

test.run();
