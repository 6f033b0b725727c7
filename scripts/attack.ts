/**
 * `npm run attack [-- gate|cell|members|ca]`: attacks a node, the cells of a worker or a CA, and reports the result of each attack.
 *
 * Exits with 0 when every result is the expected one, 1 otherwise, 2 on wrong usage.
 *
 * @module
 */
import { existsSync } from "node:fs";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

/** Parts that there are; each is a module with `attack(options)`. */
const parts = ["gate", "cell", "members", "ca"] as const;

/** Options that a part reads by itself. */
const ownOptions = ["level", "user", "matrix", "only", "storm", "control"];

interface AttackOptions {
  readonly runtime: "node" | "deno";
  readonly json: boolean;
  /** A short form, for tests. */
  readonly quick: boolean;
  /** The rest of the command line: each part's own. */
  readonly rest: readonly string[];
}

/** The result of a part. */
interface AttackReport {
  readonly part: string;
  readonly ok: boolean;
}

function usage(reason: string): never {
  console.error(`Cannot run: ${reason}
Usage: npm run attack [-- gate|cell|members|ca] [--runtime node|deno] [--quick] [--json]
       members, ca: [--only ID,ID]; members: [--storm] [--control]
       cell: [--level full|root|namespaces|bare] [--user root|user] [--matrix]`);
  process.exit(2);
}

function read() {
  try {
    const { values, positionals, tokens } = parseArgs({
      allowPositionals: true,
      strict: false,
      tokens: true,
      options: {
        runtime: { type: "string", default: "node" },
        json: { type: "boolean", default: false },
        quick: { type: "boolean", default: false },
        level: { type: "string" },
        user: { type: "string" },
        matrix: { type: "boolean" },
        only: { type: "string" },
        storm: { type: "boolean" },
        control: { type: "boolean" },
      },
    });
    const unknown = tokens.find((token) =>
      token.kind === "option" && !["runtime", "json", "quick", ...ownOptions].includes(token.name)
    );
    if (unknown?.kind === "option") usage(`${unknown.rawName} is not known`);
    const { runtime } = values;
    if (runtime !== "node" && runtime !== "deno") usage(`--runtime ${runtime} is not known`);
    const wrong = positionals.find((part) => !parts.some((known) => known === part));
    if (wrong !== undefined) usage(`there is no part ${wrong}`);
    const rest = ownOptions.flatMap((name) => {
      const value = values[name];
      return value === undefined ? [] : typeof value === "string" ? [`--${name}`, value] : [`--${name}`];
    });
    return { options: { runtime, json: values.json === true, quick: values.quick === true, rest }, positionals } as {
      options: AttackOptions;
      positionals: readonly string[];
    };
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

const { options, positionals } = read();
const reports: AttackReport[] = [];
for (const part of positionals.length > 0 ? positionals : parts) {
  const module = new URL(`./attack/${part}.ts`, import.meta.url);
  if (!existsSync(fileURLToPath(module))) {
    if (positionals.length > 0) usage(`there is no part ${part} here`);
    continue;
  }
  const { attack } = await import(module.href) as { attack: (options: AttackOptions) => Promise<AttackReport[]> };
  reports.push(...await attack(options));
}
if (options.json) process.stdout.write(`${JSON.stringify(reports.length === 1 ? reports[0] : reports)}\n`);
process.exit(reports.length > 0 && reports.every(({ ok }) => ok) ? 0 : 1);
