/** Flags that a family of simulated networks does not read. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownRuntime, scriptCommand } from "../../../scripts/check/runtimes.ts";
import { unreadFlag } from "../../../scripts/simulate/unread_flags.ts";
import { blocksOf } from "../../support/shell_session.ts";

const test = suite("unreadFlag()");

test("bug: --wide --revocation --minutes never ended; it is a usage error", () => {
  const script = fileURLToPath(new URL("../../../scripts/simulate.ts", import.meta.url));
  const [command, ...before] = scriptCommand(ownRuntime);
  const args = ["--wide", "--revocation", "--nodes", "8", "--minutes", "0"];
  const { status, stderr } = spawnSync(command, [...before, script, ...args], { encoding: "utf8", timeout: 30_000 });
  assert.is(status, 2);
  assert.match(stderr, /^--minutes is not for --revocation\nusage: /);
});

test("bug: flags that a family does not read were ignored", () => {
  for (
    const [flags, complaint] of [
      ["membership trace", "--trace is not for --membership"],
      ["membership scenario", "--scenario is not for --membership"],
      ["hardware nodes", "--nodes is not for --hardware"],
      ["witnesses faults", "--faults is not for --witnesses"],
      ["hunt minutes", "--minutes is not for --hunt"],
      ["wide trainings", "--trainings is not for --wide"],
      ["wide faults", "--faults is not for --wide"],
      ["scenario faults", "--faults is not for --scenario"],
      ["replay runs", "--runs is not for --replay"],
      ["seed trace minutes", "--minutes is not for --trace"],
    ] as const
  ) assert.is(unreadFlag(flags.split(" ")), complaint);
});

test("what the page shows, and what failures print, is read", () => {
  const lines = blocksOf("docs/simulation.md").flatMap(({ text }) =>
    text.match(/^npm run simulate -- [^#\n]+/gm) ?? []
  );
  assert.ok(lines.length >= 10);
  const printed = [
    "--approvals --hardware --replay 1 --faults none",
    "--replay 1 --nodes 9 --faults crash --trainings",
  ];
  for (const line of [...lines, ...printed, "--wide --seed 2 --minutes 10", "--seed 2 --trace x.html"]) {
    assert.is(unreadFlag([...line.matchAll(/--([a-z]+)/g)].map(([, flag = ""]) => flag)), undefined, line);
  }
});

test.run();
