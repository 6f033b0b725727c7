/**
 * A Node that is too old for the programs: the system's Node if it is too old, else the pinned Node with a false version.
 *
 * @module
 */
import { delimiter, resolve } from "node:path";
import process from "node:process";
import { findProgram } from "./prerequisites.ts";
import { isAtLeast, nodeMin } from "../program/require_node.ts";
import { askRuntime, findRuntime } from "./runtimes.ts";

/** The command of a Node, and the version that it reports. */
export interface OldNode {
  readonly command: readonly [string, ...string[]];
  readonly version: string;
}

/** The pinned Node, which reports a false version. */
export function nodeReporting(version: string): OldNode {
  const change = 'import p from "node:process"; Object.defineProperty(p, "versions", { value: { ...p.versions, node: ' +
    `${JSON.stringify(version)} } });`;
  return {
    command: [findRuntime("node") ?? "node", "--no-warnings", "--import", `data:text/javascript,${change}`],
    version,
  };
}

/**
 * The system's Node, where it is too old for the programs; undefined where it is new enough, or there is none.
 *
 * @param path Where it is searched, without the pinned one.
 */
export function systemOldNode(path = process.env["PATH"] ?? ""): OldNode | undefined {
  const pinned = resolve("node_modules/.bin");
  const others = path.split(delimiter).filter((each) => resolve(each) !== pinned).join(delimiter);
  const system = findProgram("node", others);
  const version = system === undefined ? undefined : askRuntime("node", system)?.version;
  if (system === undefined || version === undefined || isAtLeast(version, nodeMin)) return undefined;
  return { command: [system], version };
}
