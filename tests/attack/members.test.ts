/**
 * The short form of `npm run attack -- members`: hostile members of each role against whole nodes of this runtime; and the same
 * attacks on nodes without their defences, which have to come through.
 *
 * The attackers run on Node whatever the nodes run on: Deno's sockets cannot choose their own address.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { MembersReport } from "../../scripts/attack/members.ts";
import { controls, memberAttacks } from "../../scripts/attack/members/all.ts";
import { runtimeBinary } from "../../scripts/demo/processes.ts";
import { needing } from "../support/prerequisites.ts";

const test = needing(suite("attack members --quick --json"), "node");
const runtime = "Deno" in globalThis ? "deno" : "node";
/** A machine of two cores at load 11 takes two minutes. */
const timeout = 300_000;
const script = fileURLToPath(new URL("../../scripts/attack.ts", import.meta.url));

/** Runs the command; its report and its exit code. */
async function run(...more: readonly string[]) {
  const args = ["--no-warnings", script, "members", "--quick", "--json", "--runtime", runtime, ...more];
  const node = await runtimeBinary("node");
  return await new Promise<{ readonly code: number; readonly report: MembersReport; readonly stderr: string }>(
    (resolve, reject) => {
      execFile(node, args, { timeout, maxBuffer: 10_000_000 }, (error, stdout, said) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
        // A row of an attack that was held says nothing about a failure.
        const stderr = said.split("\n").filter((line) => !line.startsWith("held ")).join("\n");
        if (stdout === "") reject(new Error(`no report, exit ${code}: ${stderr}`));
        else resolve({ code, report: JSON.parse(stdout), stderr });
      });
    },
  );
}

test("every attack is held, and each has its row", async () => {
  const { code, report, stderr } = await run();
  const lost = report.attacks.filter(({ held }) => !held).map(({ id, seen }) => `${id}: ${seen}`);
  assert.is(lost.length, 0, `${lost.length} not held: ${lost.join("\n")}\n${stderr}`);
  assert.is(report.part, "members");
  assert.is(report.runtime, runtime);
  assert.is(report.exits, 0);
  assert.is(report.unhandled, 0);
  assert.ok(report.ok);
  assert.is(code, 0, stderr);
  const quick = memberAttacks.filter(({ leftOutOf }) => leftOutOf !== "quick").map(({ id }) => id);
  assert.equal(report.attacks.map(({ id }) => id).toSorted(), quick.toSorted());
  for (const { attempts, before, during, after, honest } of report.attacks) {
    assert.ok(attempts > 0);
    for (const figure of [before.fds, during.fds, after.fds, before.heapBytes]) assert.ok(figure > 0);
    assert.ok(honest !== null && honest.quietP99Ms > 0);
  }
});

// What finds an attack not held runs on Node in any case.
if (runtime === "node") {
  test("without its defence no attack is held", async () => {
    const { code, report, stderr } = await run("--control");
    assert.is(code, 1, stderr);
    assert.not(report.ok);
    assert.equal(report.attacks.map(({ id }) => id).toSorted(), controls.toSorted());
    const nothing = /broke off|nothing was attacked/;
    const wrong = report.attacks.filter(({ held, seen }) => held || nothing.test(seen));
    assert.equal(wrong.map(({ id, seen }) => `${id}: ${seen}`), []);
  });
}

test("the table of docs/security.md has a row for each, and none that is gone", () => {
  const page = readFileSync(new URL("../../docs/security.md", import.meta.url), "utf8");
  const table = /<!-- members: [^>]*-->(.*)<!-- \/members -->/s.exec(page)?.[1] ?? "";
  const rows = [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, id]) => id);
  assert.equal(rows, memberAttacks.map(({ id }) => id));
});

test.run();
