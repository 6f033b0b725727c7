/**
 * A Node that is too old for the programs: the system's own where it is one, else the pinned one that says so.
 *
 * @module
 */
import { spawnSync } from "node:child_process";
import { delimiter, resolve } from "node:path";
import process from "node:process";
import { findProgram } from "./prerequisites.ts";
import { findRuntime } from "./runtimes.ts";

/** Words that start a Node, and what it says of its version. */
export interface OldNode {
  readonly command: readonly [string, ...string[]];
  readonly version: string;
}

/** Node of this major runs the programs, from some minor on. */
const newEnough = 22;

/** The pinned Node, made to say that it is another. */
export function nodeSaying(version: string): OldNode {
  const change = 'import p from "node:process"; Object.defineProperty(p, "versions", { value: { ...p.versions, node: ' +
    `${JSON.stringify(version)} } });`;
  return {
    command: [findRuntime("node") ?? "node", "--no-warnings", "--import", `data:text/javascript,${change}`],
    version,
  };
}

/** The system's Node, where it is too old; undefined where it is new enough, or there is none. */
export function systemOldNode(): OldNode | undefined {
  const pinned = resolve("node_modules/.bin");
  const path = (process.env["PATH"] ?? "").split(delimiter).filter((each) => resolve(each) !== pinned).join(delimiter);
  const system = findProgram("node", path);
  if (system === undefined) return undefined;
  // What Deno puts into PATH as `node` is Deno.
  const { stdout } = spawnSync(system, ["-p", "process.versions.deno ? '' : process.versions.node"], {
    encoding: "utf8",
  });
  const version = (stdout ?? "").trim();
  return version !== "" && Number(version.split(".")[0]) < newEnough ? { command: [system], version } : undefined;
}
