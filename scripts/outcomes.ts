/**
 * `npm run outcomes`: writes the tables of `docs/security.md`: of acts, from `transport/authorization/acts.ts`, and of cells, from
 * `scripts/attack/cell/outcomes.json`. With `--check` it writes nothing and exits with 1 where one is out of date.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { begin, end, tableOf, withTable } from "./attack/cell/table.ts";
import { actsMarks, actsTable } from "./program/acts_table.ts";
import { isToCheck } from "./program/check_flag.ts";

const check = isToCheck("outcomes");
const path = fileURLToPath(new URL("../docs/security.md", import.meta.url));
const page = readFileSync(path, "utf8");
const tables = [[actsMarks, actsTable()], [{ begin, end }, tableOf()]] as const;
let made = page;
for (const [marks, table] of tables) {
  const next = withTable(made, table, marks);
  if (next === undefined) {
    console.error(`Cannot write the table: docs/security.md has no ${marks.begin}`);
    process.exit(1);
  }
  made = next;
}
if (made === page) process.exit(0);
if (check) {
  console.error("A table in docs/security.md is out of date: npm run outcomes");
  process.exit(1);
}
writeFileSync(path, made);
