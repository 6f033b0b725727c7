/**
 * The same command on the other runtime.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import process from "node:process";
import { fileURLToPath } from "node:url";

/** Runs this very command on `runtime` and ends with its exit code; does nothing where it runs there already. */
export function rerunOn(runtime: "node" | "deno"): void {
  if (runtime === ("Deno" in globalThis ? "deno" : "node")) return;
  const binary = fileURLToPath(new URL(`../../node_modules/.bin/${runtime}`, import.meta.url));
  const flags = runtime === "deno" ? ["run", "-A", "--quiet"] : ["--no-warnings"];
  const { status } = spawnSync(binary, [...flags, ...process.argv.slice(1)], { stdio: "inherit" });
  process.exit(status ?? 1);
}
