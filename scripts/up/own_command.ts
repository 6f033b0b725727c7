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

/** Variables of this process's environment that would give all programs one state directory. */
export function stateDirVariables(): readonly string[] {
  return ["STATE_DIRECTORY", "HYPHA_STATE_DIR"].filter((name) => process.env[name] !== undefined);
}

/** Its environment: this process's, without {@linkcode stateDirVariables}. */
export function ownEnvironment(): NodeJS.ProcessEnv {
  const removed = stateDirVariables();
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !removed.includes(name)));
}
