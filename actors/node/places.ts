/**
 * Checks, before a node joins, the directories, programs and files that its role's configuration names. A missing one would
 * otherwise end the role after it was announced, or fail every job.
 *
 * Does not check certificates, keys and lists: their loaders report what is wrong with them.
 *
 * @module
 */
import { accessSync, constants } from "node:fs";
import { dirname } from "node:path";
import { Effect, type PlatformError, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { DilocoJobConfig, RoleConfig } from "../config/config.ts";
import type { BrokenRule } from "../config/rules.ts";
import { findProgram } from "../job/command.ts";
import { deniedByDeno } from "../files/denied.ts";
import { placeTried } from "../files/place_tried.ts";
import { shellWord } from "../files/shell_word.ts";

/** The environment in which programs are found. */
export interface PlacesAround {
  /** As in the environment's `PATH`. */
  readonly searchPath: string;
}

type Check = Effect.Effect<readonly BrokenRule[], never, FileSystem>;

/** Everything that a role's configuration names and this machine does not have. */
export function checkPlaces(config: RoleConfig, around: PlacesAround): Check {
  switch (config.role) {
    case "data":
      return checkDataset(config.datasetPath);
    case "worker":
      return Effect.map(
        checkWorkDir(config.workDir),
        (broken) => [...broken, ...checkExecutors(config.executors, around)],
      );
    case "scheduler":
      return Effect.map(
        Effect.all((config.job === undefined ? [] : filesOf(config.job)).map((named) => checkFile(named))),
        (broken) => broken.flat(),
      );
    case "gateway":
      return Effect.succeed([]);
  }
}

function checkDataset(path: string): Check {
  const broken = (wrong: string, mend: string): readonly BrokenRule[] => [
    { path: ["dataset_path"], wrong, expected: "a directory with one file a slice", mend },
  ];
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const { type } = yield* files.stat(path);
    if (type !== "Directory") {
      return broken(`${whole(path)} is no directory`, "name the directory that holds the slices");
    }
    const names = (yield* files.readDirectory(path)).filter((name) => !name.startsWith("."));
    if (names.length > 0) return [];
    return broken(`${whole(path)} is empty`, "put one file a slice there, then start the node");
  }).pipe(
    Effect.catch((error) =>
      Effect.succeed(broken(missing(path, error), mendOf(error, "make it, or correct the path")))
    ),
  );
}

/** Others may write a directory; where it is not sticky, they may also rename the directories of others in it. */
const othersWrite = 0o002, othersReplace = 0o1002;

/** A missing directory is made later: then the nearest existing one above it is checked. */
function checkWorkDir(path: string): Check {
  const broken = (wrong: string, mend: string): readonly BrokenRule[] => [
    { path: ["work_dir"], wrong, expected: "a directory that this user may write", mend },
  ];
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    let place = path;
    let found = yield* Effect.result(files.stat(place));
    while (Result.isFailure(found) && found.failure.reason._tag === "NotFound" && place !== dirname(place)) {
      place = dirname(place);
      found = yield* Effect.result(files.stat(place));
    }
    const { type, mode } = yield* Effect.fromResult(found);
    if (type !== "Directory") return broken(`${whole(place)} is no directory`, "name a directory");
    if (place === path && (mode & othersReplace) === othersWrite) {
      return broken(
        `every user may write ${whole(path)}, and replace what others have there`,
        `chmod o-w ${shellWord(path)}, or name another`,
      );
    }
    const denied = whyNotWritable(place);
    if (denied === undefined) return [];
    return broken(
      `this user may not write ${whole(place)}`,
      deniedByDeno(denied) ?? "give it to this user, or name another",
    );
  }).pipe(
    Effect.catch((error) =>
      Effect.succeed(
        broken(missing(path, error), mendOf(error, "give it to this user, or name another")),
      )
    ),
  );
}

/** Synchronous: without the permission, Deno throws outside the promise of the asynchronous call. */
function whyNotWritable(place: string): unknown {
  try {
    return accessSync(place, constants.W_OK | constants.X_OK);
  } catch (error) {
    return error;
  }
}

function checkExecutors(
  executors: Extract<RoleConfig, { role: "worker" }>["executors"],
  { searchPath }: PlacesAround,
): readonly BrokenRule[] {
  return executors.flatMap(({ runtime, cmd }, index): BrokenRule[] => {
    if (runtime !== "process" || cmd === undefined || Result.isSuccess(findProgram(cmd, searchPath))) return [];
    const isPath = cmd.includes("/");
    return [{
      path: ["executors", index, "cmd"],
      wrong: isPath
        ? `there is no program ${whole(cmd)}`
        : `there is no program ${JSON.stringify(cmd)} in PATH (${searchPath})`,
      expected: "an executable file: its path, or its name in PATH",
      mend: isPath ? "correct the path, or make the file executable: chmod +x" : "install it, or write its whole path",
    }];
  });
}

/** A file that a job names. */
interface NamedFile {
  readonly key: readonly string[];
  readonly path: string;
  readonly what: string;
  readonly expected: string;
}

function filesOf({ evaluation, model }: DilocoJobConfig): readonly NamedFile[] {
  return [
    ...(evaluation === undefined ? [] : [{
      key: ["evaluation", "held_out"],
      path: evaluation.heldOut,
      what: "rows",
      expected: "a file of rows to measure the model with",
    }]),
    ...(!("weights" in model) ? [] : [{
      key: ["model", "weights"],
      path: model.weights,
      what: "weights",
      expected: "a safetensors file to begin with",
    }]),
  ];
}

function checkFile({ key, path, what, expected }: NamedFile): Check {
  return Effect.gen(function* () {
    const files = yield* FileSystem;
    const { type } = yield* files.stat(path);
    if (type === "File") yield* Effect.scoped(files.open(path, { flag: "r" }));
    return type === "File" ? undefined : { wrong: `${whole(path)} is no file`, mend: `name a file of ${what}` };
  }).pipe(
    Effect.catch((error) =>
      Effect.succeed({
        wrong: missing(path, error),
        mend: mendOf(error, `put the ${what} there, or correct the path`),
      })
    ),
    Effect.map((found) =>
      found === undefined ? [] : [{
        path: ["scheduler", "job", ...key],
        expected,
        ...found,
      }]
    ),
  );
}

function missing(path: string, error: PlatformError.PlatformError): string {
  switch (error.reason._tag) {
    case "NotFound":
      return `there is no ${whole(path)}`;
    case "PermissionDenied":
      return `this user may not use ${whole(path)}`;
    default:
      return `${whole(path)} cannot be used (${error.reason._tag})`;
  }
}

const mendOf = (error: PlatformError.PlatformError, otherwise: string): string => deniedByDeno(error) ?? otherwise;

/** A path as configured, and the absolute path that it leads to. */
const whole = (path: string): string => `${path}${placeTried(path)}`;
