/**
 * The keys that only a worker's configuration has.
 *
 * @module
 */
import { Schema, Struct } from "effect";
import { cellDefault, cellLevels, evaluatingCellDefault, fetchDefault } from "./cell_config.ts";
import { offerDefault } from "./defaults.ts";
import { tomlOf } from "./settings.ts";
import { amount, cidr, flag, integer, list, oneOf, optional, text, textCharactersMax } from "./notes.ts";

/** Of a worker: whole numbers. */
export const wholeResources = (of: string) =>
  Schema.Struct({
    cpu: integer(0, 1_000_000, "4", `${of}: cores.`),
    memory: integer(0, 1_000_000_000, "8", `${of}: GB of memory.`),
    storage: integer(0, 1_000_000_000, "10", `${of}: GB of storage.`),
    gpu: integer(0, 1_000_000, "0", `${of}: GB of GPU memory.`),
  });
/** What a worker asks. The existing nodes' own configuration may lack it. */
export const offer = Schema.Struct({
  price: optional(amount(offerDefault.price.toFixed(1), "Price that this worker asks.")),
  floor: optional(amount(offerDefault.floor.toFixed(1), "Bids under this are not answered.")),
  strategy: optional(Schema.Struct({
    type: optional(
      oneOf(
        ["whole", "flexible"],
        tomlOf(offerDefault.strategy),
        "Offer all resources, or those that were requested.",
      ),
    ),
  })),
});

/** One of `[[executors]]`. */
export const executor = Schema.Struct({
  class: oneOf(["train", "aggregate"], '"train"', "Kind of job."),
  name: text({
    expected: "the name that schedulers ask for",
    example: '"diloco-transformer"',
    description: "Name that schedulers ask for.",
  }),
  runtime: oneOf(["process", "parameter-server"], '"process"', "A program of yours, or the built-in aggregation."),
  cmd: optional(
    text({ expected: "a program", example: '"python3"', description: "Program to start, without a shell." }),
  ),
  args: optional(
    list(Schema.String.check(Schema.isMaxLength(textCharactersMax)), {
      expected: "a list of texts",
      example: '["train.py", "{SOCKET_PATH}"]',
      description: "Its arguments; {SOCKET_PATH}, {WORK_DIR} and {JOB_JSON} are filled in.",
    }),
  ),
  token: optional(
    oneOf(["required", "optional"], '"required"', "Whether the program must show BRIDGE_TOKEN at the job bridge.", {
      standard: "optional in cells of level full and root, else required",
    }),
  ),
});

/** One of a scheduler's `[[executors]]`: it measures models, and is never leased. */
export const evaluatingExecutor = Schema.Struct({
  class: oneOf(["evaluate"], '"evaluate"', "Kind of work."),
  name: text({
    expected: "the name that jobs ask for",
    example: '"digits"',
    description: "Name that jobs ask for (`evaluation.executor`).",
  }),
  runtime: oneOf(["process"], '"process"', "A program of yours."),
  cmd: executor.fields.cmd,
  args: executor.fields.args,
});

const bytes = (minimum: number, example: string, description: string, standard?: string) =>
  integer(minimum, 2 ** 53 - 1, example, description, standard);
const devices = (description: string, example: string) =>
  list(Schema.String.check(Schema.isPattern(/^\/[^\0]+$/), Schema.isMaxLength(textCharactersMax)), {
    expected: "a list of absolute paths of devices",
    example,
    description,
  });
/** One of `[[cell.gpu]]`. */
const gpu = Schema.Struct({
  devices: devices("Devices of this GPU alone.", '["/dev/nvidia0"]'),
  memory: integer(1, 1_000_000, "24", "Its memory in GB."),
});
/** `[cell]`. */
export const cell = Schema.Struct({
  level: optional(oneOf(cellLevels, tomlOf(cellDefault.level), "Weakest cell in which executors are started.")),
  level_max: optional(
    oneOf(
      cellLevels,
      tomlOf(cellDefault.levelMax),
      "Strongest cell that is tried, also where this machine has a stronger one.",
    ),
  ),
  allow_unconfined: optional(
    flag(
      tomlOf(cellDefault.allowUnconfined),
      "Whether executors may be started where nothing confines them: only for programs of your own.",
    ),
  ),
  memory_bytes: optional(bytes(16_777_216, "4294967296", "Memory of an executor.", "the memory of its lease")),
  pids_max: optional(integer(8, 100_000, tomlOf(cellDefault.pidsMax), "Processes and threads of an executor.")),
  cpu_seconds: optional(
    integer(1, 31_536_000, "86400", "Processor time of each of its processes, summed over its threads.", "no limit"),
  ),
  open_files_max: optional(
    integer(32, 1_000_000, tomlOf(cellDefault.openFilesMax), "Files that each of its processes may hold open."),
  ),
  disk_bytes: optional(bytes(65_536, "2147483648", "Size of its work directory.", "the storage of its lease")),
  disk: optional(
    oneOf(
      ["memory", "directory"],
      '"directory"',
      "Its work directory: a file system in memory with a hard limit (only where the worker is root), or a directory that is measured.",
      { standard: '"directory" above 1 GiB, else "memory"' },
    ),
  ),
  inodes_max: optional(integer(16, 100_000_000, tomlOf(cellDefault.inodesMax), "Files in its work directory.")),
  wall_seconds: optional(integer(1, 31_536_000, tomlOf(cellDefault.wallSeconds), "From its start to its end.")),
  environment: optional(
    list(Schema.String.check(Schema.isPattern(/^[A-Za-z_][A-Za-z0-9_]*$/)), {
      expected: "a list of names of variables",
      example: tomlOf(cellDefault.environment),
      description: "Variables of the worker's own environment that executors get too.",
    }),
  ),
  read_only: optional(
    list(Schema.String.check(Schema.isPattern(/^\/[^\0]+$/), Schema.isMaxLength(textCharactersMax)), {
      expected: "a list of absolute paths",
      example: '["/opt/models"]',
      description: "What executors may read in addition to /usr and their own program.",
    }),
  ),
  gpu: optional(
    list(gpu, {
      expected: "tables [[cell.gpu]]",
      example: '[{ devices = ["/dev/nvidia0"], memory = 24 }]',
      description: "The GPUs that jobs get, each whole and for one job at a time.",
      standard: "none: no GPU memory is offered",
    }),
  ),
  gpu_common: optional(Schema.Struct({
    devices: optional(
      devices("Devices that every job with a GPU gets in addition.", '["/dev/nvidiactl", "/dev/nvidia-uvm"]'),
    ),
  })),
});
/** A scheduler's `[cell]`: its programs get no GPU. */
export const evaluatingCell = cell.mapFields(Struct.omit(["gpu", "gpu_common", "wall_seconds"])).mapFields(
  Struct.assign({
    wall_seconds: optional(
      integer(1, 31_536_000, tomlOf(evaluatingCellDefault.wallSeconds), "From a program's start to its end."),
    ),
  }),
);
/** `[fetch]`. */
export const fetch = Schema.Struct({
  schemes: optional(
    list(oneOf(["http", "https"], '"https"', ""), {
      expected: 'a list of "http", "https"',
      example: tomlOf(fetchDefault.schemes),
      description: "Schemes that are fetched for jobs.",
    }),
  ),
  hosts: optional(
    list(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(253)), {
      expected: "a list of host names",
      example: '["huggingface.co"]',
      description: "Hosts that are fetched from, each with what is below it; all where this is not set.",
    }),
  ),
  deny_cidr: optional(
    list(cidr, {
      expected: "a list of address ranges such as 10.0.0.0/8",
      example: tomlOf(fetchDefault.denyCidr),
      description: "Addresses that are never fetched from, whatever name leads there; [] denies nothing.",
    }),
  ),
  file_bytes_max: optional(
    bytes(1, "4294967296", "Largest file fetched.", "4 GiB, or the storage of the lease where that is more"),
  ),
  cache_bytes: optional(
    bytes(
      0,
      tomlOf(fetchDefault.cacheBytes),
      "Files of the model hub that are kept for later jobs, of all jobs together, in work_dir/cache; 0 keeps none.",
    ),
  ),
  redirects_max: optional(integer(0, 20, tomlOf(fetchDefault.redirectsMax), "Redirects followed in one fetch.")),
  timeout_ms: optional(
    integer(100, 86_400_000, tomlOf(fetchDefault.timeoutMs), "Longest time for the fetch of one file."),
  ),
});

/** `[cell]` as it was decoded. */
export type Cell = (typeof cell)["Type"];
/** `[fetch]` as it was decoded. */
export type Fetch = (typeof fetch)["Type"];
