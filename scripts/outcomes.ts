/**
 * `npm run outcomes`: writes the table of what cells hold into the README, from `scripts/attack/cell/outcomes.json`; with
 * `--check` only says whether it is current.
 *
 * @module
 */
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { begin, tableOf, withTable } from "./attack/cell/table.ts";

const path = fileURLToPath(new URL("../README.md", import.meta.url));
const page = readFileSync(path, "utf8");
const made = withTable(page, tableOf());
if (made === undefined) {
  console.error(`Cannot write the table: README.md has no ${begin}`);
  process.exit(1);
}
if (made === page) process.exit(0);
if (process.argv.includes("--check")) {
  console.error("README.md's table of cells is out of date: npm run outcomes");
  process.exit(1);
}
writeFileSync(path, made);
