/**
 * Threads of the programs. In the source tree and in the package a thread is a file beside the one that starts it; a single executable has no
 * files, and its build puts a module of the same shape in this one's place.
 *
 * @module
 */
import { Worker, type WorkerOptions } from "node:worker_threads";

/**
 * Starts a thread.
 *
 * @param name The name of its file, without the extension: that of the file that starts it, `.ts` in the source tree and `.js` in the package.
 * @param from The URL of the module that starts it.
 */
export function startThread(name: string, from: string, options: WorkerOptions): Worker {
  const ending = from.endsWith(".ts") ? "ts" : "js";
  return new Worker(new URL(`./${name}.${ending}`, from), options);
}
