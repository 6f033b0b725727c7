/**
 * A training job that is submitted to a running scheduler: the table that `[scheduler.job]` would be. `hypha-scheduler submit` and the scheduler
 * check it alike.
 *
 * @module
 */
import { Result, Schema } from "effect";
import type { DilocoJobConfig } from "./config.ts";
import { job } from "./job_schema.ts";
import { type BrokenRule, checkRules } from "./rules.ts";
import { typeJob } from "./typed.ts";

/** Longest complaint about a job, in characters. */
const complaintCharactersMax = 1_000;

const jobSchema = Schema.Struct({ scheduler: Schema.Struct({ job }) });

/** What is wrong with a job's table. */
export interface WrongJob {
  readonly decoded: Result.Result<unknown, Schema.SchemaError>;
  readonly rules: readonly BrokenRule[];
}

/** Checks a job's table as that of `[scheduler.job]`; nothing else of a configuration is checked. */
export function checkTable(table: unknown): Result.Result<DilocoJobConfig, WrongJob> {
  const values = { scheduler: { job: table } };
  const decoded = Schema.decodeUnknownResult(jobSchema, { errors: "all", onExcessProperty: "error" })(values);
  const rules = checkRules("scheduler", values, "probe");
  if (Result.isSuccess(decoded) && rules.length === 0) return Result.succeed(typeJob(decoded.success.scheduler.job));
  return Result.fail({ decoded, rules });
}

/** Checks a job's table, or says what is wrong with it. `hypha-scheduler submit` has named file and line before. */
export function decodeJob(table: unknown): Result.Result<DilocoJobConfig, string> {
  return Result.mapError(checkTable(table), ({ decoded, rules }) => {
    const complaints = [
      ...(Result.isFailure(decoded) ? [decoded.failure.message] : []),
      ...rules.map(({ path, wrong, expected }) => `${path.join(".")}: ${wrong}; expected ${expected}`),
    ];
    return complaints.join("\n").slice(0, complaintCharactersMax);
  });
}
