/**
 * The configuration that `init` writes: every key of a role with its purpose. Optional keys, and keys that only the operator
 * knows, are comments.
 *
 * @module
 */
import { basename, dirname, join } from "node:path";
import { stringify } from "@std/toml";
import { type ConfigKey, keysOf } from "../../actors/config/keys.ts";
import { nounOf } from "../../actors/config/other_role.ts";
import type { Role } from "../../pki/certificate.ts";
import { escapeUnsafe } from "./log_line.ts";
import { expectedFiles, type FileKey, type InitFiles } from "./init_files.ts";
import { shellWord } from "../../actors/files/shell_word.ts";

/** The options of `init`, and the files that it found. */
interface InitOptions {
  readonly role: Role;
  /** The node's name: its certificate's files are called after it. */
  readonly name: string;
  /** Path of the file that is written; `config.toml` where undefined. */
  readonly file?: string | undefined;
  /** Values that were given, in tables as in TOML. */
  readonly given?: Readonly<Record<string, unknown>> | undefined;
  /** The files that exist; none where undefined. */
  readonly files?: InitFiles | undefined;
  /** The trust domain that the node's certificate names. */
  readonly domain?: string | undefined;
  /** What stands for a scheduler's job that was not given: a scheduler without one waits for jobs. It is commented out where undefined. */
  readonly job?: "example" | undefined;
}

/** A configuration of `role` that loads unchanged, except for its gateways and the files that it names. */
export function initText(options: InitOptions): string {
  const { role, given = {} } = options;
  const keys = keysOf(role).filter(({ kind }) => kind !== "tables");
  const tables = [...new Set(keys.map(({ path }) => path.slice(0, -1).join(".")))];
  const sections = tables.map((table) =>
    section(table, keys.filter(({ path }) => path.slice(0, -1).join(".") === table), options)
  );
  const listed = (key: string, example: string) =>
    given[key] !== undefined ? `${stringify({ [key]: given[key] })}\n` : example;
  const parts = [
    header(options),
    ...sections,
    listed("trust_domains", trustDomains),
    listed("authorization", authorizationRules),
    ...(role === "worker" ? [listed("executors", executors), gpus(given)] : []),
    ...(role === "scheduler" ? [listed("executors", evaluators)] : []),
  ];
  return parts.join("\n");
}

const header = ({ role, file = "config.toml" }: InitOptions): string =>
  `# Configuration of a ${nounOf(role)}. Check and start it with: hypha-${role} run -c ${shellWord(escapeUnsafe(file))}
# Paths are relative to the directory in which the program is started; ~ is not expanded. Keys behind a # may be left
# out: what they show is the default, or an example where there is none. Each key can be overridden by an environment
# variable (HYPHA_ and the key in upper case, tables joined by two underscores) and by a flag (--key, tables joined by a dash).
`;

/** A table whose keys may all be left out is a comment as a whole. */
function section(table: string, keys: readonly ConfigKey[], options: InitOptions): string {
  const all = keys.map((key) => ({ key, lines: linesOf(key, options) }));
  const holds = ({ lines }: (typeof all)[number]) => lines.some((line) => !line.startsWith("#"));
  const isActive = all.some(holds);
  // Active keys come first, and the comment about a security gap: a node without revocation lists.
  const first = (entry: (typeof all)[number]) => holds(entry) || entry.key.key === "crls_pem";
  const written = table === "" ? [...all.filter(first), ...all.filter((entry) => !first(entry))] : all;
  const about = table === "scheduler.job"
    ? ["# A job to run and to end with. Without it the scheduler waits for jobs: hypha-scheduler submit FILE"]
    : [];
  const head = table === "" ? [] : [...about, `${isActive ? "" : "#"}[${table}]`];
  const lines = written.flatMap(({ key, lines }) => [
    ...(key.description === "" ? [] : [`# ${key.description}`]),
    ...lines,
  ]);
  return [...head, ...lines, ""].join("\n");
}

/** A model needs these or weights: a job that is uncommented is whole with these. */
const ofRepository: ReadonlySet<string> = new Set(
  ["repository", "filenames"].map((key) => `scheduler.job.model.${key}`),
);

const hasWeights = ({ given }: InitOptions) => valueAt(given, ["scheduler", "job", "model", "weights"]) !== undefined;

/** The line of a key. A key without a value gets an example before it. */
function linesOf(key: ConfigKey, options: InitOptions): readonly string[] {
  const { role, name, file = "config.toml", files = expectedFiles(name) } = options;
  const last = key.path[key.path.length - 1] ?? "";
  const line = (value: unknown) =>
    isTexts(value)
      ? `${last} = [${value.map((text) => stringify({ text }).trimEnd().slice("text = ".length)).join(", ")}]`
      : stringify({ [last]: value }).trimEnd();
  const value = valueAt(options.given, key.path);
  if (value !== undefined) return [line(value)];
  if (key.path.length > 1) {
    if (key.path[0] === "scheduler" && options.given?.["scheduler"] === undefined && options.job !== "example") {
      return [`#${last} = ${key.example}`];
    }
    const isExample = key.optional && !(ofRepository.has(key.path.join(".")) && !hasWeights(options));
    return [`${isExample ? "#" : ""}${last} = ${key.example}`];
  }
  switch (key.key) {
    case "cert_pem":
    case "key_pem":
    case "trust_pem":
    case "crls_pem": {
      const { path, found } = files[key.key satisfies FileKey];
      return [`${key.optional && !found ? "#" : ""}${line(path)}`];
    }
    case "listen_addresses":
      return [line([`/ip4/0.0.0.0/tcp/${role === "gateway" ? 4001 : 0}`])];
    case "external_addresses":
    case "gateway_addresses":
      // The existing nodes want these keys, also where there is no address yet.
      return [`# For instance: ${last} = ${key.example}`, `${last} = []`];
    case "require_roles":
      return [line(true)];
    case "trust_domain":
      return [options.domain === undefined ? `#${last} = ${key.example}` : line(options.domain)];
    case "state_dir":
      return [`#${line(join(dirname(file), ".hypha", basename(file, ".toml")))}`];
    default:
      return [`${key.optional ? "#" : ""}${last} = ${key.example}`];
  }
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) && value.every((entry) => typeof entry === "string");

function valueAt(given: InitOptions["given"], path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (table, step) =>
      typeof table === "object" && table !== null && Object.hasOwn(table, step)
        ? (table as Record<string, unknown>)[step]
        : undefined,
    given ?? {},
  );
}

const trustDomains =
  `# Further organisations, besides that of trust_pem: one table [[trust_domains]] each. A domain's CAs certify its own names only.
#[[trust_domains]]
#name = "partner.example"
# Its anchors: PEM certificates; or in their place a SPIFFE bundle (bundle = "certs/partner.json"), or one that its CA serves
# (bundle_url = "https://ca.partner.example:8443/bundle.json" with bundle_pin = "sha256:…").
#trust_pem = "certs/partner-ca-bundle.pem"
#crls_pem = "certs/partner-crls.pem"
# Roles that its nodes may have here; each must name its role in its certificate. Where it is left out: all roles, or none named.
#roles = ["worker"]
# Its own policy, where it differs: require_roles, leaf_algorithms, ca_algorithms, crl_grace_hours.
#require_roles = true
`;

const authorizationRules =
  `# What members may do beyond or below the table of acts (docs/security.md): one table [[authorization.rules]] each. Taken up
# when this file changes. A rule that denies wins over each that allows.
#[[authorization.rules]]
#effect = "deny"
#acts = ["job.dispatch", "lease.renew"]
# A name of a certificate (* is one whole segment, a last ** one or more), peer:PEERID, or name:NAME.
#peers = ["spiffe://partner.example/scheduler/**"]
`;

const gpus = ({ cell }: NonNullable<InitOptions["given"]>): string => {
  const tables = typeof cell === "object" && cell !== null
    ? (cell as Readonly<Record<string, unknown>>)["gpu"]
    : undefined;
  return Array.isArray(tables) ? `${stringify({ cell: { gpu: tables } })}\n` : gpuTables;
};

const gpuTables =
  `# The GPUs that jobs get, one table [[cell.gpu]] each (docs/cells.md). Without one no GPU memory is offered.
#[[cell.gpu]]
#devices = ["/dev/nvidia0"]
#memory = 24
`;

const executors =
  `# What this worker can run: one table [[executors]] each. The aggregation is built in; a program of yours trains.
[[executors]]
class = "aggregate"
name = "parameter-server"
runtime = "parameter-server"

#[[executors]]
#class = "train"
#name = "diloco-transformer"
#runtime = "process"
# Started without a shell, in a directory of its own. {SOCKET_PATH}, {WORK_DIR} and {JOB_JSON} are filled in.
#cmd = "python3"
#args = ["train.py", "--socket", "{SOCKET_PATH}", "--work-dir", "{WORK_DIR}", "--job", "{JOB_JSON}"]
# Whether the program must show BRIDGE_TOKEN at the job bridge: "required" or "optional".
#token = "required"
`;

const evaluators =
  `# Programs that evaluate models on held-out rows, in cells of this scheduler (docs/executors.md): one table [[executors]] each.
#[[executors]]
#class = "evaluate"
#name = "digits"
#runtime = "process"
#cmd = "python3"
#args = ["evaluate.py"]
`;
