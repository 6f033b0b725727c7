/**
 * `npm run limbo -- FILE [--json] [--runtime node|deno]`: the verdicts of our verifier on a suite in x509-limbo's format.
 *
 * Prints one line a case, tab-separated: id, expected, ours, code, reason. Exit 0 where every verdict is the expected one
 * or a known exception, 1 on an unexpected accept, an unlisted refusal or a crash, 2 on wrong usage.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { rerunOn } from "./limbo/rerun_on.ts";
import { type LimboReport, runSuite } from "./limbo/report.ts";
import { readSuite } from "./limbo/suite.ts";

function usage(reason: string): never {
  console.error(`Cannot run: ${reason}\nUsage: npm run limbo -- FILE [--json] [--runtime node|deno]`);
  process.exit(2);
}

function options() {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { runtime: { type: "string" }, json: { type: "boolean", default: false } },
    });
    const { runtime, json } = values;
    if (runtime !== undefined && runtime !== "node" && runtime !== "deno") usage(`--runtime ${runtime} is not known`);
    const [file, ...rest] = positionals;
    if (file === undefined || rest.length > 0) usage("name one file");
    return { runtime: runtime as "node" | "deno" | undefined, json, file };
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}

function read(file: string) {
  try {
    return readSuite(readFileSync(file, "utf8"));
  } catch (error) {
    return (error as Error).message;
  }
}

function print({ cases, unexpectedAccepts, unexpectedRefusals, crashes }: LimboReport): void {
  const flat = (text: string | null) => text === null ? "-" : text.replaceAll(/\s+/g, " ");
  for (const { id, expected, actual, code, reason } of cases) {
    console.log([id, expected, actual, flat(code), flat(reason)].join("\t"));
  }
  const summary = [
    `${cases.length} cases`,
    `${unexpectedAccepts.length} unexpected accepts`,
    `${unexpectedRefusals.length} unexpected refusals`,
    `${cases.filter(({ exception }) => exception !== null).length} known exceptions`,
    `${crashes.length} crashes`,
  ];
  console.error(summary.join(", "));
}

const { runtime, json, file } = options();
if (runtime !== undefined) rerunOn(runtime);
const cases = read(file);
if (typeof cases === "string") usage(`${file}: ${cases}`);
const report = runSuite(cases, new Date());
if (json) process.stdout.write(`${JSON.stringify(report)}\n`);
else print(report);
const { unexpectedAccepts, unexpectedRefusals, crashes } = report;
process.exitCode = unexpectedAccepts.length + unexpectedRefusals.length + crashes.length === 0 ? 0 : 1;
