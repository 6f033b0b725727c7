/**
 * Which runtime this is, and the same command under the other.
 *
 * @module
 */
import { spawn } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** The runtime that this process runs on. */
export function runtimeOf(): "node" | "deno" {
  return "deno" in process.versions ? "deno" : "node";
}

/** Runs the command again on another runtime, and returns its exit code. */
export function startUnder(runtime: "node" | "deno", args: readonly string[]): Promise<number> {
  const script = fileURLToPath(new URL("../simulate.ts", import.meta.url));
  const before = runtime === "deno" ? ["run", "-A", "--no-lock"] : ["--no-warnings"];
  const child = spawn(runtime, [...before, script, ...args], { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("exit", (code) => resolve(code ?? 1));
  });
}
