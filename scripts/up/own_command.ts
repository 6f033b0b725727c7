/**
 * How `hypha` starts another program of the package: itself once more, on what it runs on, with the program's name first.
 *
 * @module
 */
import { basename, dirname } from "node:path";
import process from "node:process";

/** The command in words. */
export function ownCommand(program: string): readonly [string, ...string[]] {
  const [executable = process.execPath, script = ""] = process.argv;
  if ("Deno" in globalThis) {
    // Deno's node:child_process rewrites command lines that begin with its own path.
    const self = `${dirname(executable)}/./${basename(executable)}`;
    return [self, "run", "-A", "--quiet", "--no-check", script, program];
  }
  // Deno does not have the module.
  if (process.getBuiltinModule("node:sea").isSea()) return [process.execPath, program];
  return [executable, "--no-warnings", script, program];
}

/** Its environment: this process's, without the variables that would give all programs one state directory. */
export function ownEnvironment(): NodeJS.ProcessEnv {
  const { STATE_DIRECTORY: _, HYPHA_STATE_DIR: __, ...others } = process.env;
  return others;
}
