/**
 * The short form of `npm run attack -- ca`: every attack a few times on a CA of this runtime.
 *
 * The attackers run on Node whatever the CA runs on: Deno's sockets cannot choose their own address.
 */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CaReport } from "../../scripts/attack/ca.ts";
import { runtimeBinary } from "../../scripts/demo/processes.ts";
import { needing } from "../support/prerequisites.ts";

const test = needing(suite("attack ca --quick --json"), "node");
const runtime = "Deno" in globalThis ? "deno" : "node";
const timeout = 180_000;

const script = fileURLToPath(new URL("../../scripts/attack.ts", import.meta.url));
const args = ["--no-warnings", script, "ca", "--quick", "--json", "--runtime", runtime];
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
  const report: CaReport = JSON.parse(stdout);
  const lost = report.attacks.filter(({ held }) => !held).map(({ id, seen }) => `${id}: ${seen}`);
  assert.equal(lost, []);
  assert.equal([report.part, report.runtime, report.exits, report.unhandled], ["ca", runtime, 0, 0]);
  assert.ok(report.ok);
  assert.is(code, 0, stderr);
});

test("the table of docs/security.md has a row for each, and none that is gone", () => {
  const page = readFileSync(new URL("../../docs/security.md", import.meta.url), "utf8");
  const table = /<!-- ca: [^>]*-->(.*)<!-- \/ca -->/s.exec(page)?.[1] ?? "";
  const rows = [...table.matchAll(/^\| `([^`]+)`/gm)].map(([, id]) => id);
  const { attacks }: CaReport = JSON.parse(stdout);
  assert.equal(rows, attacks.map(({ id }) => id));
});

test.run();
