/**
 * `actors/runtime/thread.ts` of the single executable: the code of a thread is part of it, as an asset.
 *
 * @module
 */
import { getAsset } from "node:sea";
import { Worker, type WorkerOptions } from "node:worker_threads";

/** As there; the thread's name alone counts. */
export function startThread(name: string, _from: string, options: WorkerOptions): Worker {
  return new Worker(getAsset(`${name}.js`, "utf8"), { ...options, eval: true });
}
