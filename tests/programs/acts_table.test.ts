/** The table of acts in `docs/security.md` is the one that nodes decide by. */
import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { withTable } from "../../scripts/attack/cell/table.ts";
import { actsMarks, actsTable } from "../../scripts/program/acts_table.ts";
import { actNames } from "../../transport/authorization/acts.ts";

const test = suite("actsTable()");

test("has a row for each act, and stands in docs/security.md", () => {
  const rows = actsTable().split("\n").slice(2);
  assert.equal(rows.map((row) => /`([^`]+)`/.exec(row)?.[1]), actNames);
  const rulesOf = (act: string) => rows.find((row) => row.includes(`\`${act}\``))?.split("|").at(-2)?.trim();
  assert.equal(["gateway", "ping", "slice.pull"].map(rulesOf), ["deny only", "deny", "deny, allow"]);
  const page = readFileSync(new URL("../../docs/security.md", import.meta.url), "utf8");
  assert.is(withTable(page, actsTable(), actsMarks), page, "run: npm run outcomes");
});

test.run();
