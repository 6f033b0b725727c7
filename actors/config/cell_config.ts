/**
 * How a worker confines its executors (`[cell]`) and what it fetches for them (`[fetch]`), typed, with defaults.
 *
 * @module
 */

/** What separates an executor from the machine, the strongest last. */
export const cellLevels = ["bare", "namespaces", "root", "full"] as const;

/**
 * `full`: namespaces of its own, a read-only root, no network, by an unprivileged user namespace. `root`: the same made by
 * root, where user namespaces are forbidden. `namespaces`: no network and no daemons, but the machine's files stay visible.
 * `bare`: a process group with limits.
 */
export type CellLevel = (typeof cellLevels)[number];

/** `[cell]`. */
export interface CellConfig {
  /** The least level at which executors are started. */
  readonly level: CellLevel;
  /** Whether executors may be started where they are not confined: only for programs of one's own. */
  readonly allowUnconfined: boolean;
  /** Of the executor and all it starts where there is a cgroup; of each process where there is none. */
  readonly memoryBytes: number;
  /** Processes and threads. */
  readonly pidsMax: number;
  /** Processor time of each process. */
  readonly cpuSeconds: number;
  readonly openFilesMax: number;
  /** Of the work directory: one file, and all together. */
  readonly diskBytes: number;
  readonly inodesMax: number;
  /** From start to end. */
  readonly wallSeconds: number;
  /** Variables of the worker's own environment that executors get too. */
  readonly environment: readonly string[];
  /** Files and folders that executors may read, beside `/usr` and their own program. Absolute. */
  readonly readOnly: readonly string[];
}

/** `[fetch]`. */
export interface FetchConfig {
  readonly schemes: readonly ("http" | "https")[];
  /** Names that may be fetched from, each with what is below it; all where undefined. */
  readonly hosts: readonly string[] | undefined;
  /** Ranges that are never connected to. */
  readonly denyCidr: readonly string[];
  readonly fileBytesMax: number;
  readonly redirectsMax: number;
  /** Of one fetch, in all. */
  readonly timeoutMs: number;
}

/** What holds where the configuration has no `[cell]`. */
export const cellDefault: CellConfig = {
  level: "bare",
  allowUnconfined: false,
  memoryBytes: 4 * 1024 ** 3,
  pidsMax: 256,
  cpuSeconds: 86_400,
  openFilesMax: 1_024,
  diskBytes: 2 * 1024 ** 3,
  inodesMax: 100_000,
  wallSeconds: 86_400,
  environment: ["LANG"],
  readOnly: [],
};

/** What holds where the configuration has no `[fetch]`: nothing of the machine's own surroundings (RFC 6890). */
export const fetchDefault: FetchConfig = {
  schemes: ["http", "https"],
  hosts: undefined,
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
  ],
  fileBytesMax: 4 * 1024 ** 3,
  redirectsMax: 5,
  timeoutMs: 3_600_000,
};
