/**
 * The entry of the single executable, which holds all programs: it runs the one whose name it was started by (a symbolic link), or that its
 * first argument names.
 *
 * @module
 */
import { basename } from "node:path";
import process from "node:process";
import { programNames, startProgram } from "../program/start.ts";

const called = basename(process.argv0);
let name = programNames.find((program) => program === called);
if (name === undefined) {
  const [first = ""] = process.argv.splice(2, 1);
  name = programNames.find((program) => program === first || program === `hypha-${first}`);
}
if (name === undefined) {
  const short = programNames.map((program) => program.replace("hypha-", ""));
  process.stderr.write(`Usage: hypha ${short.join("|")} ARGUMENTS, or one of the links ${programNames.join(", ")}\n`);
  process.exitCode = 2;
} else {
  startProgram(name).catch((error: unknown) => {
    process.stderr.write(`Cannot run ${name}: ${error instanceof Error ? error.stack : String(error)}\n`);
    process.exitCode = 1;
  });
}
