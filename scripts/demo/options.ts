/**
 * The demo's command line.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";

export type Runtime = "node" | "deno";

/** What the demo was asked for. */
export interface DemoOptions {
  readonly runtime: Runtime | "mixed";
  /** Fewer rounds, same path. */
  readonly quick: boolean;
  readonly json: boolean;
  readonly keep: boolean;
  /** Trains on labels that mean nothing: the control that must fail to learn. */
  readonly shuffleLabels: boolean;
}

const usage = `Usage: npm run demo [-- OPTIONS]

  --runtime node|deno|mixed   what the nodes run on (node); mixed: half of them on each
  --quick                     fewer rounds, same path
  --json                      one JSON object on standard output, progress on standard error
  --keep                      keeps the folder with certificates, configurations and logs, and says where
  --shuffle-labels            the control: labels shuffled, accuracy has to stay under 20 %
  --help                      this text

Exit codes: 0 every promise held, 1 one was broken, 2 wrong usage.`;

/** Reads the command line; on wrong usage, says so and exits 2. */
export function readOptions(args: readonly string[]): DemoOptions {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        runtime: { type: "string", default: "node" },
        quick: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        keep: { type: "boolean", default: false },
        "shuffle-labels": { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    const { runtime } = values;
    if (runtime !== "node" && runtime !== "deno" && runtime !== "mixed") {
      throw new Error(`--runtime is node, deno or mixed, not ${runtime}`);
    }
    const { quick, json, keep } = values;
    return { runtime, quick, json, keep, shuffleLabels: values["shuffle-labels"] };
  } catch (error) {
    console.error(`Cannot run demo: ${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return process.exit(2);
  }
}
