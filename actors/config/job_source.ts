/**
 * A training job from a separate source: a file or a text given with `--job`, in place of `[scheduler.job]`.
 *
 * @module
 */
import { parse, TomlError } from "@std/toml";
import { Effect, FileSystem, Result } from "effect";
import { isThere } from "../files/is_there.ts";
import { type KeyPath, locateKeys, type Locations } from "./locate.ts";
import { ConfigError, type Origin } from "./problem.ts";

/** A job as it was given. */
export interface JobSource {
  /** Undefined where the text itself was given. */
  readonly file: string | undefined;
  readonly values: Record<string, unknown>;
  /** Of the source; of JSON, none. */
  readonly locations: Locations;
  /** The path of the job in the source: `["scheduler", "job"]` in a scheduler's whole configuration. */
  readonly prefix: KeyPath;
}

/** Largest file of a job, in bytes: a long one has some kilobytes. */
const jobBytesMax = 1_048_576;

/**
 * Reads what `--job` was given: the path of a TOML or JSON file, or JSON or TOML itself.
 *
 * @returns The job's table: of a whole configuration, its `[scheduler.job]`.
 */
export function readJob(given: string): Effect.Effect<JobSource, ConfigError, FileSystem.FileSystem> {
  if (isText(given)) return Effect.fromResult(parseJob(given, undefined));
  return Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    // A path may have an equals sign too.
    if (given.includes("=") && !(yield* Effect.orElseSucceed(isThere(given), () => false))) {
      return yield* Effect.fromResult(parseJob(given, undefined));
    }
    const unreadable = (reason: string) =>
      problem(
        { type: "flag", flag: "job" },
        `${JSON.stringify(given)} ${reason}`,
        "name a file of the job, or write it as JSON",
      );
    const { size } = yield* Effect.mapError(
      files.stat(given),
      ({ reason }) => unreadable(reason._tag === "NotFound" ? "is no file" : `cannot be read (${reason._tag})`),
    );
    if (size > jobBytesMax) return yield* Effect.fail(unreadable(`has more than ${jobBytesMax} bytes`));
    const text = yield* Effect.mapError(
      files.readFileString(given),
      ({ reason }) => unreadable(`cannot be read (${reason._tag})`),
    );
    return yield* Effect.fromResult(parseJob(text, given));
  });
}

/** Whether it is the job itself whatever files there are: no path has a line end or begins with a brace. */
const isText = (given: string): boolean => /^\s*\{|\n/.test(given);

function parseJob(text: string, file: string | undefined): Result.Result<JobSource, ConfigError> {
  const at = (line: number, column: number): Origin =>
    file === undefined ? { type: "flag", flag: "job" } : { type: "file", file, line, column };
  const isJson = /^\s*\{/.test(text);
  try {
    const values: unknown = isJson ? JSON.parse(text) : parse(text);
    const [table, prefix] = jobIn(values as Record<string, unknown>);
    return Result.succeed({ file, values: table, prefix, locations: locateKeys(isJson ? "" : text) });
  } catch (error) {
    if (error instanceof TomlError) {
      const wrong = (error.message.split("\n")[0] ?? "").replace("Invalid TOML document: ", "");
      return Result.fail(problem(at(error.line, error.column), `is not TOML here: ${wrong}`, "correct the line"));
    }
    if (!(error instanceof SyntaxError)) throw error;
    return Result.fail(problem(at(1, 1), `is not JSON: ${error.message}`, "correct it"));
  }
}

function jobIn(values: Record<string, unknown>): readonly [Record<string, unknown>, KeyPath] {
  for (const prefix of [["scheduler", "job"], ["job"]]) {
    const found = prefix.reduce<unknown>(
      (table, step) =>
        typeof table === "object" && table !== null ? (table as Record<string, unknown>)[step] : undefined,
      values,
    );
    if (typeof found === "object" && found !== null) return [found as Record<string, unknown>, prefix];
  }
  return [values, []];
}

function problem(origin: Origin, wrong: string, mend: string): ConfigError {
  return new ConfigError({
    problems: [{ origin, key: "", wrong, expected: "a training job, as in [scheduler.job]", mend }],
  });
}
