/**
 * The evaluation of a model's parameters by a program in a cell: it gets files, and writes metrics. There is no bridge and no network.
 *
 * In `WORK_DIR` the program finds `parameters.safetensors` and the held-out rows in `held_out/`; `JOB_JSON` says what they belong to. It
 * writes `result.json`, `{"metrics": {NAME: NUMBER, …}}`, and ends with exit code 0.
 *
 * @module
 */
import { basename } from "node:path";
import process from "node:process";
import { Data, Effect, Option, Result, Schema, type Scope } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { CellSettings } from "../config/cell_config.ts";
import type { ExecutorConfig } from "../config/config.ts";
import type { WorkDirectory } from "../files/contained_files.ts";
import { monotonicNow, type Ports, type Services } from "../runtime/ports.ts";
import { assignCell } from "./cell/assign.ts";
import { jobCell } from "./cell/bounds.ts";
import { type Cell, cellRefusal } from "./cell/cell.ts";
import { cellCommand, workDirIn } from "./cell/command_line.ts";
import { withDenoFlags } from "./cell/deno_flags.ts";
import { describeLimit, exceededLimit, isKilledAtOnce } from "./cell/exceeded.ts";
import { endUser } from "./cell/job_user.ts";
import { describeKill } from "./cell/killed.ts";
import { watchLimits } from "./cell/watch.ts";
import { makeCommand } from "./command.ts";
import { startExecutor } from "./process.ts";
import { plainText } from "./reason.ts";
import { makeWorkDirectory, recordExecutor } from "./work_directory.ts";

/** What a program may use where `[cell]` does not say it, in GB: it has no lease. */
const room = { memory: 4, storage: 16 };
/** From SIGTERM to SIGKILL, in milliseconds. */
const graceMs = 5_000;
/** The file that the program writes, and the metrics in it. */
const resultBytesMax = 65_536, metricsMax = 64;
const pieceBytes = 1024 * 1024;

/** A program gave no metrics. */
export class NotEvaluated extends Data.TaggedError("NotEvaluated")<{ readonly detail: string }> {
  override get message(): string {
    return this.detail;
  }
}

/** The program, and where it runs. */
export interface EvaluatingProgram {
  readonly ports: Pick<Ports, "uuid" | "now" | "monotonic" | "report">;
  readonly executor: Pick<ExecutorConfig, "cmd" | "args">;
  readonly cell: Cell;
  readonly settings: CellSettings;
  /** Each evaluation has a directory of its own in it. */
  readonly workDir: string;
}

/** What is evaluated: paths of files, and the JSON that says what they belong to. */
export interface EvaluatedFiles {
  readonly parameters: string;
  readonly heldOut: string;
  readonly jobJson: string;
}

/** Metrics by their names. */
export type Metrics = Readonly<Record<string, number>>;

const resultSchema = Schema.fromJsonString(Schema.Struct({ metrics: Schema.Record(Schema.String, Schema.Finite) }));

/** Starts the program once, and reads its metrics. Leaves nothing behind, also when it is interrupted. */
export function evaluateParameters(
  program: EvaluatingProgram,
  files: EvaluatedFiles,
): Effect.Effect<Metrics, NotEvaluated, Services> {
  const refusal = cellRefusal(program.cell, program.settings);
  if (refusal !== undefined) return Effect.fail(new NotEvaluated({ detail: refusal }));
  return Effect.scoped(evaluate(program, files)).pipe(
    Effect.mapError((error) => error instanceof NotEvaluated ? error : new NotEvaluated({ detail: error.message })),
  );
}

function evaluate({ ports, executor, cell, settings, workDir }: EvaluatingProgram, files: EvaluatedFiles) {
  return Effect.gen(function* () {
    const uuid = ports.uuid();
    const assigned = yield* assignCell({ cell, config: jobCell(settings, room) }, `hypha-${uuid}`);
    const { config, user } = assigned;
    const directory = yield* makeWorkDirectory(workDir, uuid, assigned);
    yield* copyInto(directory, "parameters.safetensors", files.parameters);
    yield* copyInto(directory, `held_out/${basename(files.heldOut)}`, files.heldOut);
    const place = {
      socketPath: "",
      workDir: workDirIn(cell, directory.path),
      jobJson: files.jobJson,
      token: undefined,
    };
    const command = yield* Effect.fromResult(
      makeCommand(executor, place, process.env, ["PATH", ...config.environment]),
    );
    const confined = cellCommand(
      cell,
      config,
      { directory: directory.path, user, cgroupProcs: assigned.cgroupProcs },
      withDenoFlags(command, place, config.readOnly),
    );
    if (user !== undefined) yield* Effect.addFinalizer(() => endUser(user));
    const line = (message: string) => ports.report({ level: "info", event: "evaluation.output", message });
    const started = yield* startExecutor(confined, {
      sink: { line, suppressed: () => {} },
      now: () => monotonicNow(ports),
      graceMs,
      beforeGo: (pid) => Effect.ignore(recordExecutor(directory, pid)),
    });
    const exceeded = Effect.map(watchLimits(assigned, directory, started.pid), (exceeded) => ({ exceeded }));
    const exit = yield* Effect.raceFirst(started.exited, exceeded);
    if ("exceeded" in exit) {
      if (isKilledAtOnce(exit.exceeded)) yield* started.kill;
      return yield* new NotEvaluated({ detail: describeLimit(exit.exceeded, config) });
    }
    const limit = exceededLimit(exit, assigned, directory.path);
    if (limit !== undefined) return yield* new NotEvaluated({ detail: describeLimit(limit, config) });
    if (exit.code !== 0) {
      const said = plainText(exit.tail).trim();
      const cause = describeKill(exit, assigned), how = `it ended with ${exit.code ?? exit.signal}`;
      const detail = `${cause === undefined ? how : `${cause}; ${how}`}${said === "" ? "" : `: ${said}`}`;
      return yield* new NotEvaluated({ detail });
    }
    return yield* readMetrics(directory);
  });
}

/** Copies a file of the worker's into the job's directory. */
function copyInto(directory: WorkDirectory, name: string, source: string) {
  return Effect.scoped(Effect.gen(function* () {
    const files = yield* FileSystem;
    const [from, to] = [yield* files.open(source, { flag: "r" }), yield* directory.create(name)];
    for (;;) {
      const piece = Option.getOrUndefined(yield* from.readAlloc(pieceBytes));
      if (piece === undefined) return yield* to.commit;
      yield* to.write(piece);
    }
  }));
}

/** The program may have written anything. */
function readMetrics(directory: WorkDirectory): Effect.Effect<Metrics, NotEvaluated, Scope.Scope> {
  const failed = (detail: string) => new NotEvaluated({ detail: `its result.json: ${detail}` });
  return Effect.gen(function* () {
    const file = yield* Effect.mapError(directory.openForReading("result.json"), ({ message }) => failed(message));
    if (file.sizeBytes > resultBytesMax) return yield* failed(`more than ${resultBytesMax} bytes`);
    const bytes = new Uint8Array(file.sizeBytes);
    const count = yield* Effect.mapError(file.read(bytes, 0), ({ message }) => failed(message));
    const text = new TextDecoder().decode(bytes.subarray(0, count));
    const decoded = Schema.decodeUnknownResult(resultSchema)(text);
    if (Result.isFailure(decoded)) return yield* failed('expected {"metrics": {NAME: NUMBER, …}}');
    const { metrics } = decoded.success;
    if (Object.keys(metrics).length > metricsMax) return yield* failed(`more than ${metricsMax} metrics`);
    return metrics;
  });
}
