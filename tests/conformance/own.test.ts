/** Cases in the form of x509-limbo's, made here, family by family: each with the verdict and the code that are due. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runSuite } from "../../scripts/limbo/report.ts";
import { ownCases } from "./own/all.ts";

const test = suite("cases of the families of x509-limbo");
const report = runSuite(ownCases.map(({ given }) => given), new Date());

test("has each case once", () => {
  const ids = ownCases.map(({ given }) => given.id);
  assert.equal(ids.filter((id, index) => ids.indexOf(id) !== index), []);
  assert.equal([report.unexpectedAccepts, report.unexpectedRefusals, report.crashes], [[], [], []]);
});

for (const [index, { given, code }] of ownCases.entries()) {
  test(`${given.id}: ${code ?? "accepted"}`, () => {
    const line = report.cases[index]!;
    assert.equal([line.actual, line.code], [code === null ? "SUCCESS" : "FAILURE", code], line.reason ?? "");
  });
}

test.run();
