/**
 * A Python with numpy, for tests of the Python executors: the one of the demo.
 *
 * @module
 */
import { missingPython, type Python, pythonFolder, pythonWithNumpy } from "../../scripts/demo/python.ts";

export { pythonFolder };

/** What every Python process of a test gets: no caches in the tree, one thread of numpy. */
export const pythonEnvironment: Readonly<Record<string, string>> = {
  PYTHONPATH: pythonFolder,
  PYTHONDONTWRITEBYTECODE: "1",
  OPENBLAS_NUM_THREADS: "1",
};

/** The interpreter, or what is missing: numpy where it cannot be installed. */
export function pythonHere(): Promise<Python | { readonly missing: string }> {
  if (missingPython() !== undefined) return Promise.resolve({ missing: "python3-venv" });
  return pythonWithNumpy().catch(() => ({ missing: "numpy" }));
}
