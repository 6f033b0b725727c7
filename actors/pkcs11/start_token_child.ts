/**
 * Starts the process of a token. A single executable has no file for it: its build puts a module of the same shape in this one's place.
 *
 * @module
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/**
 * Starts it on the runtime of this process. On Deno it is given FFI and files to read, and nothing else. It is in a process group of
 * its own: Ctrl-C in a terminal is meant for its parent, which may still have to sign.
 */
export function startTokenChild(): ChildProcess {
  const ending = import.meta.url.endsWith(".ts") ? "ts" : "js";
  const file = fileURLToPath(new URL(`./token_child.${ending}`, import.meta.url));
  const args = "Deno" in globalThis
    ? ["run", "--quiet", "--no-prompt", "--no-check", "--allow-ffi", "--allow-read", file]
    : ["--no-warnings", file];
  return spawn(process.execPath, args, { stdio: ["pipe", "pipe", "pipe"], detached: true });
}
