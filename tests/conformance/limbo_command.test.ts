/**
 * `npm run limbo` as a program reads it: the same verdicts on the other runtime, its lines, its exit codes.
 *
 * @module
 */
import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownRuntime, scriptCommand } from "../../scripts/check/runtimes.ts";
import { type LimboReport, runSuite } from "../../scripts/limbo/report.ts";
import { type LimboCase, readSuite } from "../../scripts/limbo/suite.ts";
import { needing } from "../support/prerequisites.ts";

const test = suite("npm run limbo");
const file = fileURLToPath(new URL("../vectors/x509-limbo.json", import.meta.url));
const cases = readSuite(readFileSync(file, "utf8")) as readonly LimboCase[];
const report = runSuite(cases, new Date());
const folder = mkdtempSync(join(tmpdir(), "hypha-limbo-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

interface Ran {
  readonly code: number;
  readonly stdout: string;
}

async function limbo(...args: string[]): Promise<Ran> {
  const root = fileURLToPath(new URL("../..", import.meta.url));
  const [command, ...before] = scriptCommand(ownRuntime);
  try {
    const { stdout } = await promisify(execFile)(
      command,
      [...before, "scripts/limbo.ts", ...args],
      { cwd: root, timeout: 120_000, maxBuffer: 16 * 1024 * 1024 },
    );
    return { code: 0, stdout };
  } catch (error) {
    const { code, stdout } = error as { code: number; stdout: string };
    return { code, stdout };
  }
}

const other = report.runtime === "node" ? "deno" : "node";
needing(test, other)("comes to the same verdicts and codes on the other runtime", async () => {
  const { code, stdout } = await limbo(file, "--json", "--runtime", other);
  const theirs = JSON.parse(stdout) as LimboReport;
  assert.is(code, 0);
  assert.equal(Object.keys(theirs), [
    "runtime",
    "cases",
    "unexpectedAccepts",
    "unexpectedRefusals",
    "crashes",
  ]);
  assert.is(theirs.runtime, other);
  const verdicts = ({ cases }: LimboReport) => cases.map(({ id, actual, code }) => `${id} ${actual} ${code}`);
  assert.equal(verdicts(theirs), verdicts(report));
});

test("prints a line a case, and exits with 1 on an unexpected accept and an unlisted refusal", async () => {
  const turned = (wanted: "SUCCESS" | "FAILURE") =>
    cases.filter(({ expected_result }) => expected_result === wanted).slice(0, 1);
  const write = (name: string, chosen: readonly LimboCase[], expected: "SUCCESS" | "FAILURE") => {
    const testcases = chosen.map((each) => ({ ...each, expected_result: expected }));
    writeFileSync(join(folder, name), JSON.stringify({ version: 1, testcases }));
    return limbo(join(folder, name));
  };
  const good = await write("good.json", turned("SUCCESS"), "SUCCESS");
  assert.equal([good.code, good.stdout.trim().split("\t").slice(1)], [0, ["SUCCESS", "SUCCESS", "-", "-"]]);
  const accepted = await write("accepted.json", turned("SUCCESS"), "FAILURE");
  assert.is(accepted.code, 1);
  const refused = await write("refused.json", turned("FAILURE"), "SUCCESS");
  assert.is(refused.code, 1);
  assert.equal(refused.stdout.trim().split("\t").slice(1, 4), ["SUCCESS", "FAILURE", "certificate-revoked"]);
});

test("exits with 2 on wrong usage", async () => {
  writeFileSync(join(folder, "broken.json"), "{");
  for (const args of [[], [join(folder, "none.json")], [join(folder, "broken.json")], [file, "--runtime", "bun"]]) {
    assert.is((await limbo(...args)).code, 2, args.join(" "));
  }
});

test.run();
