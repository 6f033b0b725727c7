/**
 * A Python with numpy for executors in Python: a virtual environment in `node_modules/.cache`, made once.
 *
 * @module
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { findProgram, installCommand, isThere } from "../check/prerequisites.ts";
import { BrokenPromise } from "./broken_promise.ts";
import { runOnce } from "./processes.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const place = join(root, "node_modules/.cache/python");
const installMs = 180_000;
/** An interpreter answers within this, in milliseconds. */
const answerMs = 30_000;

/** The folder of the Python package and its executors. */
export const pythonFolder: string = join(root, "scripts/executors/python");

/** An interpreter, and the folders outside `/usr` that a cell has to show it. */
export interface Python {
  readonly python: string;
  readonly folders: readonly string[];
}

/** Says what is missing for a virtual environment, and the command that installs it; undefined where nothing is. */
export function missingPython(): string | undefined {
  if (isThere("python3-venv")) return undefined;
  const reason = findProgram("python3") === undefined ? "there is no python3 in PATH" : "python3 lacks venv or pip";
  return `${reason}: ${installCommand(["python3-venv"])}`;
}

/**
 * Makes the environment where it is missing.
 *
 * @throws BrokenPromise Where it cannot be made, with the last line that Python printed.
 */
export async function pythonWithNumpy(): Promise<Python> {
  const python = join(place, "bin/python");
  if (!await hasNumpy(python)) await makeEnvironment(python);
  return { python, folders: await foldersOf(python) };
}

async function hasNumpy(python: string): Promise<boolean> {
  return existsSync(python) && (await runOnce(python, ["-c", "import numpy"], { timeoutMs: answerMs })).code === 0;
}

/** Two processes may make it at once: each makes its own, and the first one that is whole gets the name. */
async function makeEnvironment(python: string): Promise<void> {
  const aside = `${place}.${process.pid}`;
  const remove = () => rmSync(aside, { recursive: true, force: true });
  process.once("exit", remove); // Ctrl-C ends the demo in the middle of an installation
  remove();
  mkdirSync(dirname(place), { recursive: true });
  try {
    await succeed("python3", "-m", "venv", aside);
    await succeed(join(aside, "bin/python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy");
    if (await hasNumpy(python)) return;
    rmSync(place, { recursive: true, force: true });
    renameSync(aside, place);
  } finally {
    remove();
    process.off("exit", remove);
  }
}

async function succeed(program: string, ...args: readonly string[]): Promise<void> {
  const { code, stderr } = await runOnce(program, args, { timeoutMs: installMs });
  if (code === 0) return;
  const said = stderr.trim().split("\n").at(-1) ?? "";
  throw new BrokenPromise(`Cannot make a Python with numpy: ${args.slice(0, 3).join(" ")} ended with ${code}: ${said}`);
}

/** An environment holds links to the interpreter that made it. */
export async function foldersOf(python: string): Promise<readonly string[]> {
  const code = "import sys; print(sys.base_prefix); print(sys.prefix)";
  const { stdout } = await runOnce(python, ["-c", code], { timeoutMs: answerMs });
  const outside = stdout.trim().split("\n").filter((folder) => folder !== "/usr" && !folder.startsWith("/usr/"));
  return [...new Set(outside)];
}
