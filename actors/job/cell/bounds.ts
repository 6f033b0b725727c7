/**
 * The bounds of one job's cell: what its lease gives it, unless the configuration of its worker says otherwise.
 *
 * @module
 */
import type { Resources } from "../../../transport/protocols/messages.ts";
import type { CellSettings, DiskPlace } from "../../config/cell_config.ts";

/** A worker's `[cell]` with the bounds of one job. */
export type CellConfig = Omit<CellSettings, keyof JobBounds | "gpu" | "gpuCommon"> & JobBounds;

interface JobBounds {
  readonly memoryBytes: number;
  /** Size of the work directory. */
  readonly diskBytes: number;
  readonly disk: DiskPlace;
  /** The devices of its GPUs, and those that every job with a GPU gets. */
  readonly devices: readonly string[];
}

/** Resources are leased in GB. */
const gb = 1e9;
/** A job that was leased less memory or storage gets this all the same: under it a runtime does not start. */
const leastMemoryBytes = 512 * 1024 ** 2, leastDiskBytes = 64 * 1024 ** 2;
/** A larger work directory is not kept in memory. */
const diskInMemoryMaxBytes = 1024 ** 3;

/** How many jobs a worker has memory for, if each gets the least; one in any case. */
export function jobsMax({ memory }: Pick<Resources, "memory">): number {
  return Math.max(1, Math.floor(memory * gb / leastMemoryBytes));
}

/** The size of the work directory of a job that was leased so much storage, where its worker's configuration names none. */
export function workDirectoryBytes({ storage }: Pick<Resources, "storage">): number {
  return Math.max(leastDiskBytes, Math.floor(storage * gb));
}

/**
 * The cell of a job that was leased `resources`.
 *
 * @param gpus Which of `[[cell.gpu]]` it has.
 */
export function jobCell(
  { gpu, gpuCommon, ...settings }: CellSettings,
  resources: Pick<Resources, "memory" | "storage">,
  gpus: readonly number[] = [],
): CellConfig {
  const own = gpus.flatMap((index) => gpu[index]?.devices ?? []);
  const devices = own.length === 0 ? [] : [...gpuCommon.devices, ...own];
  const memoryBytes = settings.memoryBytes ?? Math.max(leastMemoryBytes, Math.floor(resources.memory * gb));
  const diskBytes = settings.diskBytes ?? workDirectoryBytes(resources);
  const disk = settings.disk ?? (diskBytes > diskInMemoryMaxBytes ? "directory" : "memory");
  return { ...settings, memoryBytes, diskBytes, disk, devices };
}
