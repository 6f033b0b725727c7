/**
 * The job that a worker starts an executor for.
 *
 * @module
 */
import { Data, Result } from "effect";
import { fromJson, jobSpecSchema } from "../../transport/protocols/mod.ts";
import type { JobSpec } from "../../transport/protocols/messages.ts";

/** A job, and the place of its files and its bridge. */
export interface StartedJob {
  readonly spec: JobSpec;
  readonly workDir: string;
  readonly socketPath: string;
  readonly token: string | undefined;
}

/** The process was not started for a job. */
export class JobNotGiven extends Data.TaggedError("JobNotGiven")<{
  readonly variable: string;
  readonly detail: string;
}> {
  override get message(): string {
    return `Cannot start: ${this.variable} ${this.detail}`;
  }
}

/**
 * Reads the job from the variables that a worker sets: `SOCKET_PATH`, `WORK_DIR`, `JOB_JSON` and, where the bridge requires it,
 * `BRIDGE_TOKEN` (`docs/executors.md`).
 *
 * @param environment Such as `process.env`.
 */
export function readJob(
  environment: Readonly<Record<string, string | undefined>>,
): Result.Result<StartedJob, JobNotGiven> {
  const { SOCKET_PATH: socketPath, WORK_DIR: workDir, JOB_JSON: json, BRIDGE_TOKEN: token } = environment;
  const fail = (variable: string, detail: string) => Result.fail(new JobNotGiven({ variable, detail }));
  const missing = "is not set: a worker starts executors";
  if (socketPath === undefined) return fail("SOCKET_PATH", missing);
  if (workDir === undefined) return fail("WORK_DIR", missing);
  if (json === undefined) return fail("JOB_JSON", missing);
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch {
    return fail("JOB_JSON", "is not JSON");
  }
  return Result.mapBoth(fromJson(jobSpecSchema, value), {
    onSuccess: (spec) => ({ spec, workDir, socketPath, token }),
    onFailure: ({ message }) => new JobNotGiven({ variable: "JOB_JSON", detail: `is no job: ${message}` }),
  });
}
