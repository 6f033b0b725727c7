/**
 * Environment and flags, laid over a file's values. Each value keeps where it came from.
 *
 * Later sources win: the file, `OTEL_*`, `HYPHA_*`, flags.
 *
 * @module
 */
import type { Role } from "../../pki/certificate.ts";
import { type ConfigKey, type KeyKind, keysOf } from "./keys.ts";
import type { JobSource } from "./job_source.ts";
import { type ConfigProblem, nearestName, type Origin, showValue } from "./problem.ts";

/** The sources in addition to the file. */
export interface Surroundings {
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** By flag name without dashes, for instance `offer-price`; of a list, each time that it was given. */
  readonly flags: Readonly<Record<string, string | readonly string[]>>;
  /** The training job given with `--job`: it overrides those of the file and the environment. */
  readonly job?: JobSource | undefined;
  /** What the configuration is for: a probe joins no network. `run` where undefined. */
  readonly purpose?: "run" | "probe" | undefined;
}

/** Values of a configuration before they were checked. */
export interface Layered {
  readonly values: Record<string, unknown>;
  /** By key, where environment or a flag gave it. */
  readonly origins: ReadonlyMap<string, Origin>;
  /** Where `scheduler.job` came from, if not from the file. */
  readonly job: JobSource | undefined;
  readonly problems: readonly ConfigProblem[];
}

/** OpenTelemetry's own variables and their keys. An empty variable counts as unset, as its specification requires. */
export const openTelemetryVariables: Readonly<Record<string, string>> = {
  OTEL_EXPORTER_OTLP_ENDPOINT: "telemetry_endpoint",
  OTEL_RESOURCE_ATTRIBUTES: "telemetry_attributes",
  OTEL_EXPORTER_OTLP_HEADERS: "telemetry_headers",
  OTEL_EXPORTER_OTLP_PROTOCOL: "telemetry_protocol",
  OTEL_TRACES_SAMPLER: "telemetry_sampler",
  OTEL_TRACES_SAMPLER_ARG: "telemetry_sample_ratio",
  OTEL_LOGS_EXPORTER: "telemetry_logs",
  OTEL_METRIC_EXPORT_INTERVAL: "telemetry_interval_ms",
};

/** Roles whose variables may be set in an environment that several programs share. */
const roles: readonly Role[] = ["gateway", "scheduler", "worker", "data"];

/** Lays environment and flags over `values`, which is changed. */
export function layerSources(role: Role, values: Record<string, unknown>, around: Surroundings): Layered {
  const origins = new Map<string, Origin>();
  const problems: ConfigProblem[] = [];
  const keys = keysOf(role);
  const put = (key: ConfigKey, text: string | readonly string[], origin: Origin) => {
    const read = typeof text === "string" ? readText(text, key.kind) : readAll(text, key.kind);
    if (read.type === "complaint") problems.push(complain(key, String(text), origin, read.wrong));
    else if (setAt(values, key.path, read.value)) origins.set(key.key, origin);
  };
  const variables: [ConfigKey, string][] = [
    ...Object.entries(openTelemetryVariables).flatMap(([variable, name]): [ConfigKey, string][] =>
      keys.filter(({ key }) => key === name).map((key) => [key, variable])
    ),
    ...keys.map((key): [ConfigKey, string] => [key, key.variable]),
  ];
  for (const [key, variable] of variables) {
    const text = around.environment[variable];
    if (text === "" && variable.startsWith("OTEL_")) continue;
    if (text !== undefined) put(key, text, { type: "environment", variable });
  }
  const { job } = around;
  if (job !== undefined && setAt(values, ["scheduler", "job"], structuredClone(job.values))) {
    for (const key of [...origins.keys()]) if (key.startsWith("scheduler.job.")) origins.delete(key);
  }
  for (const key of keys) {
    const text = around.flags[key.flag];
    if (text !== undefined) put(key, text, { type: "flag", flag: key.flag });
  }
  return { values, origins, job, problems: [...problems, ...unknownVariables(around.environment)] };
}

function complain(key: ConfigKey, text: string, origin: Origin, wrong: string): ConfigProblem {
  const { expected } = key;
  return { origin, key: key.key, wrong: `${showValue(text, key.secret)} ${wrong}`, expected, mend: mendOf(key, wrong) };
}

const mendOf = ({ kind, example }: ConfigKey, wrong: string): string =>
  wrong === empty
    ? "write [] for an empty list"
    : kind === "tables"
    ? "write it as JSON, or into the file"
    : kind === "texts" || kind === "numbers"
    ? `separate entries with commas, or write JSON: ${example}`
    : `write for instance ${example.replaceAll('"', "")}`;

/**
 * A misspelt variable would be ignored silently, and with `HYPHA_CRLS_PME` revocation with it. Variables of the other
 * roles are none of our business.
 */
function unknownVariables(environment: Surroundings["environment"]): ConfigProblem[] {
  const known = [...new Set(roles.flatMap((role) => keysOf(role).map(({ variable }) => variable)))];
  return Object.keys(environment).filter((variable) => variable.startsWith("HYPHA_") && !known.includes(variable))
    .sort().map((variable) => {
      const nearest = nearestName(variable, known);
      return {
        origin: { type: "environment", variable: showValue(variable).slice(1, -1) },
        key: "",
        wrong: "is not the variable of any key",
        expected: nearest === undefined ? "HYPHA_KEY or HYPHA_TABLE__KEY" : nearest,
        mend: "correct its name, or unset it",
      };
    });
}

type ReadText =
  | { readonly type: "value"; readonly value: unknown }
  | { readonly type: "complaint"; readonly wrong: string };

const value = (read: unknown): ReadText => ({ type: "value", value: read });
const complaint = (wrong: string): ReadText => ({ type: "complaint", wrong });

/** Such as of a variable that was to be filled in: the empty list may turn a guard off, so it is written. */
const empty = "is empty";

/** Text as a value: the schema checks it afterwards. */
function readText(text: string, kind: KeyKind): ReadText {
  const trimmed = text.trim();
  if (trimmed === "" && isList(kind)) return complaint(empty);
  switch (kind) {
    case "text":
      return value(text);
    case "number":
      return readNumber(trimmed);
    case "boolean":
      return trimmed === "true" || trimmed === "false" ? value(trimmed === "true") : complaint("is not true or false");
    case "tables":
      return readJson(trimmed);
    case "texts":
      return trimmed.startsWith("[") ? readJson(trimmed) : value(splitList(trimmed));
    case "numbers": {
      if (trimmed.startsWith("[")) return readJson(trimmed);
      const numbers = splitList(trimmed).map(readNumber);
      const wrong = numbers.find((read) => read.type === "complaint");
      return wrong ?? value(numbers.map((read) => read.type === "value" ? read.value : undefined));
    }
  }
}

/** A list that was given in parts, as a flag may be repeated; of anything else, what was given last. */
function readAll(texts: readonly string[], kind: KeyKind): ReadText {
  if (!isList(kind)) return readText(texts[texts.length - 1] ?? "", kind);
  const parts: unknown[] = [];
  for (const text of texts) {
    const read = readText(text, kind);
    if (read.type === "complaint") return read;
    parts.push(...read.value as unknown[]);
  }
  return value(parts);
}

const isList = (kind: KeyKind): boolean => kind === "texts" || kind === "numbers" || kind === "tables";

const splitList = (text: string): string[] => text.split(",").map((entry) => entry.trim());

function readNumber(text: string): ReadText {
  const number = Number(text);
  return text === "" || !Number.isFinite(number) ? complaint("is not a number") : value(number);
}

function readJson(text: string): ReadText {
  try {
    const read: unknown = JSON.parse(text);
    return Array.isArray(read) ? value(read) : complaint("is not a JSON list");
  } catch {
    return complaint("is not JSON");
  }
}

/** Sets the value at `path`, making tables on the way. False where a value on the path is not a table. */
function setAt(values: Record<string, unknown>, path: readonly string[], read: unknown): boolean {
  let table = values;
  for (const step of path.slice(0, -1)) {
    if (!Object.hasOwn(table, step)) table[step] = Object.create(null);
    const next = table[step];
    if (typeof next !== "object" || next === null || Array.isArray(next)) return false;
    table = next as Record<string, unknown>;
  }
  table[path[path.length - 1] ?? ""] = read;
  return true;
}
