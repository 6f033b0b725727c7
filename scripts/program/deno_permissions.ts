/**
 * The least that each role needs of Deno, as flags for `deno run`. Found by running with nothing allowed and
 * `DENO_AUDIT_PERMISSIONS`; a test runs each role with exactly these.
 *
 * @module
 */
import { resolve } from "node:path";
import { adminSocketPath } from "../../actors/admin/socket_path.ts";
import { deniedByDeno } from "../../actors/files/denied.ts";
import { stateDirDefault } from "../../actors/config/defaults.ts";
import type { Role } from "../../pki/certificate.ts";

/** The resources that a node uses. Paths have the form of its configuration. */
interface DenoNeeds {
  /** The configuration file. */
  readonly configPath: string;
  /** The state directory (`state_dir`); undefined for the default next to the configuration file. */
  readonly stateDir?: string;
  /** The folder of certificate, key, trust and revocation lists: it is watched, so the folder, not the files. */
  readonly certificateFolder: string;
  /** A node with `[membership]` writes its certificate, key and trust itself. By default they are only read. */
  readonly certificates?: "read" | "renewed";
  /** Whether a scheduler has `[[executors]]`. A worker has some in any case. */
  readonly executors?: boolean;
  /** Further files to read: the dataset of a data node, the held-out rows of a scheduler. */
  readonly readPaths: readonly string[];
  /**
   * Hosts to listen on and to dial, with or without `:port`. Deno needs them before the start. A node that dials the peers
   * that the network names needs `[]`, which allows all.
   */
  readonly addresses: readonly string[];
}

/**
 * Flags for `deno run` of a role's program.
 *
 * A worker, and a scheduler that evaluates with programs, get `-A`: they start executors (`--allow-run` of any program that its configuration names gives away as much
 * as everything, since a child is not confined) and walk descriptors through `/proc/self/fd`, which Deno allows
 * with full access only.
 *
 * The environment is closed but for the configuration's own variables: libp2p's logger and its colour detection list
 * the whole of it on import, which no list of names could allow. `--ignore-env` makes other variables appear unset.
 */
export function permissionsFor(role: Role, needs: DenoNeeds): string[] {
  if (role === "worker" || needs.executors === true) return ["-A"];
  const stateDir = needs.stateDir ?? stateDirDefault(needs.configPath, {});
  const read = [needs.configPath, needs.certificateFolder, stateDir, ...needs.readPaths];
  const everywhere = needs.addresses.some((address) => /^(0\.0\.0\.0|\[?::\]?)(:\d+)?$/.test(address));
  // A scheduler looks at the free space before it takes a training.
  const system = [
    ...(everywhere || needs.addresses.length === 0 ? ["networkInterfaces"] : []),
    ...(role === "scheduler" ? ["statfs"] : []),
  ];
  return [
    "--no-prompt",
    "--ignore-env",
    "--allow-env=HYPHA_*,OTEL_*,STATE_DIRECTORY,NO_COLOR,TERM",
    `--allow-read=${[...new Set(read)].join(",")}`,
    `--allow-write=${needs.certificates === "renewed" ? `${stateDir},${needs.certificateFolder}` : stateDir}`,
    needs.addresses.length === 0
      ? "--allow-net"
      : `--allow-net=${[...needs.addresses, `unix:${resolve(adminSocketPath(stateDir))}`].join(",")}`,
    ...(system.length === 0 ? [] : [`--allow-sys=${system.join(",")}`]),
  ];
}

/** The resources that `join` uses. */
interface JoinNeeds {
  /** Where the configuration, the certificate and the state directory are written: the folder in which `join` is started. */
  readonly folder: string;
  /** Further files to read: a token that is no standard input, the job of a scheduler. */
  readonly readPaths: readonly string[];
  /** Host and port of the CA. */
  readonly ca: string;
}

/** Flags for `deno run` of `join`, of each role. */
export function joinPermissions({ folder, readPaths, ca }: JoinNeeds): string[] {
  return [
    "--no-prompt",
    "--ignore-env",
    "--allow-env=HYPHA_*,OTEL_*,STATE_DIRECTORY,NO_COLOR,TERM",
    `--allow-read=${[folder, ...readPaths].join(",")}`,
    `--allow-write=${folder}`,
    `--allow-net=${ca}`,
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
