/**
 * A training executor whose update follows from the round and the weights alone: trainings that have the same weights and rounds have the
 * same model, bit for bit, whatever runs beside them.
 *
 * @module
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import process from "node:process";
import { Result } from "effect";
import { decodeTensors, encodeTensors, type NamedTensors } from "../../actors/learning/mod.ts";
import { roundOfIndex } from "../../actors/learning/model_references.ts";
import { addTensors } from "../../actors/learning/tensors.ts";
import { BridgeClient } from "../../actors/executor/bridge_client.ts";
import { reportBatches } from "../executors/report_batches.ts";

const { JOB_JSON = "", SOCKET_PATH = "", WORK_DIR = "", BRIDGE_TOKEN } = process.env;
const { executor: { config }, training } = JSON.parse(JOB_JSON);
const bridge = new BridgeClient({ socketPath: SOCKET_PATH, token: BRIDGE_TOKEN });
const say = async (progress: unknown, route = "/status/send") =>
  (await bridge.post(route, progress)) as { type: string; counter: number };
const read = async (path: string) => Result.getOrThrow(decodeTensors(await readFile(join(WORK_DIR, path))));

/** Another aggregator may have to be found first. */
const dayMs = 86_400_000;

/** The update of a round. */
function updateOf(weights: NamedTensors, round: number): NamedTensors {
  return new Map([...weights].map(([name, { shape, values }]) => [
    name,
    { shape, values: Float32Array.from(values, (value, at) => Math.fround(Math.sin(value * round + at)) / 64) },
  ]));
}

process.on("SIGTERM", () => process.exit(143));
const [file] = (await bridge.post("/resources/fetch", config.model.artifact)) as { path: string }[];
let weights = await read(file?.path ?? "");
const results = await bridge.receive(config.results, async ({ path, round }) => ({ round, result: await read(path) }));
// The weights may be those of a later round than the job's: it was dispatched before the round was over.
const from = roundOfIndex(Number(/[0-9]{10,}/.exec(file?.path ?? "")?.[0])) ?? training.round;
for (let round = from + 1, isOver = false; !isOver; round++) {
  if (!(await reportBatches(say, config.batch_size))) break;
  await say({ metrics: { round, metrics: { loss: 1 / round } } });
  const path = `update-${round}.safetensors`;
  await writeFile(join(WORK_DIR, path), encodeTensors(updateOf(weights, round)), { mode: 0o600 });
  await bridge.post("/resources/send", { resource: config.updates, path });
  await say("update");
  let came = await results.next(dayMs);
  // A newcomer that loaded for long has results of several rounds.
  for (let next: typeof came | undefined = came; next !== undefined; next = await results.waiting()) {
    weights = Result.getOrThrow(addTensors(weights, next.result));
    if (next !== came) round += 1;
    came = next;
  }
  // Another result may have come since, which these weights do not have.
  const route = came.round === undefined ? undefined : `/status/send?round=${came.round}`;
  isOver = (await say("update-received", route)).type === "Done";
}
process.exit(0);
