/**
 * Which runtimes this machine has, and the words that start them.
 *
 * A runtime is the pinned one of `node_modules`, or the one that runs this process. A machine with Deno and nothing else
 * has no Node: `deno install` takes the packages and runs no install scripts. (What `deno task` puts into PATH as `node` is
 * Deno again, so PATH is not asked.)
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { basename, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

export type Runtime = "node" | "deno";

const bin = fileURLToPath(new URL("../../node_modules/.bin", import.meta.url));
/** A cold start on a loaded machine stays well below this. */
const startMs = 20_000;
const found = new Map<Runtime, string | undefined>();

/** The runtime of this process. */
export const ownRuntime: Runtime = "deno" in process.versions ? "deno" : "node";

/** A runtime that was asked. */
interface AskedRuntime {
  /** The absolute path of its binary. */
  readonly path: string;
  readonly version: string;
}

const answer = "JSON.stringify({ path: process.execPath, versions: process.versions })";
const questions: Record<Runtime, readonly string[]> = {
  node: ["-p", answer],
  deno: ["eval", `import process from "node:process"; console.log(${answer})`],
};

/**
 * Starts a program once and asks it where its binary is, and its version.
 *
 * @returns Undefined where it is not this runtime: Deno puts its own `node` into PATH, which is Deno again.
 */
export function askRuntime(runtime: Runtime, program: string): AskedRuntime | undefined {
  const { stdout, status } = spawnSync(startable(program), questions[runtime], { encoding: "utf8", timeout: startMs });
  if (status !== 0) return undefined;
  try {
    const { path, versions } = JSON.parse(stdout) as { path: string; versions: Readonly<Record<string, string>> };
    const version = versions[runtime];
    if (version === undefined || (runtime === "node" && "deno" in versions)) return undefined;
    return { path, version };
  } catch {
    return undefined;
  }
}

/**
 * The absolute path of a runtime's real binary (a launcher in between would outlive a signal); undefined where this machine
 * has none.
 */
export function findRuntime(runtime: Runtime): string | undefined {
  if (runtime === ownRuntime) return process.execPath;
  if (!found.has(runtime)) found.set(runtime, askRuntime(runtime, join(bin, runtime))?.path);
  return found.get(runtime);
}

/** The runtimes of this machine, Node first. */
export function availableRuntimes(): readonly Runtime[] {
  return (["node", "deno"] as const).filter((runtime) => findRuntime(runtime) !== undefined);
}

/**
 * A binary's path as a child process is started with it: where it equals `process.execPath`, Deno's `node:child_process`
 * takes the arguments for Node's and rewrites them.
 */
export const startable = (binary: string): string => `${dirname(binary)}/./${basename(binary)}`;

/** The words that start one of the tree's scripts, all permissions given, without its path and arguments. */
export function scriptCommand(runtime: Runtime): readonly [string, ...string[]] {
  const binary = startable(findRuntime(runtime) ?? join(bin, runtime));
  return runtime === "node" ? [binary, "--no-warnings"] : [binary, "run", "--quiet", "--no-check", "-A"];
}
