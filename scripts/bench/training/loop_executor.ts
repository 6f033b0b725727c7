/**
 * An executor that trains with the loop of the bench. Argument: passes of a round.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { Result } from "effect";
import { BridgeClient } from "../../../actors/executor/bridge_client.ts";
import { decodeTensors, encodeTensors, type NamedTensors } from "../../../actors/learning/mod.ts";
import { addTensors } from "../../../actors/learning/tensors.ts";
import { trainFor } from "./loop.ts";
import { reportBatches } from "../../executors/report_batches.ts";

const { JOB_JSON = "", SOCKET_PATH = "", WORK_DIR = "", BRIDGE_TOKEN } = process.env;
const { executor: { config }, training } = JSON.parse(JOB_JSON);
const passes = Number(process.argv[2]);
const resultMaxMs = 600_000;
const bridge = new BridgeClient({ socketPath: SOCKET_PATH, token: BRIDGE_TOKEN });
const say = async (progress: unknown) =>
  (await bridge.post("/status/send", progress)) as { type: string; counter: number };
const read = async (path: string) => Result.getOrThrow(decodeTensors(await readFile(join(WORK_DIR, path))));

/** What a round changed. */
function trained(weights: NamedTensors): NamedTensors {
  return new Map([...weights].map(([name, { shape, values }]) => {
    const after = Float32Array.from(values);
    trainFor(after, passes);
    for (let at = 0; at < after.length; at++) after[at] = (after[at] as number) - (values[at] as number);
    return [name, { shape, values: after }];
  }));
}

process.on("SIGTERM", () => process.exit(143));
const [file] = (await bridge.post("/resources/fetch", config.model.artifact)) as { path: string }[];
let weights = await read(file?.path ?? "");
const results = await bridge.receive(config.results, ({ path }) => read(path));
for (let round: number = training.round + 1, isOver = false; !isOver; round++) {
  const update = trained(weights);
  if (!(await reportBatches(say, config.batch_size))) break;
  const path = `update-${round}.safetensors`;
  await writeFile(join(WORK_DIR, path), encodeTensors(update), { mode: 0o600 });
  await bridge.post("/resources/send", { resource: config.updates, path });
  await say("update");
  const result = await results.next(resultMaxMs);
  if (result === undefined) throw new Error(`no result of round ${round} came`);
  weights = Result.getOrThrow(addTensors(weights, result));
  isOver = (await say("update-received")).type === "Done";
}
process.exit(0);
