/**
 * A training job as it was submitted to a running scheduler: the table that `[scheduler.job]` would be.
 *
 * @module
 */
import { Result, Schema } from "effect";
import type { DilocoJobConfig } from "./config.ts";
import { job } from "./job_schema.ts";
import { checkRules } from "./rules.ts";
import { typeJob } from "./typed.ts";

/** Longest complaint about a job, in characters. */
const complaintCharactersMax = 1_000;

/** Checks a job's table, or says what is wrong with it. `hypha-scheduler submit` has named file and line before. */
export function decodeJob(values: unknown): Result.Result<DilocoJobConfig, string> {
  const decoded = Schema.decodeUnknownResult(job, { onExcessProperty: "error" })(values);
  if (Result.isFailure(decoded)) return Result.fail(decoded.failure.message.slice(0, complaintCharactersMax));
  const [broken] = checkRules("scheduler", { scheduler: { job: values } }, "probe");
  if (broken === undefined) return Result.succeed(typeJob(decoded.success));
  return Result.fail(`${broken.path.join(".")}: ${broken.wrong}; expected ${broken.expected}`);
}
