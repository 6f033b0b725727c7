/**
 * The page of all configuration keys, from the schema that checks them.
 *
 * @module
 */
import { isDeepStrictEqual } from "node:util";
import { parse } from "@std/toml";
import { Result } from "effect";
import { type ConfigKey, keysOf, noteAt } from "../../actors/config/keys.ts";
import { parseConfig } from "../../actors/config/load.ts";
import { openTelemetryVariables } from "../../actors/config/sources.ts";
import type { Role } from "../../pki/certificate.ts";
import { modelTasks, preprocessorTasks } from "../../transport/protocols/schemas.ts";
import { initText } from "./init_text.ts";

const roles: readonly Role[] = ["gateway", "scheduler", "worker", "data"];

/** The whole page, formatted as `deno fmt` has it. */
export function configurationPage(): string {
  const common = keysOf("gateway").filter(({ key }) => roles.every((role) => keysOf(role).some((k) => k.key === key)));
  const own = (role: Role) => keysOf(role).filter(({ key }) => !common.some((shared) => shared.key === key));
  const parts = [
    head,
    "## All roles",
    ...section("gateway", common),
    ...listed("gateway", ["trust_domains"], "Keys of each `[[trust_domains]]`:"),
    ...listed("gateway", ["authorization", "rules"], "Keys of each `[[authorization.rules]]`:"),
    ...roles.flatMap((role) => [
      `## ${titles[role]}`,
      ...section(role, own(role)),
      ...(role === "worker" || role === "scheduler"
        ? listed(role, ["executors"], "Keys of each `[[executors]]`:")
        : []),
      ...(role === "worker" ? listed(role, ["cell", "gpu"], "Keys of each `[[cell.gpu]]`:") : []),
      ...(role === "scheduler" ? [tasks] : []),
    ]),
  ];
  return `${parts.join("\n\n")}\n`;
}

const titles: Readonly<Record<Role, string>> = {
  gateway: "Gateway",
  scheduler: "Scheduler",
  worker: "Worker",
  data: "Data node",
};

const head = `# Configuration

Made by \`npm run configuration\` from the schema that checks configurations; a test fails when it is out of date. \`hypha-ROLE init\` writes a
file with all of a role's keys.

- **Order.** The file, then \`OTEL_*\` variables, then \`HYPHA_*\` variables, then flags: what comes later holds. Lists are written with commas
  or as JSON in variables and flags; an empty list is \`[]\`. A flag of a list may be given several times.
- **Paths** are relative to the directory in which the program is started. \`~\` is not expanded.
- **Files** of certificates, keys and revocation lists are PEM; DER is read too.
- **Addresses** are \`/ip4/HOST/tcp/PORT\`, with \`ip6\`, \`dns4\`, \`dns6\` or \`dns\` in place of \`ip4\`. Addresses of QUIC are skipped, with a warning.
- **\`exclude_cidr\`** keeps out addresses that other nodes announce. DNS names among these are filtered by the IP addresses that they resolve
  to. Configured addresses are used even so, with a warning: gateways are dialled, external addresses and listen addresses with an IP address
  of their own are announced. A node that would announce nothing and reserves no relay announces all addresses of its interfaces.`;

const tasks = `Tasks of \`model.type\`: ${modelTasks.map((task) => `\`${task}\``).join(", ")}.

Tasks of \`preprocessor.type\`: ${preprocessorTasks.map((task) => `\`${task}\``).join(", ")}.`;

const code = (text: string): string => `\`${text.replaceAll("|", "\\|")}\``;

/** Longest default that a table shows, in characters: a longer one appears below the table. */
const defaultCharactersMax = 60;

/** The table of these keys, and the defaults that are too long for it. */
function section(role: Role, keys: readonly ConfigKey[]): readonly string[] {
  const rows = keys.map((key) => rowOf(role, key));
  const long = rows.filter(([, , standard = ""]) => standard.length > defaultCharactersMax)
    .map(([key, , standard]) => `Default of ${key}: ${standard}.`);
  const cells = rows.map((row) =>
    row.map((cell, column) => column === 2 && cell.length > defaultCharactersMax ? "see below" : cell)
  );
  return [table(cells), ...long];
}

function rowOf(role: Role, key: ConfigKey): readonly string[] {
  const previously = key.formerNames.length > 0 ? `; formerly ${key.formerNames.map(code).join(", ")}` : "";
  const variables = Object.entries(openTelemetryVariables).filter(([, name]) => name === key.key);
  const flags = [key.flag, ...key.flagAliases].map((flag) => code(`--${flag}`));
  return [
    code(key.key),
    `${key.expected}${previously}`,
    defaultOf(role, key),
    [key.variable, ...variables.map(([variable]) => variable)].map(code).join(", "),
    flags.join(", "),
    key.description,
  ];
}

/** The example where it changes nothing, as `init` promises; else the note of the key. */
function defaultOf(role: Role, key: ConfigKey): string {
  if (!key.optional) return "required";
  if (key.standard !== undefined) {
    return /^([["\d]|true$|false$)/.test(key.standard) ? code(key.standard) : key.standard;
  }
  if (key.kind === "tables") return "none";
  // An optional table may have required keys.
  if (noteAt(role, key.path)?.optional === false) return "required in its table";
  const given = key.path.reduceRight<unknown>((value, step) => ({ [step]: value }), parse(`x = ${key.example}`)["x"]);
  return isDeepStrictEqual(typed(role, {}), typed(role, given as Record<string, unknown>)) ? code(key.example) : "none";
}

/** The configuration that actors get with these values; undefined where a value is missing. */
function typed(role: Role, given: Readonly<Record<string, unknown>>): unknown {
  const text = initText({ role, name: "n", given, job: "example" });
  const flags = role === "gateway" ? {} : { "gateway-addresses": "/dns4/gw/tcp/1" };
  return Result.getOrUndefined(parseConfig<Role>(role, { file: "c.toml", text }, { environment: {}, flags }));
}

/** The keys of a list's tables. */
function listed(role: Role, path: readonly string[], title: string): readonly string[] {
  const rows = (noteAt(role, [...path, 0])?.names ?? []).map((inner) => {
    const note = noteAt(role, [...path, 0, inner]);
    const standard = note?.optional === true ? note.standard ?? "none" : "required";
    return [code(inner), note?.expected ?? "", standard, code(`${inner} = ${note?.example}`), note?.description ?? ""];
  });
  return [title, table(rows, ["key", "value", "default", "example", "what it is"])];
}

function table(
  rows: readonly (readonly string[])[],
  names: readonly string[] = ["key", "value", "default", "variable", "flag", "what it is"],
): string {
  const widths = names.map((name, column) => Math.max(...[name, ...rows.map((row) => row[column] ?? "")].map(widthOf)));
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, column) => cell + " ".repeat((widths[column] ?? 0) - widthOf(cell))).join(" | ")} |`;
  return [line(names), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...rows.map(line)].join("\n");
}

const widthOf = (text: string): number => [...text].length;
