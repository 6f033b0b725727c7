/**
 * `actors/runtime/thread.ts` of the single executable: the code of a thread is part of it, as an asset.
 *
 * @module
 */
import process from "node:process";
import { Worker, type WorkerOptions } from "node:worker_threads";

/** As there; the thread's name alone counts. */
export function startThread(name: string, _from: string, options: WorkerOptions): Worker {
  // Deno, which checks this file with all others, does not have the module.
  const { getAsset } = process.getBuiltinModule("node:sea");
  return new Worker(getAsset(`${name}.js`, "utf8"), { ...options, eval: true });
}
