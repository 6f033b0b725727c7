/**
 * Where the demo's nodes get their certificates and configurations: from a CA that runs, or from commands by hand.
 *
 * @module
 */
import { join } from "node:path";
import type { IssuerFiles } from "../../pki/issue/mod.ts";
import type { NodePlan } from "./configuration.ts";
import type { NodeProcess } from "./processes.ts";

/** The two ways to certify. */
export type Way = "ca" | "by-hand";

/** The files of a node. */
export interface Place {
  readonly config: string;
  readonly cert: string;
  readonly key: string;
  /** Where its programs are started: paths of its configuration are relative to it. */
  readonly cwd: string;
}

/** The way that the demo takes. */
export interface Certifier {
  readonly way: Way;
  /** Makes the CA's keys and lists. Returns the CA's process where it runs. */
  begin(): Promise<NodeProcess | undefined>;
  /** Gives a node its certificate and its configuration. `values`: keys of the configuration, in tables as in TOML. */
  certify(plan: NodePlan, values: Readonly<Record<string, unknown>>): Promise<void>;
  placeOf(name: string): Place;
  /** The name in a node's certificate. */
  commonName(name: string): string;
  /** Revokes a node's certificates. Returns when that began, in milliseconds since the epoch. */
  revoke(name: string): Promise<number>;
  /** Certificate and key of the CA that issues. */
  issuer(): IssuerFiles;
}

/** Files of a node in a folder, as `join` and `init` name them. */
export function placeIn(folder: string, name: string): Place {
  const file = (kind: string) => join(folder, `${name}${kind}`);
  return { config: file(".toml"), cert: file("-cert.pem"), key: file("-key.pem"), cwd: folder };
}
