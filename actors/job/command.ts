/**
 * The command that is started for a job: file, arguments and environment, from the executor's configuration.
 *
 * @module
 */
import { accessSync, constants, statSync } from "node:fs";
import { basename, delimiter, dirname, resolve } from "node:path";
import process from "node:process";
import { Data, Result } from "effect";

/** A command that is ready to start, without a shell. */
export interface Command {
  readonly file: string;
  readonly args: readonly string[];
  /** The whole environment: nothing of the worker's own is added. */
  readonly env: Readonly<Record<string, string>>;
  /** Its working directory; the worker's own by default. */
  readonly cwd?: string;
  /** Whether it waits at a gate until the worker lets it go (`cell/command_line.ts`). */
  readonly gated?: boolean;
}

/** The program does not exist. */
export class ExecutorMissing extends Data.TaggedError("ExecutorMissing")<{
  readonly cmd: string;
  /** The `PATH` that was searched; empty where the command is a path. */
  readonly searched: string;
}> {
  override get message(): string {
    const where = this.searched === "" ? "" : ` in PATH=${this.searched}`;
    return `Cannot start executor ${JSON.stringify(this.cmd)}: no such program${where}`;
  }
}

/** The data of a job that its executor gets. */
export interface JobPlace {
  readonly socketPath: string;
  readonly workDir: string;
  /** The JobSpec as JSON. */
  readonly jobJson: string;
  /** Absent where the bridge requires none. */
  readonly token: string | undefined;
}

/** The variables of the worker's environment that an executor gets by default. The existing workers pass on all. */
const inheritedDefault = ["PATH", "HOME", "LANG"] as const;

/**
 * Makes the command: fills `{SOCKET_PATH}`, `{WORK_DIR}` and `{JOB_JSON}` into the arguments (other braces stay), and
 * finds the program as a shell would, so that a missing one is reported the same way on every runtime.
 */
export function makeCommand(
  { cmd = "", args }: { readonly cmd: string | undefined; readonly args: readonly string[] },
  place: JobPlace,
  environment: Readonly<Record<string, string | undefined>>,
  inherited: readonly string[] = inheritedDefault,
): Result.Result<Command, ExecutorMissing> {
  const values: Readonly<Record<string, string>> = {
    SOCKET_PATH: place.socketPath,
    WORK_DIR: place.workDir,
    JOB_JSON: place.jobJson,
  };
  const env: Record<string, string> = {};
  for (const name of inherited) {
    const value = environment[name];
    if (value !== undefined) env[name] = value;
  }
  Object.assign(env, values, place.token === undefined ? {} : { BRIDGE_TOKEN: place.token });
  // One pass: placeholders inside a value are not filled in.
  const fill = (text: string) =>
    text.replace(/\{(SOCKET_PATH|WORK_DIR|JOB_JSON)\}/g, (_, name: string) => values[name] as string);
  return Result.map(
    findProgram(cmd, environment["PATH"] ?? ""),
    (file) => ({ file: asItStands(file), args: args.map(fill).map(asItStands), env }),
  );
}

/** Finds a program as a shell would: by its path, or by its name in `path`. */
export function findProgram(cmd: string, path: string): Result.Result<string, ExecutorMissing> {
  const isPath = cmd.includes("/");
  const places = isPath ? [""] : path.split(delimiter).filter((directory) => directory !== "");
  for (const directory of places) {
    const file = resolve(directory, cmd);
    if (cmd !== "" && isProgram(file)) return Result.succeed(file);
  }
  return Result.fail(new ExecutorMissing({ cmd, searched: isPath ? "" : path }));
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

/**
 * Deno's `node:child_process` takes a command or argument that equals `process.execPath` for Node and rewrites it to
 * `deno run -A …`, which would give an executor every permission. Spelled `dir/./deno` it passes as it stands.
 */
function asItStands(text: string): string {
  return text === process.execPath ? `${dirname(text)}/./${basename(text)}` : text;
}
