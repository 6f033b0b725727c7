/**
 * The demo's command line.
 *
 * @module
 */
import { accessSync, constants, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import process from "node:process";
import { parseArgs } from "node:util";
import type { Runtime } from "../check/runtimes.ts";
import { missingPython } from "./python.ts";
import { findBinary, missing } from "./runtimes.ts";

/** The languages of the demo's trainers. */
export type TrainerLanguage = "typescript" | "python";

/** The options of the demo. */
export interface DemoOptions {
  readonly runtime: Runtime | "mixed";
  /** The runtime of the demo's own commands and executors. */
  readonly tools: Runtime;
  /** What trains. */
  readonly executor: TrainerLanguage;
  /** Fewer rounds, same path. */
  readonly quick: boolean;
  readonly json: boolean;
  readonly keep: boolean;
  /** The gateway and the scheduler serve consoles, and the network stays up until Ctrl-C. */
  readonly console: boolean;
  /** Certificates made with `hypha-certutil`, and copied, in place of a CA. */
  readonly byHand: boolean;
  /** Where the trained model is written. */
  readonly modelOut: string;
  /** Trains on labels that mean nothing: the control that must fail to learn. */
  readonly shuffleLabels: boolean;
}

const usage = `Usage: npm run demo [-- OPTIONS]

  --runtime node|deno|mixed  what the nodes run on; mixed: half of them on each
                             (default: node; deno on a machine without Node)
  --executor typescript|python
                             what trains: the demo's executor, or the one in
                             Python, with a virtual environment that it makes
  --quick                    fewer rounds, same path
  --by-hand                  certificates and lists made with hypha-certutil,
                             without a CA
  --console                  the gateway and the scheduler serve consoles, whose
                             addresses are printed; after the training the
                             network stays up until Ctrl-C
  --model-out FILE           where the trained model is written
                             (default: hypha-demo-model.safetensors)
  --json                     one JSON object on standard output, progress on
                             standard error
  --keep                     keeps the folder with certificates,
                             configurations and logs, and prints its path
  --shuffle-labels           the control: labels shuffled, accuracy has to
                             stay under 20 %
  --help                     this text

Exit codes: 0 every promise held, 1 one was broken, 2 wrong usage.`;

/** The runtime asked for, where this machine has it. */
function chooseRuntime(asked: string | undefined): DemoOptions["runtime"] {
  if (asked === undefined) return findBinary("node") === undefined ? "deno" : "node";
  if (asked !== "node" && asked !== "deno" && asked !== "mixed") {
    throw new Error(`--runtime is node, deno or mixed, not ${asked}`);
  }
  const needed: readonly Runtime[] = asked === "mixed" ? ["node", "deno"] : [asked];
  for (const runtime of needed) {
    if (findBinary(runtime) === undefined) throw new Error(`--runtime ${asked}, and ${missing(runtime)}`);
  }
  return asked;
}

/** The language asked for, where this machine can run it. */
function chooseExecutor(asked: string): TrainerLanguage {
  if (asked !== "typescript" && asked !== "python") {
    throw new Error(`--executor is typescript or python, not ${asked}`);
  }
  const lacking = asked === "python" ? missingPython() : undefined;
  if (lacking !== undefined) throw new Error(`--executor python, and ${lacking}`);
  return asked;
}

/** The demo takes a minute: a place where its model cannot be is told before. */
function checkModelOut(path: string): void {
  if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) throw new Error(`--model-out ${path} is a directory`);
  try {
    accessSync(dirname(path), constants.W_OK);
  } catch {
    throw new Error(`--model-out ${path}: its folder is not there, or cannot be written to`);
  }
}

/** Rounds of training. */
export const roundsOf = ({ quick }: Pick<DemoOptions, "quick">): number => quick ? 10 : 16;

/** Reads the command line. On wrong usage, prints the error and exits with 2. */
export function readOptions(args: readonly string[]): DemoOptions {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        runtime: { type: "string" },
        executor: { type: "string", default: "typescript" },
        quick: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        keep: { type: "boolean", default: false },
        console: { type: "boolean", default: false },
        "by-hand": { type: "boolean", default: false },
        "model-out": { type: "string", default: "hypha-demo-model.safetensors" },
        "shuffle-labels": { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    if (values.help) {
      console.log(usage);
      process.exit(0);
    }
    const { quick, json, keep, console: withConsole } = values;
    const runtime = chooseRuntime(values.runtime);
    const executor = chooseExecutor(values.executor);
    const tools = findBinary("node") === undefined ? "deno" : "node";
    const modelOut = resolve(values["model-out"]);
    checkModelOut(modelOut);
    return {
      ...{ runtime, tools, executor, quick, json, keep, modelOut },
      byHand: values["by-hand"],
      console: withConsole,
      shuffleLabels: values["shuffle-labels"],
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
    console.error(`Cannot run demo: ${reason} (see npm run demo -- --help)`);
    return process.exit(2);
  }
}
