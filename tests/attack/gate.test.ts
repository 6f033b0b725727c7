/**
 * The short form of `npm run attack -- gate`: every attack a few times on a node of this runtime.
 *
 * The attackers run on Node whatever the node runs on: Deno's sockets cannot choose their own address.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runtimeBinary } from "../../scripts/demo/processes.ts";
import type { GateReport } from "../../scripts/attack/gate.ts";
import { needing } from "../support/prerequisites.ts";

const test = needing(suite("attack gate --quick --json"), "node");
const runtime = "Deno" in globalThis ? "deno" : "node";
const timeout = 300_000;

const script = fileURLToPath(new URL("../../scripts/attack.ts", import.meta.url));
const args = ["--no-warnings", script, "gate", "--quick", "--json", "--runtime", runtime];
let code = 1, stdout = "", stderr = "";
test.before(async () => {
  const node = await runtimeBinary("node");
  await new Promise<void>((resolve) => {
    execFile(node, args, { timeout, maxBuffer: 10_000_000 }, (error, ...said) => {
      [stdout, stderr] = said;
      code = error === null ? 0 : 1;
      resolve();
    });
  });
});

test("standard output is the report and nothing else, and everything held", () => {
  const report: GateReport = JSON.parse(stdout);
  const lost = report.attacks.filter(({ held }) => !held).map(({ id, seen }) => `${id}: ${seen}`);
  assert.equal(lost, []);
  assert.is(report.part, "gate");
  assert.is(report.runtime, runtime);
  assert.is(report.exits, 0);
  assert.is(report.unhandled, 0);
  assert.ok(report.ok);
  assert.is(code, 0, stderr);
});

test("the table of docs/security.md has a row for each, and none that is gone", () => {
  const page = readFileSync(new URL("../../docs/security.md", import.meta.url), "utf8");
  const table = /<!-- gate: [^>]*-->(.*)<!-- \/gate -->/s.exec(page)?.[1] ?? "";
  const rows = [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, id]) => id);
  const { attacks }: GateReport = JSON.parse(stdout);
  assert.equal(rows, attacks.map(({ id }) => id));
});

test("each kind of attack is in it, with its counts", () => {
  const { attacks }: GateReport = JSON.parse(stdout);
  const ids = attacks.map(({ id }) => id);
  for (const id of ["half-open", "stolen-certificate", "stolen-version-1-certificate-listening", "fuzz-cbor"]) {
    assert.ok(ids.includes(id), id);
  }
  for (const { attempts, before, after, honest } of attacks) {
    assert.ok(attempts > 0);
    for (const figure of [before.fds, after.fds, before.heapBytes]) assert.ok(figure > 0);
    assert.ok(honest === null || honest.quietP99Ms > 0);
  }
});

test.run();
