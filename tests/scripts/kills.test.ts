/** The short form of `npm run kills`: an aggregator that is killed in the middle of a push. Wrong usage of `npm run upgrade`. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { isPossible, kinds, moments } from "../../scripts/kills/moments.ts";
import type { KillRow } from "../../scripts/kills/kill.ts";
import { runCommand } from "../../scripts/check/command.ts";
import { findRuntime, ownRuntime, scriptCommand } from "../../scripts/check/runtimes.ts";

const test = suite("npm run kills");
const script = fileURLToPath(new URL("../../scripts/kills.ts", import.meta.url));
const timeout = 900_000;

function run(...args: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const [command, ...before] = scriptCommand(ownRuntime);
  return new Promise((resolve) => {
    execFile(command, [...before, script, ...args], { timeout }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === "number" ? error.code : -1, stdout, stderr });
    });
  });
}

test("there is an executor from the loading of weights on", () => {
  const possible = kinds.flatMap((kind) => moments.filter((moment) => isPossible(kind, moment)));
  assert.is(possible.length, 46);
});

test("a kill that is not known is a wrong usage", async () => {
  const { code, stderr } = await run("executor:leasing");
  assert.is(code, 2);
  assert.match(stderr, "there is no executor:leasing");
});

test("bug: upgrade from a commit that is not there ended with a stack trace", async () => {
  const [command, ...before] = scriptCommand(ownRuntime);
  const upgrade = fileURLToPath(new URL("../../scripts/upgrade.ts", import.meta.url));
  const { code, stderr } = await runCommand(command, [...before, upgrade, "--from", "no-such"], { timeoutMs: 60_000 });
  assert.is(code, 2, stderr);
  assert.match(stderr, /^Cannot read commit no-such: .+ or name another with --from\n$/);
});

// On Deno the programs' own tests kill members; one kill of the matrix is enough here.
const kills = ["aggregator:push"];
const once = ownRuntime === "deno" && findRuntime("node") !== undefined ? () => {} : test;
once("an aggregator is killed: the training ends with its model", async () => {
  const { code, stdout, stderr } = await run(...kills, "--json", "--runtime", ownRuntime);
  const { kills: rows, ok } = JSON.parse(stdout || "{}") as {
    readonly kills: readonly KillRow[];
    readonly ok: boolean;
  };
  assert.equal(rows?.map(({ problem }) => problem), kills.map(() => null), stderr);
  assert.equal([code, ok], [0, true]);
  for (const { kind, moment, victim } of rows) {
    assert.ok(kills.includes(`${kind}:${moment}`));
    assert.match(victim, /^worker-[1-4]$/);
  }
});

test.run();
