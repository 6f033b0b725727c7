#!/usr/bin/env node
/**
 * The training executor of the demo: trains a built-in model on handwritten digits and connects to the bridge of its job only.
 *
 * A worker starts it with arguments (`--socket PATH --work-dir PATH --job JSON`) or with the environment variables
 * `SOCKET_PATH`, `WORK_DIR`, `JOB_JSON`, and `BRIDGE_TOKEN` where the bridge asks for one. It exits with 0 when the scheduler
 * reports the end of the training, with 1 and a line on standard error when it cannot continue.
 *
 * @module
 */
import process from "node:process";
import { parseArgs } from "node:util";
import * as Result from "effect/Result";
import { fromJson, jobSpecSchema } from "../../transport/protocols/mod.ts";
import type { JobSpec } from "../../transport/protocols/messages.ts";
import { BridgeClient } from "./bridge_client.ts";
import { runTraining, TrainingFailed } from "./training.ts";

interface Arguments {
  readonly socketPath: string;
  readonly workDir: string;
  readonly job: string;
}

/** Arguments override the environment. */
function readArguments(): Arguments {
  const { values } = parseArgs({
    options: { "socket": { type: "string" }, "work-dir": { type: "string" }, "job": { type: "string" } },
  });
  const need = (name: "socket" | "work-dir" | "job", variable: string): string => {
    const value = values[name] ?? process.env[variable];
    if (value === undefined) throw new TrainingFailed(`Cannot start: neither --${name} nor ${variable} is given`);
    return value;
  };
  return {
    socketPath: need("socket", "SOCKET_PATH"),
    workDir: need("work-dir", "WORK_DIR"),
    job: need("job", "JOB_JSON"),
  };
}

function readJob(json: string): JobSpec {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    throw new TrainingFailed("Cannot start: the job is not JSON");
  }
  const read = fromJson(jobSpecSchema, value);
  if (Result.isFailure(read)) throw new TrainingFailed(`Cannot start: ${read.failure.message}`);
  return read.success;
}

async function main(): Promise<void> {
  const { socketPath, workDir, job } = readArguments();
  const bridge = new BridgeClient({ socketPath, token: process.env["BRIDGE_TOKEN"] });
  try {
    await runTraining({ bridge, spec: readJob(job), workDir, report: (line) => console.log(line) });
  } finally {
    bridge.close();
  }
}

// As process 1 of a namespace a signal without a handler would be ignored.
for (const [signal, code] of [["SIGTERM", 143], ["SIGINT", 130]] as const) process.on(signal, () => process.exit(code));

try {
  await main();
  process.exit(0);
} catch (error) {
  console.error(error instanceof Error ? `${error.name}: ${error.message}` : String(error));
  process.exit(1);
}
