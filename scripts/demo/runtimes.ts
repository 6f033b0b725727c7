/**
 * The runtimes of this machine, for the demo's processes.
 *
 * @module
 */
import { realpathSync } from "node:fs";
import { delimiter } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { askRuntime, findRuntime, ownRuntime, type Runtime, startable } from "../check/runtimes.ts";
import { findProgram } from "../check/prerequisites.ts";
import { isAtLeast, nodeMin } from "../program/require_node.ts";
import { BrokenPromise } from "./broken_promise.ts";

/** The oldest Deno that the programs were tried with: README names it too. */
const denoMin = "2.9";

/** The first runtime of `path` that is new enough; undefined where there is none. */
export function findInPath(runtime: Runtime, path = process.env["PATH"] ?? ""): string | undefined {
  const min = runtime === "node" ? nodeMin : denoMin;
  for (const folder of path.split(delimiter).filter((each) => each !== "")) {
    const program = findProgram(runtime, folder);
    const found = program === undefined ? undefined : askRuntime(runtime, program);
    if (found !== undefined && isAtLeast(found.version, min)) return realpathSync(found.path);
  }
  return undefined;
}

const binaries = new Map<Runtime, string | undefined>();

/**
 * The absolute path of a runtime's binary: the one that runs this process, the pinned one, then that of PATH. Where Deno runs the
 * demo, only PATH decides whether a Node exists.
 *
 * @returns Undefined where the machine has none that is new enough.
 */
export function findBinary(runtime: Runtime): string | undefined {
  if (!binaries.has(runtime)) {
    const pinned = runtime === ownRuntime || ownRuntime === "node" ? findRuntime(runtime) : undefined;
    binaries.set(runtime, pinned ?? findInPath(runtime));
  }
  return binaries.get(runtime);
}

/** One line: which runtime is missing, and how to get it. */
export function missing(runtime: Runtime): string {
  return runtime === "node"
    ? `no Node ${nodeMin} or newer in PATH: https://nodejs.org/en/download`
    : `no Deno ${denoMin} or newer in PATH: node scripts/ensure.mjs installs one`;
}

/** The absolute path of a runtime's binary, for those that cannot go on without it. */
export function runtimeBinary(runtime: Runtime): string {
  const binary = findBinary(runtime) ?? findRuntime(runtime);
  if (binary === undefined) throw new BrokenPromise(missing(runtime));
  return binary;
}

/** The command that runs a script, in words: the binary, the flags before the script. `permissions` are Deno's. */
export function commandOf(runtime: Runtime, permissions: readonly string[]): readonly [string, ...string[]] {
  const binary = startable(runtimeBinary(runtime));
  return runtime === "node" ? [binary, "--no-warnings"] : [binary, "run", "--quiet", "--no-check", ...permissions];
}

/** The script of a program, such as `worker` or `ca`. */
export const scriptOf = (program: string): string => fileURLToPath(new URL(`../hypha_${program}.ts`, import.meta.url));
