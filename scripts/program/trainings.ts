/**
 * The commands about a running scheduler's trainings: `submit`, `ls`, `status`, `logs`, `cancel`, `resume`. They go over its admin socket.
 *
 * @module
 */
import { createReadStream } from "node:fs";
import { basename, dirname, isAbsolute, join } from "node:path";
import process from "node:process";
import { Buffer } from "node:buffer";
import { Effect } from "effect";
import { FileSystem } from "effect/FileSystem";
import { uploadAdmin } from "../../actors/admin/ask_admin.ts";
import { readJob } from "../../actors/config/job_source.ts";
import { checkJob } from "../../actors/config/load.ts";
import type { DilocoJobConfig } from "../../actors/config/config.ts";
import { fileProblem, systemProblem } from "../../actors/files/file_problem.ts";
import { amountOf } from "../../actors/files/free_space.ts";
import { workDirectoryBytes } from "../../actors/job/cell/bounds.ts";
import type { TensorEntry } from "../../actors/learning/mod.ts";
import { trainingIdPattern } from "../../actors/scheduler/training_record.ts";
import type { ShownStatus, ShownTraining } from "../../actors/scheduler/status.ts";
import { aggregationBytes } from "../../actors/training/model_space.ts";
import { openTensors } from "../../actors/training/tensors_on_disk.ts";
import { ask as askProgram, bodyOf, notAsked, socketOf } from "./asking.ts";
import { type ExitCode, ProgramFailed } from "./failure.ts";
import { escapeUnsafe } from "./log_line.ts";
import { endWithReader, outputTaken } from "./shown_output.ts";
import { cancelText, listText, logText, resumeText, statusText } from "./trainings_text.ts";

/** What all these commands are given. */
export interface TrainingOptions {
  /** Path of the scheduler's configuration, which names its state directory. */
  readonly config: string;
  readonly format: "text" | "json";
}

/** Between two looks of `status --watch`, in milliseconds. */
const watchMs = 1_000;

const failed = (error: { readonly message: string }) => notice(1, error.message);
const notice = (exitCode: ExitCode, text: string) => new ProgramFailed({ exitCode, notice: text });

const print = (text: string) => process.stdout.write(`${text}\n`);
/** Prints what may be long: its reader may be slow, and the program ends soon. */
const show = (text: string) => Effect.andThen(Effect.sync(() => print(text)), Effect.promise(outputTaken));
const jsonOf = (value: unknown) => escapeUnsafe(JSON.stringify(value));

const schedulerOf = ({ config }: Pick<TrainingOptions, "config">) =>
  ({ role: "scheduler", config, start: "Start it, without [scheduler.job] in it, to submit trainings" }) as const;

/** Asks the running scheduler. */
const ask = <A>(options: Pick<TrainingOptions, "config">, route: string, body: unknown = {}) =>
  askProgram<A>(schedulerOf(options), route, body);

function checkId(id: string): Effect.Effect<void, ProgramFailed> {
  return trainingIdPattern.test(id) ? Effect.void : Effect.fail(
    notice(2, `${JSON.stringify(id)} is no name of a training, such as t-7f3a90c1: see hypha-scheduler ls`),
  );
}

/** A file that goes with a job. */
interface Attached {
  readonly key: "weights" | "held_out";
  readonly path: string;
  readonly sizeBytes: number;
  /** Those of weights. */
  readonly tensors: readonly TensorEntry[];
}

/** Submits a job, with the files that it names; prints the training's name. Paths are relative to the job's file. */
export function submit(options: TrainingOptions & { readonly file: string }) {
  const { file, format } = options;
  return Effect.gen(function* () {
    const source = yield* Effect.mapError(readJob(file), failed);
    const job = yield* Effect.mapError(Effect.fromResult(checkJob(source)), failed);
    const socket = yield* socketOf(schedulerOf(options));
    const folder = source.file === undefined ? "." : dirname(source.file);
    const attached = [
      ...("weights" in job.model ? [yield* attach(folder, "weights", job.model.weights)] : []),
      ...(job.evaluation === undefined ? [] : [yield* attach(folder, "held_out", job.evaluation.heldOut)]),
    ];
    for (const { key, tensors } of attached) if (key === "weights") warnOfStorage(tensors, job);
    const name = source.file === undefined ? "job" : basename(source.file).replace(/\.(toml|json)$/, "");
    const sizes = Object.fromEntries(attached.map(({ key, sizeBytes }) => [key, sizeBytes]));
    const head = `${JSON.stringify({ name: name.slice(0, 128), job: source.values, ...sizes })}\n`;
    const answer = yield* Effect.mapError(
      uploadAdmin(socket, "POST /trainings", piecesOf(head, attached)),
      (error) => error.problem === "not-sent" ? notice(1, error.detail) : notAsked(schedulerOf(options), error),
    );
    const { id } = yield* bodyOf<{ readonly id: string }>(answer);
    print(format === "json" ? jsonOf({ id }) : id);
  });
}

const wrongFile = ({ key, path }: Pick<Attached, "key" | "path">, detail: string) =>
  `the job's ${key} ${path}: ${detail}`;

/** Checks a file that a job names. */
function attach(folder: string, key: Attached["key"], named: string) {
  const path = isAbsolute(named) ? named : join(folder, named);
  const wrong = (detail: string) => notice(1, wrongFile({ key, path }, detail));
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const { type, size } = yield* Effect.mapError(files.stat(path), (error) => wrong(fileProblem(error)));
    if (type !== "File") return yield* Effect.fail(wrong("it is no file"));
    const sizeBytes = Number(size);
    if (key === "held_out") {
      yield* Effect.mapError(Effect.scoped(files.open(path, { flag: "r" })), (error) => wrong(fileProblem(error)));
      return { key, path, sizeBytes, tensors: [] } satisfies Attached;
    }
    const { tensors } = yield* Effect.mapError(
      Effect.scoped(openTensors(path)),
      (error) => wrong(`it is no safetensors file: ${error.message}`),
    );
    return { key, path, sizeBytes, tensors } satisfies Attached;
  });
}

/** Warns where the aggregator's lease is too small for its files. How large these become is an estimate, and no reason to refuse. */
function warnOfStorage(tensors: readonly TensorEntry[], { resources }: DilocoJobConfig): void {
  const leased = workDirectoryBytes(resources.parameterServer);
  const written = aggregationBytes(tensors, resources.numWorkers);
  if (leased >= written) return;
  const [have, need] = [amountOf(leased, Math.floor), amountOf(written, Math.ceil)];
  process.stderr.write(
    `warning: resources.parameter_server.storage gives ${have}, and the aggregator writes about ${need} in a round of ` +
      `${resources.numWorkers} trainers: raise it, or the disk of the aggregator may run full\n`,
  );
}

async function* piecesOf(head: string, attached: readonly Attached[]): AsyncGenerator<Uint8Array> {
  yield Buffer.from(head);
  for (const { key, path, sizeBytes } of attached) {
    let left = sizeBytes;
    try {
      for await (const piece of createReadStream(path) as AsyncIterable<Uint8Array>) {
        // A file that grows meanwhile is sent as it was announced.
        if (left > 0) yield piece.subarray(0, left);
        left -= piece.length;
      }
    } catch (error) {
      throw new Error(wrongFile({ key, path }, systemProblem(error as Error)), { cause: error });
    }
    if (left > 0) throw new Error(wrongFile({ key, path }, "it became shorter"));
  }
}

/** Lists the trainings. */
export function list(options: TrainingOptions) {
  endWithReader();
  return Effect.gen(function* () {
    const { trainings } = yield* ask<{ readonly trainings: readonly ShownTraining[] }>(options, "GET /trainings");
    yield* show(options.format === "json" ? jsonOf({ trainings }) : listText(trainings, Date.now()));
  });
}

const isOver = (state: string): boolean => ["done", "failed", "cancelled"].includes(state);

/** Shows one training; with `watch`, whenever it changed, until it is over. */
export function status(options: TrainingOptions & { readonly id: string; readonly watch: boolean }) {
  const { id, format, watch } = options;
  endWithReader();
  return Effect.gen(function* () {
    yield* checkId(id);
    let shown = "";
    for (;;) {
      const known = yield* ask<ShownStatus>(options, "POST /trainings/status", { id });
      const text = format === "json" ? jsonOf(known) : statusText(known, Date.now());
      // The time since something happened is no change.
      const changed = JSON.stringify(known);
      if (changed !== shown) yield* show(text);
      shown = changed;
      if (!watch || isOver(known.state)) return;
      yield* Effect.sleep(watchMs);
    }
  });
}

/** Prints a training's log. */
export function logs(options: TrainingOptions & { readonly id: string; readonly worker: string | undefined }) {
  const { id, worker, format } = options;
  endWithReader();
  return Effect.gen(function* () {
    yield* checkId(id);
    const body = { id, ...(worker === undefined ? {} : { worker }) };
    const { events } = yield* ask<{ readonly events: readonly Readonly<Record<string, unknown>>[] }>(
      options,
      "POST /trainings/logs",
      body,
    );
    if (events.length === 0 && worker !== undefined) {
      return yield* Effect.fail(
        notice(1, `no line of training ${id} is about ${worker}: see its members with hypha-scheduler status ${id}`),
      );
    }
    for (const event of events) yield* show(format === "json" ? jsonOf(event) : escapeUnsafe(logText(event)));
  });
}

/** Ends a training. */
export function cancel(options: TrainingOptions & { readonly id: string }) {
  const { id, format } = options;
  return Effect.gen(function* () {
    yield* checkId(id);
    const answer = yield* ask<Parameters<typeof cancelText>[0]>(options, "POST /trainings/cancel", { id });
    print(format === "json" ? jsonOf(answer) : cancelText(answer));
  });
}

/** Lets a training that failed or was cancelled go on. */
export function resume(options: TrainingOptions & { readonly id: string }) {
  const { id, format } = options;
  return Effect.gen(function* () {
    yield* checkId(id);
    const answer = yield* ask<Parameters<typeof resumeText>[0]>(options, "POST /trainings/resume", { id });
    print(format === "json" ? jsonOf(answer) : resumeText(answer));
  });
}
