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
import { BridgeClient } from "../../actors/executor/bridge_client.ts";
import { readJob, type StartedJob } from "../../actors/executor/job.ts";
import { runTraining } from "./training.ts";

/** Arguments override the environment. */
function readStarted(): StartedJob {
  const { values } = parseArgs({
    options: { "socket": { type: "string" }, "work-dir": { type: "string" }, "job": { type: "string" } },
  });
  const { SOCKET_PATH, WORK_DIR, JOB_JSON, BRIDGE_TOKEN } = process.env;
  return Result.getOrThrow(readJob({
    SOCKET_PATH: values.socket ?? SOCKET_PATH,
    WORK_DIR: values["work-dir"] ?? WORK_DIR,
    JOB_JSON: values.job ?? JOB_JSON,
    BRIDGE_TOKEN,
  }));
}

async function main(): Promise<void> {
  const { spec, workDir, ...place } = readStarted();
  const bridge = new BridgeClient(place);
  try {
    await runTraining({ bridge, spec, workDir, report: (line) => console.log(line) });
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
