/**
 * Other names of keys and flags: those of the existing network's nodes, and those that its documents use.
 *
 * @module
 */
import type { KeyPath, Locations } from "./locate.ts";
import type { ConfigProblem } from "./problem.ts";

/** Former names of keys. The table before the name stays. */
const keyAliases: readonly (readonly [former: readonly string[], name: string])[] = [
  [["exporter_otlp_endpoint"], "telemetry_endpoint"],
  [["exporter_otlp_headers"], "telemetry_headers"],
  [["exporter_otlp_protocol"], "telemetry_protocol"],
  [["resource_attributes"], "telemetry_attributes"],
  [["traces_sampler"], "telemetry_sampler"],
  [["traces_sampler_arg"], "telemetry_sample_ratio"],
  [["scheduler", "job", "inner_optimizer", "learning_rate"], "learning-rate"],
  [["scheduler", "job", "outer_optimizer", "learning_rate"], "learning-rate"],
];

/** Flags of the existing network's programs, where they are not the key's own name with dashes. */
const flagAliases: Readonly<Record<string, readonly string[]>> = {
  cert_pem: ["cert"],
  key_pem: ["key"],
  trust_pem: ["trust"],
  crls_pem: ["crls"],
  listen_addresses: ["listen"],
  external_addresses: ["external"],
  gateway_addresses: ["gateway"],
};

/** Former names of the key at `path`. */
export const formerNamesOf = (path: readonly string[]): readonly string[] =>
  keyAliases.filter(([former, name]) => isSame([...former.slice(0, -1), name], path))
    .map(([former]) => former[former.length - 1] ?? "");

/** Further flags of the key at `path`, without dashes. */
export const flagAliasesOf = (path: readonly string[]): readonly string[] => flagAliases[path.join(".")] ?? [];

/** Keys that the existing nodes know and these programs do not, with what to write in their place. */
export const foreignKeys: Readonly<Record<string, { readonly wrong: string; readonly mend: string }>> = {
  worker_pool: {
    wrong: "is a key of later releases of the existing nodes",
    mend: "write num_workers = 2 in [scheduler.job.resources] in its place",
  },
  parameter_server_pool: {
    wrong: "is a key of later releases of the existing nodes",
    mend: "take it out: there is one parameter server",
  },
  model_destination: {
    wrong: "asks for an upload, and this scheduler uploads no model",
    mend: "take it out",
  },
  driver: {
    wrong: "is a key of earlier releases of the existing nodes",
    mend: "name what the worker runs in tables [[executors]]",
  },
  dataset_glob: {
    wrong: "is a key of other releases of the existing nodes",
    mend: "name the directory: dataset_path",
  },
  socket_address: {
    wrong: "is a key of earlier releases of the existing nodes: each job has a socket of its own",
    mend: "take it out",
  },
};

/** What renaming did. */
export interface Renamed {
  /** Where each renamed key is written: its former path. */
  readonly former: readonly { readonly path: KeyPath; readonly former: KeyPath }[];
  /** Keys that are given under two names. */
  readonly twice: readonly { readonly path: KeyPath; readonly former: KeyPath }[];
}

/** Gives keys of `values`, which is changed, their present names. */
export function renameKeys(values: Record<string, unknown>): Renamed {
  const former: Renamed["former"][number][] = [];
  const twice: Renamed["twice"][number][] = [];
  for (const [path, name] of keyAliases) {
    const last = path[path.length - 1] ?? "";
    const table = tableAt(values, path.slice(0, -1));
    if (table === undefined || !Object.hasOwn(table, last)) continue;
    const entry = { path: [...path.slice(0, -1), name], former: path };
    if (Object.hasOwn(table, name)) twice.push(entry);
    else table[name] = table[last];
    delete table[last];
    former.push(entry);
  }
  const offer = values["offer"];
  // The existing network's documents write the strategy as one word.
  if (isTable(offer) && typeof offer["strategy"] === "string") offer["strategy"] = { type: offer["strategy"] };
  return { former, twice };
}

/** Positions of keys under their present names. */
export function locateRenamed(locations: Locations, { former, twice }: Renamed): Locations {
  const asWritten = (path: KeyPath): KeyPath => {
    const entry = former.find((each) => !twice.includes(each) && isSame(each.path, path.slice(0, each.path.length)));
    return entry === undefined ? path : [...entry.former, ...path.slice(entry.path.length)];
  };
  return { key: (path) => locations.key(asWritten(path)), value: (path) => locations.value(asWritten(path)) };
}

/** Problems for keys that are given under two names. */
export function problemsOfTwice(file: string, locations: Locations, { twice }: Renamed): readonly ConfigProblem[] {
  return twice.map(({ path, former }) => {
    const { line, column } = locations.key(former) ?? { line: 1, column: 1 };
    return {
      origin: { type: "file", file, line, column },
      key: former.map(String).join("."),
      wrong: `is the former name of ${path.map(String).join(".")}, which is given too`,
      expected: "one of the two",
      mend: "take this one out",
    };
  });
}

const isSame = (left: KeyPath, right: KeyPath): boolean =>
  left.length === right.length && left.every((step, index) => step === right[index]);

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);

function tableAt(values: Record<string, unknown>, path: readonly string[]): Record<string, unknown> | undefined {
  let table = values;
  for (const step of path) {
    const next = Object.hasOwn(table, step) ? table[step] : undefined;
    if (!isTable(next)) return undefined;
    table = next;
  }
  return table;
}
