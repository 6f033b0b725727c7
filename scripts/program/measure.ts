/**
 * The programs with which a scheduler evaluates models: `[[executors]]` of class `evaluate`, in its cell, one at a time.
 *
 * @module
 */
import { join } from "node:path";
import { Effect, Semaphore } from "effect";
import type { SchedulerConfig } from "../../actors/config/config.ts";
import { evaluatingCellDefault } from "../../actors/config/cell_config.ts";
import { jobCell } from "../../actors/job/cell/bounds.ts";
import { describeCell } from "../../actors/job/cell/cell.ts";
import { findCell } from "../../actors/job/cell/find_cell.ts";
import { type ExecutorProblem, type TriedExecutor, tryExecutors } from "../../actors/job/cell/try_executors.ts";
import { evaluateParameters } from "../../actors/job/evaluate_parameters.ts";
import { reportSwept, trySweep } from "../../actors/job/sweep.ts";
import type { Ports, Services } from "../../actors/runtime/ports.ts";
import { EvaluationFailed, type MeasuredParameters, type Metrics } from "../../actors/training/evaluator.ts";
import { holdsSocket } from "./operator.ts";

/** What a scheduler does with its evaluating programs. */
export interface Measuring {
  /** Whether a program can be started in its cell. Tries all of them, and again where it could not; reports those that cannot. */
  readonly check: (executor: string) => Effect.Effect<void, EvaluationFailed, Services>;
  /** Runs a program; `began` is called when its turn has come. */
  readonly measure: (
    measured: MeasuredParameters,
    began: () => void,
  ) => Effect.Effect<Metrics, EvaluationFailed, Services>;
  /** The longest time of one evaluation, in milliseconds. */
  readonly measureMs: number;
}

/** The programs of a scheduler. Their cell is found with the first use. */
export function measureIn(
  { executors = [], cell: settings = evaluatingCellDefault, stateDir, job }: Pick<
    SchedulerConfig,
    "executors" | "cell" | "stateDir" | "job"
  >,
  ports: Pick<Ports, "uuid" | "now" | "report">,
): Measuring {
  const workDir = join(stateDir ?? ".", "evaluations");
  const isLocked = holdsSocket({ stateDir, job });
  const cellOnce = Effect.runSync(Effect.cached(Effect.gen(function* () {
    // Of a scheduler that was killed.
    reportSwept(ports.report, "evaluation", yield* trySweep(workDir, { isLocked }));
    const cell = yield* findCell({ ports, config: jobCell(settings, { memory: 1, storage: 1 }), workDir });
    const { level, notes } = cell;
    const message = `${describeCell(cell)}; these evaluate`;
    ports.report({ level: "info", event: "evaluation.cell", message, fields: { level, notes } });
    return cell;
  })));
  // All trainings share the machine's memory and disk.
  const turn = Semaphore.makeUnsafe(1);
  const programs = executors.map((executor) => ({ ...executor, runtime: "process" as const }));
  let lacking: readonly ExecutorProblem<TriedExecutor>[] = [];
  const [tried, forget] = Effect.runSync(Effect.cachedInvalidateWithTTL(
    Effect.gen(function* () {
      const cell = yield* cellOnce;
      const { missing, unread } = yield* tryExecutors(cell, { ports, workDir }, { settings, executors: programs });
      for (const problem of missing) reportProblem(ports, "error", "cannot be started", problem);
      for (const problem of unread) reportProblem(ports, "warn", "may miss a file", problem);
      lacking = missing;
      return { cell, missing };
    }),
    Infinity,
  ));
  const startable = (name: string) =>
    Effect.gen(function* () {
      const executor = executors.find((each) => each.name === name);
      if (executor === undefined) {
        return yield* new EvaluationFailed({ detail: `[[executors]] has none of class evaluate named ${name}` });
      }
      const isOf = (problem: ExecutorProblem<TriedExecutor>) => problem.executor.name === name;
      // It may have been installed since.
      if (lacking.some(isOf)) yield* forget;
      const { cell, missing } = yield* tried;
      const problem = missing.find(isOf);
      if (problem === undefined) return { executor, cell };
      return yield* new EvaluationFailed({ detail: `executor ${name} cannot be started: ${problem.reason}` });
    });
  return {
    measureMs: settings.wallSeconds * 1_000,
    check: (name) => Effect.asVoid(startable(name)),
    measure: ({ executor: name, parameters, heldOut, training }, began) =>
      turn.withPermit(Effect.gen(function* () {
        began();
        const { executor, cell } = yield* startable(name);
        const jobJson = JSON.stringify({ executor: { class: "evaluate", descriptor: { name } }, training });
        const program = { ports, executor, cell, settings, workDir };
        return yield* Effect.mapError(
          evaluateParameters(program, { parameters, heldOut, jobJson }),
          ({ message }) => new EvaluationFailed({ detail: `executor ${name}: ${message}` }),
        );
      })),
  };
}

function reportProblem(
  { report }: Pick<Ports, "report">,
  level: "error" | "warn",
  verdict: string,
  { executor: { name }, reason }: ExecutorProblem<TriedExecutor>,
): void {
  const message = `Executor evaluate/${name} ${verdict}: ${reason}`;
  report({ level, event: "evaluation.executor", message, fields: { class: "evaluate", name, reason } });
}
