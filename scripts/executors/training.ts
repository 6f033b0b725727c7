/**
 * The rounds of one trainer: it fetches slices, sends differences and receives updates until the scheduler answers `Done`.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as Result from "effect/Result";
import { decodeTensors, encodeTensors, layoutOf, type NamedTensors } from "../../actors/learning/mod.ts";
import { seededRandom, seedOf, shuffled } from "../../actors/runtime/random.ts";
import type { JobSpec, ProgressResponse, TrainConfig } from "../../transport/protocols/messages.ts";
import type { BridgeClient, BridgeFile, Receiving } from "../../actors/executor/bridge_client.ts";
import { type DigitRow, parseDigits } from "./digits.ts";
import { stepsBefore } from "./learning_rate.ts";
import { builtinModel, type Model, modelOf } from "./model.ts";
import { makeTrainer, type Trainer } from "./trainer.ts";

/** The input of a training. */
interface TrainingInput {
  readonly bridge: BridgeClient;
  readonly spec: JobSpec;
  readonly workDir: string;
  /** Called with a line for each finished round. */
  readonly report: (line: string) => void;
}

/** The executor cannot do this job, or cannot continue after an answer. */
export class TrainingFailed extends Error {
  override readonly name = "TrainingFailed";
}

/** Another aggregator may have to be found first, for up to a day. The lease ends a job that waits without result. */
const resultTimeoutMs = 86_400_000;
/** After this many slices without a row, the data set counts as empty. */
const emptySlicesMax = 16;

/** Trains until `Done`. Fails with the bridge's or its own reason. */
export async function runTraining({ bridge, spec, workDir, report }: TrainingInput): Promise<void> {
  if (spec.executor.class !== "train") throw new TrainingFailed(`Cannot do a job of class ${spec.executor.class}`);
  const { config } = spec.executor;
  const { trainer, isDigested } = await trainerOf({ bridge, spec, workDir }, config);
  const batches = makeBatches({ bridge, spec, workDir, report }, config);
  // The worker accepts pushes only while a receive is open: open one before the first difference is sent.
  const results = await bridge.receive(config.results, async ({ path, round }): Promise<RoundResult> => ({
    round,
    bytes: await readFile(join(workDir, path)),
  }));
  try {
    for (let round = (spec.training?.round ?? 0) + 1;; round++) {
      const loss = await trainRound(bridge, trainer, batches);
      if (loss === undefined) return;
      await say(bridge, { metrics: { round, metrics: { loss } } });
      const path = `update-${round}.safetensors`;
      await writeFile(join(workDir, path), encodeTensors(orThrow(trainer.difference())), { mode: 0o600 });
      await bridge.send(config.updates, path);
      await say(bridge, "update");
      const applied = await takeResults(results, trainer);
      await rm(join(workDir, path), { force: true });
      report(`round ${round}: mean loss ${loss.toFixed(4)}`);
      // Where the scheduler keeps the model, it compares the parameters of all members.
      const parameters = isDigested ? digestOf(trainer.shared()) : undefined;
      if ((await say(bridge, "update-received", parameters, applied)).type === "Done") return;
    }
  } finally {
    results.close();
  }
}

async function trainerOf(
  { bridge, spec, workDir }: Pick<TrainingInput, "bridge" | "spec" | "workDir">,
  config: TrainConfig,
): Promise<{ readonly trainer: Trainer; readonly isDigested: boolean }> {
  if (config.batch_size === 0) throw new TrainingFailed("Cannot train in batches of 0");
  const { model, isDigested } = await initialModel(bridge, config, workDir);
  const trainer = makeTrainer(model, {
    optimizer: config.optimizer,
    scheduler: config.scheduler ?? null,
    stepsBefore: stepsBefore(config.scheduler, spec.training, config.batch_size),
  });
  return { trainer, isDigested };
}

/** The model that a training begins with. */
interface InitialModel {
  readonly model: Model;
  /** Whether the scheduler digests the parameters in the form that the trainer keeps. */
  readonly isDigested: boolean;
}

/** The built-in model that the reference names, or the parameters that the scheduler serves: those of the newest round. */
async function initialModel(
  bridge: BridgeClient,
  { model: { artifact } }: TrainConfig,
  workDir: string,
): Promise<InitialModel> {
  switch (artifact.type) {
    case "huggingface":
      return { model: orThrow(builtinModel(artifact.repository, artifact.revision)), isDigested: false };
    case "scheduler": {
      const bytes = await readFile(join(workDir, await fetchFile(bridge, artifact)));
      const parameters = orThrow(decodeTensors(bytes));
      const left = orThrow(layoutOf(bytes)).tensors.find(({ name }) => !parameters.has(name));
      if (left !== undefined) {
        throw new TrainingFailed(`Cannot train tensor ${JSON.stringify(left.name.slice(0, 64))}: it is ${left.dtype}`);
      }
      // F64 is trained in F32, with another digest than the scheduler's.
      return { model: orThrow(modelOf(parameters)), isDigested: bytes.equals(encodeTensors(parameters)) };
    }
    default:
      throw new TrainingFailed(`Cannot build a model from a ${artifact.type} reference`);
  }
}

/** Returns the value, or throws the failure with its own message. */
function orThrow<A>(result: Result.Result<A, Error>): A {
  if (Result.isFailure(result)) throw new TrainingFailed(result.failure.message);
  return result.success;
}

/**
 * Trains until the scheduler has named the number of remaining batches and the trainer has done them.
 *
 * @returns The mean loss of the round; `undefined` where the scheduler answered `Done`.
 */
async function trainRound(bridge: BridgeClient, trainer: Trainer, batches: Batches): Promise<number | undefined> {
  let loss = 0;
  let left: number | undefined;
  for (let count = 1;; count++) {
    const batch = await batches.next();
    loss += trainer.train(batch);
    const answer = await say(bridge, { status: { batch_size: batch.length } });
    if (answer.type === "Done") return undefined;
    if (left !== undefined) left--;
    else if (answer.type === "ScheduleUpdate") left = answer.counter;
    if (left === 0) return loss / count;
  }
}

/** SHA-256 of the parameters as the scheduler serves them. */
function digestOf(parameters: NamedTensors): string {
  return createHash("sha256").update(encodeTensors(parameters)).digest("hex");
}

async function say(bridge: BridgeClient, ...report: Parameters<BridgeClient["report"]>): Promise<ProgressResponse> {
  const answer = await bridge.report(...report);
  if (answer.type === "Error") throw new TrainingFailed("Cannot go on: the scheduler cannot place this job's progress");
  return answer;
}

/** A result, and its round where the scheduler keeps the model. */
interface RoundResult {
  readonly round: number | undefined;
  readonly bytes: Uint8Array;
}

/**
 * Waits for the update of the round. Also applies late updates of earlier rounds: the other trainers have them too.
 *
 * @returns The round of the last one.
 */
async function takeResults(results: Receiving<RoundResult>, trainer: Trainer): Promise<number | undefined> {
  let last = await results.next(resultTimeoutMs);
  for (let next: RoundResult | undefined = last; next !== undefined; next = await results.waiting()) {
    orThrow(trainer.receive(orThrow(decodeTensors(next.bytes))));
    last = next;
  }
  return last.round;
}

// ── Batches ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Rows in full batches, over as many slices as it takes. */
interface Batches {
  next(): Promise<readonly DigitRow[]>;
}

function makeBatches({ bridge, spec, workDir }: TrainingInput, { data, batch_size: size }: TrainConfig): Batches {
  let rows: DigitRow[] = [];
  let fetched = 0;
  return {
    async next() {
      for (let empty = 0; rows.length < size;) {
        const slice = await fetchFile(bridge, data);
        const random = seededRandom(seedOf(`${spec.job_id} ${slice} ${fetched++}`));
        const more = orThrow(parseDigits(await readFile(join(workDir, slice), "utf8")));
        // It counts against the lease's storage.
        await rm(join(workDir, slice), { force: true });
        rows = [...rows, ...shuffled(more, random)];
        empty = more.length === 0 ? empty + 1 : 0;
        if (empty === emptySlicesMax) throw new TrainingFailed("Cannot train: the slices hold no rows");
      }
      const batch = rows.slice(0, size);
      rows = rows.slice(size);
      return batch;
    },
  };
}

/** Fetches the file of a reference. */
async function fetchFile(bridge: BridgeClient, reference: TrainConfig["data"]): Promise<string> {
  const [file] = await bridge.fetch(reference);
  return (file as BridgeFile).path;
}
