/**
 * How a worker confines its executors (`[cell]`) and what it fetches for them (`[fetch]`), typed, with defaults.
 *
 * @module
 */
import type { Settings } from "./settings.ts";
import type { Cell, Fetch } from "./worker_schema.ts";

/** What separates an executor from the machine, the strongest last. */
export const cellLevels = ["bare", "namespaces", "root", "full"] as const;

/**
 * `full`: namespaces of its own, a read-only root, no network, by an unprivileged user namespace. `root`: the same made by
 * root, where user namespaces are forbidden. `namespaces`: no network and no daemons, but the machine's files stay visible.
 * `bare`: a process group with limits.
 */
export type CellLevel = (typeof cellLevels)[number];

/** `[cell]`. Memory and disk that it does not limit are limited by the job's lease. */
export type CellSettings =
  & Omit<Settings<Cell, "memoryBytes" | "diskBytes" | "disk" | "cpuSeconds">, "gpuCommon">
  & { readonly gpuCommon: { readonly devices: readonly string[] } };

/** A job's work directory is a file system in memory, or a directory of the worker's own disk. */
export type DiskPlace = "memory" | "directory";

/** `[fetch]`. */
export type FetchConfig = Settings<Fetch, "hosts" | "fileBytesMax">;

/** One of `[[cell.gpu]]`. */
export interface GpuTable {
  readonly devices: readonly string[];
  /** GB. */
  readonly memory: number;
}

/** What holds where the configuration has no `[cell]`. The schema's examples come from here. */
export const cellDefault = {
  level: "bare" as CellLevel,
  levelMax: "full" as CellLevel,
  allowUnconfined: false,
  memoryBytes: undefined as number | undefined,
  pidsMax: 4_096,
  cpuSeconds: undefined as number | undefined,
  openFilesMax: 1_024,
  diskBytes: undefined as number | undefined,
  disk: undefined as DiskPlace | undefined,
  inodesMax: 100_000,
  wallSeconds: 2_592_000,
  environment: ["LANG"] as readonly string[],
  readOnly: [] as readonly string[],
  gpu: [] as readonly GpuTable[],
  gpuCommon: { devices: [] as readonly string[] },
};

/** The same of a scheduler, whose programs evaluate: one that hangs would hold all later evaluations. */
export const evaluatingCellDefault = { ...cellDefault, wallSeconds: 3_600 };

/** What holds where the configuration has no `[fetch]`: nothing of the machine's own surroundings (RFC 6890). */
export const fetchDefault = {
  schemes: ["http", "https"] as readonly ("http" | "https")[],
  hosts: undefined as readonly string[] | undefined,
  denyCidr: [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
    "::/96",
    "64:ff9b::/96",
    "2001::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
  ] as readonly string[],
  fileBytesMax: undefined as number | undefined,
  cacheBytes: 10 * 1024 ** 3,
  redirectsMax: 5,
  timeoutMs: 3_600_000,
};
