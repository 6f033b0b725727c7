/**
 * `hypha-certutil` and `hypha-ca` in this process: a process for each command would take half a second of a core.
 *
 * @module
 */
import { Console, Effect } from "effect";
import { runCa } from "../ca/program.ts";
import { runCertutil } from "../certutil/program.ts";
import { BrokenPromise } from "./broken_promise.ts";

const tools = { "hypha-ca": runCa, "hypha-certutil": runCertutil } as const;

/** Runs a command, and returns what it printed. */
export async function runTool(tool: keyof typeof tools, ...args: readonly string[]): Promise<string> {
  const printed: string[] = [];
  const keep = (...values: readonly unknown[]) => void printed.push(values.join(" "));
  const console = { ...globalThis.console, log: keep, error: keep };
  const { code, notice } = await tools[tool](args, (effect) => Effect.provideService(effect, Console.Console, console));
  if (code === 0) return printed.join("\n");
  throw new BrokenPromise(`${tool} ${args[0]} ended with ${code}: ${notice ?? printed.join("; ")}`);
}
