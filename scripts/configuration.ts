/**
 * `npm run configuration`: every key of every role in `docs/configuration.md`; with `--check` it only reports whether that page is
 * current.
 *
 * @module
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { isToCheck } from "./program/check_flag.ts";
import { configurationPage } from "./program/configuration_page.ts";

const check = isToCheck("configuration");
const page = fileURLToPath(new URL("../docs/configuration.md", import.meta.url));
const text = configurationPage();
const isCurrent = existsSync(page) && readFileSync(page, "utf8") === text;
if (check) {
  const message = isCurrent
    ? "docs/configuration.md is current"
    : "docs/configuration.md is out of date: npm run configuration";
  process.stdout.write(`${message}\n`);
  process.exitCode = isCurrent ? 0 : 1;
} else if (!isCurrent) {
  writeFileSync(page, text);
  process.stdout.write("wrote docs/configuration.md\n");
}
