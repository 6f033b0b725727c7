/**
 * The programs with which a scheduler evaluates models: `[[executors]]` of class `evaluate`, in its cell, one at a time.
 *
 * @module
 */
import { join } from "node:path";
import { Effect } from "effect";
import type { SchedulerConfig } from "../../actors/config/config.ts";
import { cellDefault } from "../../actors/config/cell_config.ts";
import { jobCell } from "../../actors/job/cell/bounds.ts";
import { type Cell, describeCell } from "../../actors/job/cell/cell.ts";
import { findCell } from "../../actors/job/cell/find_cell.ts";
import { evaluateParameters } from "../../actors/job/evaluate_parameters.ts";
import { sweepLeftovers } from "../../actors/job/work_directory.ts";
import type { Ports, Services } from "../../actors/runtime/ports.ts";
import { EvaluationFailed, type MeasuredParameters, type Metrics } from "../../actors/training/evaluator.ts";

/** The measuring of a scheduler's evaluator. The cell is found when the first model is measured. */
export function measureIn(
  { executors = [], cell: settings = cellDefault, stateDir = "." }: Pick<
    SchedulerConfig,
    "executors" | "cell" | "stateDir"
  >,
  ports: Ports,
): (measured: MeasuredParameters) => Effect.Effect<Metrics, EvaluationFailed, Services> {
  const workDir = join(stateDir, "evaluations");
  let found: Cell | undefined;
  const cellHere = Effect.gen(function* () {
    if (found !== undefined) return found;
    // Of a scheduler that was killed.
    yield* Effect.ignore(sweepLeftovers(workDir));
    found = yield* findCell({ ports, config: jobCell(settings, { memory: 1, storage: 1 }), workDir });
    const { level, notes } = found;
    const message = `${describeCell(found)}; these evaluate`;
    ports.report({ level: "info", event: "evaluation.cell", message, fields: { level, notes } });
    return found;
  });
  return ({ executor: name, parameters, heldOut, training }) => {
    const executor = executors.find((each) => each.name === name);
    if (executor === undefined) {
      return Effect.fail(new EvaluationFailed({ detail: `[[executors]] has none of class evaluate named ${name}` }));
    }
    const jobJson = JSON.stringify({ executor: { class: "evaluate", descriptor: { name } }, training });
    return Effect.flatMap(
      cellHere,
      (cell) => evaluateParameters({ ports, executor, cell, settings, workDir }, { parameters, heldOut, jobJson }),
    ).pipe(Effect.mapError(({ message }) => new EvaluationFailed({ detail: `executor ${name}: ${message}` })));
  };
}
