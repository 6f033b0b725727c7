/**
 * The flag of tools that write a page.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";

/** Whether the page is only compared (`--check`). Ends the process on wrong usage: a flag that is misspelt must not write it. */
export function isToCheck(command: string): boolean {
  try {
    return parseArgs({ options: { check: { type: "boolean", default: false } } }).values.check;
  } catch (error) {
    console.error(`Cannot run: ${error instanceof Error ? error.message : String(error)}
Usage: npm run ${command} [-- --check]`);
    return process.exit(2);
  }
}
