/**
 * The configuration that `init` writes: every key of a role with what it is for; those that may be left out as comments.
 *
 * @module
 */
import { type ConfigKey, keysOf } from "../../actors/config/keys.ts";
import type { Role } from "../../pki/certificate.ts";

/** What `init` is told. */
export interface InitOptions {
  readonly role: Role;
  /** The node's name: its certificate's files are called after it. */
  readonly name: string;
}

/** A configuration of `role` that loads as it stands, up to the files it names. */
export function initText({ role, name }: InitOptions): string {
  const keys = keysOf(role).filter(({ kind }) => kind !== "tables");
  const tables = [...new Set(keys.map(({ path }) => path.slice(0, -1).join(".")))];
  const sections = tables.map((table) =>
    section(table, keys.filter(({ path }) => path.slice(0, -1).join(".") === table))
  );
  const text = [header(role), ...sections, trustDomains, ...(role === "worker" ? [executors] : [])].join("\n");
  return text.replaceAll('"certs/node-', `"certs/${fileNameOf(name)}-`);
}

const header = (role: Role): string =>
  `# Configuration of a ${role}. Check and start it with: hypha-${role} run -c FILE
# Paths are relative to the directory in which the program is started. Keys behind a # may be left out: what
# they show is the default, or an example where there is none. Each key can be overridden by an environment variable
# (HYPHA_ and the key in upper case, tables joined by two underscores) and by a flag (--key, tables joined by a dash).
`;

/** A table whose keys may all be left out is a comment as a whole. */
function section(table: string, keys: readonly ConfigKey[]): string {
  const left = keys.every(({ optional }) => optional);
  const head = table === "" ? [] : [`${left ? "#" : ""}[${table}]`];
  const lines = keys.flatMap((key) => [
    ...(key.description === "" ? [] : [`# ${key.description}`]),
    `${key.optional ? "#" : ""}${key.path[key.path.length - 1]} = ${key.example}`,
  ]);
  return [...head, ...lines, ""].join("\n");
}

const trustDomains =
  `# Organisations beside the one of trust_pem: one table [[trust_domains]] each. A domain's CAs speak for its own names only.
#[[trust_domains]]
#name = "partner.example"
# Its anchors: PEM certificates, or a SPIFFE bundle (bundle = "certs/partner.json") in their place.
#trust_pem = "certs/partner-ca-bundle.pem"
#crls_pem = "certs/partner-crls.pem"
# What its nodes may be here, and each has to say in its certificate; all roles, and none, where it is left out.
#roles = ["worker"]
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

/** A file's name made of a node's: lower case, what is special as a dash (as the certificate tool has it). */
export function fileNameOf(name: string): string {
  return name.toLowerCase().replaceAll(/[^a-z0-9_-]+/g, "-").slice(0, 100);
}
