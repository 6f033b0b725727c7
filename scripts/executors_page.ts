/**
 * `npm run executors`: writes the generated parts of `docs/executors.md`. With `--check` it writes nothing and exits with 1 where one is
 * out of date.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { withTable } from "./attack/cell/table.ts";
import { isToCheck } from "./program/check_flag.ts";
import { executorsTables } from "./program/executors_tables.ts";

const check = isToCheck("executors");
const path = fileURLToPath(new URL("../docs/executors.md", import.meta.url));
const page = readFileSync(path, "utf8");
let made = page;
for (const [marks, table] of executorsTables()) {
  const next = withTable(made, table, marks);
  if (next === undefined) {
    console.error(`Cannot write docs/executors.md: it has no ${marks.begin}`);
    process.exit(1);
  }
  made = next;
}
if (made === page) process.exit(0);
if (check) {
  console.error("docs/executors.md is out of date: npm run executors");
  process.exit(1);
}
writeFileSync(path, made);
