/**
 * x509-limbo: a public suite of certificate chains and what to make of them. It holds many keys that are not Ed25519, so
 * that it runs with a policy that allows them.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ownCases } from "./own/all.ts";
import { runSuite, staleExceptions } from "../../scripts/limbo/report.ts";
import { type LimboCase, readSuite } from "../../scripts/limbo/suite.ts";

const test = suite("x509-limbo");
const file = fileURLToPath(new URL("../vectors/x509-limbo.json", import.meta.url));
const cases = readSuite(readFileSync(file, "utf8")) as readonly LimboCase[];
const report = runSuite(cases, new Date());

test("accepts nothing that is to be refused, and crashes on nothing", () => {
  assert.is(report.cases.length, 122);
  assert.equal(report.unexpectedAccepts, []);
  assert.equal(report.crashes, []);
});

test("refuses what is to be accepted only where a row says why, and no row is out of date", () => {
  assert.equal(report.unexpectedRefusals, []);
  const own = runSuite(ownCases.map(({ given }) => given), new Date());
  assert.equal(staleExceptions({ cases: [...report.cases, ...own.cases] }), []);
});

test.run();
