/**
 * The least that each role needs of Deno, as flags for `deno run`. Found by running with nothing allowed and
 * `DENO_AUDIT_PERMISSIONS`; a test runs each role with exactly these.
 *
 * @module
 */
import { deniedByDeno } from "../../actors/files/denied.ts";
import { stateDirDefault } from "../../actors/config/defaults.ts";
import type { Role } from "../../pki/certificate.ts";

/** What a node touches. Paths as they stand in its configuration. */
interface DenoNeeds {
  /** The configuration file. */
  readonly configPath: string;
  /** The directory of what it remembers (`state_dir`); the default beside the configuration file where undefined. */
  readonly stateDir?: string;
  /** The folder of certificate, key, trust and revocation lists: it is watched, so the folder, not the files. */
  readonly certificateFolder: string;
  /** What else is read: a data node's dataset, a scheduler's held-out rows. */
  readonly readPaths: readonly string[];
  /**
   * Hosts, with or without `:port`, that are listened on and dialled. Deno wants to know them beforehand; a node that is
   * to dial whomever the network names needs `[]`, which allows all.
   */
  readonly addresses: readonly string[];
}

/**
 * Flags for `deno run` of a role's program.
 *
 * A worker gets `-A`: it starts executors (`--allow-run` of any program that its configuration names gives away as much
 * as everything, since a child is not confined) and walks descriptors through `/proc/self/fd`, which Deno allows
 * nobody without full access.
 *
 * The environment is closed but for the configuration's own variables: libp2p's logger and its colour detection list
 * the whole of it on import, which no list of names could allow. `--ignore-env` makes what is not listed look unset.
 */
export function permissionsFor(role: Role, needs: DenoNeeds): string[] {
  if (role === "worker") return ["-A"];
  const stateDir = needs.stateDir ?? stateDirDefault(needs.configPath, {});
  const read = [needs.configPath, needs.certificateFolder, stateDir, ...needs.readPaths];
  const everywhere = needs.addresses.some((address) => /^(0\.0\.0\.0|\[?::\]?)(:\d+)?$/.test(address));
  return [
    "--no-prompt",
    "--ignore-env",
    "--allow-env=HYPHA_*,OTEL_*,STATE_DIRECTORY,NO_COLOR,TERM",
    `--allow-read=${[...new Set(read)].join(",")}`,
    `--allow-write=${stateDir}`,
    needs.addresses.length === 0 ? "--allow-net" : `--allow-net=${needs.addresses.join(",")}`,
    ...(everywhere || needs.addresses.length === 0 ? ["--allow-sys=networkInterfaces"] : []),
  ];
}

/**
 * The sentence for an error that comes from a missing permission: which one, and all that the role needs.
 *
 * @returns Undefined where the error has another cause.
 */
export function permissionMessage(role: Role, error: unknown): string | undefined {
  const denied = deniedByDeno(error);
  if (denied === undefined) return undefined;
  const needs: DenoNeeds = {
    configPath: "CONFIG.toml",
    certificateFolder: "CERTIFICATE-FOLDER",
    readPaths: role === "data" ? ["DATASET"] : [],
    addresses: [],
  };
  return `${denied}. A ${role} runs with: deno run ${permissionsFor(role, needs).join(" ")}`;
}
