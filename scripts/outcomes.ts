/**
 * `npm run outcomes`: writes the table of cells into `docs/security.md`, from `scripts/attack/cell/outcomes.json`.
 * With `--check` it writes nothing and exits with 1 where the table is out of date.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { begin, tableOf, withTable } from "./attack/cell/table.ts";

const path = fileURLToPath(new URL("../docs/security.md", import.meta.url));
const page = readFileSync(path, "utf8");
const made = withTable(page, tableOf());
if (made === undefined) {
  console.error(`Cannot write the table: docs/security.md has no ${begin}`);
  process.exit(1);
}
if (made === page) process.exit(0);
if (process.argv.includes("--check")) {
  console.error("The table of cells in docs/security.md is out of date: npm run outcomes");
  process.exit(1);
}
writeFileSync(path, made);
