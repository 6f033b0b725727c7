/**
 * The part of a configuration that comes from the command line and the environment.
 *
 * @module
 */
import process from "node:process";
import { Effect, type FileSystem, Result } from "effect";
import { readJob } from "../../actors/config/job_source.ts";
import { keysOf } from "../../actors/config/keys.ts";
import { parseConfig } from "../../actors/config/load.ts";
import { ConfigError } from "../../actors/config/problem.ts";
import type { Surroundings } from "../../actors/config/sources.ts";
import type { Role } from "../../pki/certificate.ts";

/** Keys of a configuration as flags. */
export interface GivenFlags {
  /** By flag name without dashes; of lists, each time that it was given. */
  readonly keys: Surroundings["flags"];
  /** Of `--job`: a file's path, or the job itself. */
  readonly job: string | undefined;
}

/** Environment, flags and the job that they name. */
export function surroundingsOf(
  { keys, job }: GivenFlags,
  purpose: NonNullable<Surroundings["purpose"]>,
): Effect.Effect<Surroundings, ConfigError, FileSystem.FileSystem> {
  const read = job === undefined ? Effect.succeed(undefined) : readJob(job);
  return Effect.map(read, (source) => ({ environment: process.env, flags: keys, job: source, purpose }));
}

/** Whether a value that the flags give is a secret; a job may hold a token. */
export function holdsSecret(role: Role, { keys, job }: GivenFlags): boolean {
  return job !== undefined || keysOf(role).some(({ flag, secret }) => secret && keys[flag] !== undefined);
}

/** The given values must be valid. The operator adds the values that are missing from the file. */
export function checkGiven(role: Role, text: string, around: Surroundings): Result.Result<void, ConfigError> {
  const parsed = parseConfig(role, { file: "", text }, around);
  if (Result.isSuccess(parsed)) return Result.succeed(undefined);
  const problems = parsed.failure.problems.filter(({ origin }) => origin.type !== "file" || origin.file !== "");
  return problems.length === 0 ? Result.succeed(undefined) : Result.fail(new ConfigError({ problems }));
}
