/**
 * Tries, at the start of a worker or of a scheduler, whether the program of each executor could be started in its cell: it is there and may be executed, as are
 * its interpreter and its libraries. The program itself is not run.
 *
 * @module
 */
import { closeSync, existsSync, openSync, readSync } from "node:fs";
import { basename, isAbsolute } from "node:path";
import process from "node:process";
import { Effect, Result } from "effect";
import type { CellSettings } from "../../config/cell_config.ts";
import type { ExecutorConfig } from "../../config/config.ts";
import { findProgram } from "../command.ts";
import { jobCell } from "./bounds.ts";
import type { Cell } from "./cell.ts";
import { type CellSearch, tryInCell } from "./find_cell.ts";

/** What of an executor is tried. */
export type TriedExecutor = Pick<ExecutorConfig, "name" | "runtime" | "cmd" | "args">;

/** An executor with a problem. */
export interface ExecutorProblem<E extends TriedExecutor = ExecutorConfig> {
  readonly executor: E;
  readonly reason: string;
}

/** The executors of a worker, or of a scheduler, with problems. */
export interface TriedExecutors<E extends TriedExecutor = ExecutorConfig> {
  /** They cannot be started. */
  readonly missing: readonly ExecutorProblem<E>[];
  /** They can be started, but an argument names a file that their cell does not have. */
  readonly unread: readonly ExecutorProblem<E>[];
}

/** Executors that are tried at once. */
const triesAtOnce = 4;
/** The kernel reads so much of a script's first line. */
const firstLineMax = 256;
const hint = "[cell] read_only names what executors may read";

/**
 * `say` ends the try. `ldd` asks the loader of the cell, which lists libraries without running the program; a script, or a program
 * without libraries, has none.
 */
const script = `say() { echo "problem: $*"; exit 0; }
[ -e "$1" ] || say "its cell does not have $1"
[ -x "$1" ] || say "a job may not execute $1"
[ -z "$2" ] || [ -x "$2" ] || say "its cell does not have its interpreter $2"
[ -z "$3" ] || command -v "$3" > /dev/null || say "its cell does not have its interpreter $3 in PATH=$PATH"
if [ -z "$2" ] && command -v ldd > /dev/null; then
  lacks=$(ldd "$1" 2> /dev/null | grep "not found" | head -n 1)
  [ -z "$lacks" ] || say "its cell does not have a library:" $lacks
fi
shift 3
for path do [ -r "$path" ] || echo "unread: $path"; done`;

/** Tries each executor that is a program. */
export function tryExecutors<E extends TriedExecutor>(
  cell: Cell,
  search: Omit<CellSearch, "config" | "levels">,
  { settings, executors }: { readonly settings: CellSettings; readonly executors: readonly E[] },
): Effect.Effect<TriedExecutors<E>> {
  const programs = executors.filter(({ runtime }) => runtime === "process");
  const tries = programs.map((executor) => tryExecutor(cell, search, { settings, executor }));
  return Effect.map(Effect.all(tries, { concurrency: triesAtOnce }), (tried) => ({
    missing: tried.flatMap(({ missing }) => missing),
    unread: tried.flatMap(({ unread }) => unread),
  }));
}

function tryExecutor<E extends TriedExecutor>(
  cell: Cell,
  search: Omit<CellSearch, "config" | "levels">,
  { settings, executor }: { readonly settings: CellSettings; readonly executor: E },
): Effect.Effect<TriedExecutors<E>> {
  const fails = (reason: string): TriedExecutors<E> => ({ missing: [{ executor, reason }], unread: [] });
  const found = findProgram(executor.cmd ?? "", process.env["PATH"] ?? "");
  if (Result.isFailure(found)) return Effect.succeed(fails(found.failure.message));
  // Without a shell there is no cell either: executors run beside the worker, and the program was found.
  const shell = findProgram("sh", process.env["PATH"] ?? "");
  if (Result.isFailure(shell)) return Effect.succeed({ missing: [], unread: [] });
  const program = found.success;
  const { path = "", name = "" } = interpreterOf(program);
  const named = executor.args.filter((arg) => isAbsolute(arg) && existsSync(arg));
  // The cell's own program is the shell that tries: the executor's file is bound as it would be for a job.
  const config = jobCell({ ...settings, readOnly: [...settings.readOnly, program] }, { memory: 0, storage: 0 });
  const args = [program, path, name, ...named];
  return Effect.map(
    Effect.result(tryInCell(cell, { ...search, config }, { script, args, inherited: ["PATH", ...config.environment] })),
    (tried) => {
      if (Result.isFailure(tried)) return fails(tried.failure.slice(0, 300));
      const lines = tried.success.split("\n");
      const problem = lines.find((line) => line.startsWith("problem: "));
      if (problem !== undefined) return fails(`${problem.slice("problem: ".length)} (${hint})`);
      const unread = lines.filter((line) => line.startsWith("unread: ")).map((line) => line.slice("unread: ".length));
      const reason = `its cell does not have ${unread.join(", ")} (${hint})`;
      return { missing: [], unread: unread.length === 0 ? [] : [{ executor, reason }] };
    },
  );
}

/** The interpreter that a script's first line names: a path, and for `env` the name that it looks for. */
export function interpreterOf(program: string): { readonly path?: string; readonly name?: string } {
  const [path, ...args] = firstLineOf(program).split(/[ \t]+/).filter((word) => word !== "");
  if (path === undefined) return {};
  const name = args.find((word) => !word.startsWith("-") && !word.includes("="));
  return basename(path) === "env" && name !== undefined ? { path, name } : { path };
}

/** What follows `#!`; empty for a program that is no script. */
function firstLineOf(program: string): string {
  const bytes = new Uint8Array(firstLineMax);
  try {
    const fd = openSync(program, "r");
    try {
      const text = new TextDecoder().decode(bytes.subarray(0, readSync(fd, bytes, 0, firstLineMax, 0)));
      return text.startsWith("#!") ? text.slice(2).split("\n", 1)[0] ?? "" : "";
    } finally {
      closeSync(fd);
    }
  } catch {
    return ""; // A program may be executed without being read: its cell says.
  }
}
