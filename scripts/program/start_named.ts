/**
 * `hypha`: all programs in one. It runs the program whose name it was started by (a symbolic link), or that its first argument names; `up` and
 * what is about `hypha` itself otherwise.
 *
 * @module
 */
import { basename } from "node:path";
import process from "node:process";
import { requireNode } from "./require_node.ts";
import { printsHelp } from "./written_help.ts";
import { programNames, startProgram } from "./start.ts";

/** Runs it. */
export async function startNamed(): Promise<void> {
  const called = basename(process.argv0);
  const linked = programNames.find((program) => program === called);
  if (linked !== undefined) return await startProgram(linked);
  const [first = ""] = process.argv.slice(2);
  const named = programNames.find((program) => program === first || program === `hypha-${first}`);
  if (named !== undefined) {
    process.argv.splice(2, 1);
    return await startProgram(named);
  }
  requireNode("hypha");
  if (first === "") process.argv.push("--help");
  if (await printsHelp("hypha")) return;
  const { runUp } = await import("../up/program.ts");
  const { code, notice } = await runUp(process.argv.slice(2));
  if (notice !== undefined) process.stderr.write(`${notice}\n`);
  process.exitCode = code;
}
