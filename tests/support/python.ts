/**
 * A Python with numpy, for tests of the Python executors: a virtual environment in `node_modules/.cache`, made once.
 *
 * @module
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { isThere } from "../../scripts/check/prerequisites.ts";
import { runCommand } from "../../scripts/check/command.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const place = join(root, "node_modules/.cache/python");
const installMs = 180_000;

/** The folder of the Python package and its executors. */
export const pythonFolder: string = join(root, "scripts/executors/python");
/** What every Python process of a test gets: no caches in the tree, one thread of numpy. */
export const pythonEnvironment: Readonly<Record<string, string>> = {
  PYTHONPATH: pythonFolder,
  PYTHONDONTWRITEBYTECODE: "1",
  OPENBLAS_NUM_THREADS: "1",
};

/**
 * Makes the environment where it is missing.
 *
 * @returns The interpreter, or why there is none.
 */
export async function pythonWithNumpy(): Promise<{ readonly python: string } | { readonly missing: string }> {
  const python = join(place, "bin/python");
  const works = async (file: string) =>
    existsSync(file) && (await runCommand(file, ["-c", "import numpy"], { timeoutMs: installMs })).code === 0;
  if (await works(python)) return { python };
  if (!isThere("python3-venv")) return { missing: "python3-venv" };
  // Two runtimes may make it at once: each makes its own, and the first one that is whole gets the name.
  const aside = `${place}.${process.pid}`;
  rmSync(aside, { recursive: true, force: true });
  mkdirSync(dirname(place), { recursive: true });
  const made = await runCommand("python3", ["-m", "venv", aside], { timeoutMs: installMs });
  if (made.code !== 0) throw new Error(`Cannot make a virtual environment in ${aside}: ${made.stderr}`);
  const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "numpy"];
  const installed = await runCommand(join(aside, "bin/python"), pip, { timeoutMs: installMs });
  if (installed.code !== 0) {
    rmSync(aside, { recursive: true, force: true });
    return { missing: "numpy" };
  }
  if (!(await works(python))) {
    rmSync(place, { recursive: true, force: true });
    renameSync(aside, place);
  } else rmSync(aside, { recursive: true, force: true });
  return { python };
}
