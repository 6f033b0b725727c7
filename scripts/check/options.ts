/**
 * The command line of `npm test`.
 *
 * @module
 */
import { existsSync } from "node:fs";
import process from "node:process";
import { parseArgs } from "node:util";
import { availableRuntimes, type Runtime } from "./runtimes.ts";

/** The options of a check. */
interface CheckOptions {
  readonly runtimes: readonly Runtime[];
  readonly json: boolean;
  /** Only these test files, and nothing else; everything where empty. */
  readonly files: readonly string[];
  /** Runs slow files on each runtime. */
  readonly all: boolean;
  /** Tests the changed files, on Node, in 90 seconds. */
  readonly fast: boolean;
  /** With `fast`: changes count from this commit on. */
  readonly since: string | undefined;
}

/** Prints the error and the usage; exits with 2. */
export function usage(reason: string): never {
  console.error(
    `Cannot run: ${reason}\nUsage: npm test [-- TEST_FILE…] [--all] [--runtime node|deno] [--json]\n` +
      `       npm test -- --fast [--since COMMIT] [--json]`,
  );
  process.exit(2);
}

function runtimesFor(asked: string | undefined, fast: boolean): readonly Runtime[] {
  const here = availableRuntimes();
  if (asked === undefined) return fast ? here.slice(0, 1) : here;
  if (asked !== "node" && asked !== "deno") return usage(`--runtime ${asked} is not known`);
  if (!here.includes(asked)) return usage(`--runtime ${asked}: it is not here (node scripts/ensure.mjs installs it)`);
  return [asked];
}

/** Reads the command line. On wrong usage, prints the error and exits with 2. */
export function checkOptions(): CheckOptions {
  try {
    // `deno task test -- FILE` hands the dashes on, npm takes them away.
    const args = process.argv.slice(process.argv[2] === "--" ? 3 : 2);
    const { values, positionals: files } = parseArgs({
      args,
      allowPositionals: true,
      options: {
        runtime: { type: "string" },
        json: { type: "boolean", default: false },
        all: { type: "boolean", default: false },
        fast: { type: "boolean", default: false },
        since: { type: "string" },
      },
    });
    const { runtime, json, all, fast, since } = values;
    if (since !== undefined && !fast) usage("--since goes with --fast");
    if (all && (fast || files.length > 0)) usage("--all goes with neither files nor --fast");
    if (fast && files.length > 0) usage("--fast chooses the files itself");
    for (const file of files) if (!existsSync(file)) usage(`${file} does not exist`);
    return { runtimes: runtimesFor(runtime, fast), json, files, all, fast, since };
  } catch (error) {
    return usage(error instanceof Error ? error.message : String(error));
  }
}
