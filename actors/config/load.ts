/**
 * Reads a role's configuration: TOML, then environment, then flags; checks it whole; gives it its type.
 *
 * @module
 */
import { parse, TomlError } from "@std/toml";
import { Effect, FileSystem, type PlatformError, Result, Schema } from "effect";
import type { Role } from "../../pki/certificate.ts";
import { deniedByDeno } from "../files/denied.ts";
import { fileProblem } from "../files/file_problem.ts";
import { locateRenamed, problemsOfTwice, renameKeys } from "./aliases.ts";
import type { DilocoJobConfig, RoleConfig } from "./config.ts";
import { type ConfigReading, readingOf, writtenIn } from "./config_reading.ts";
import { stateDirDefault } from "./defaults.ts";
import type { JobSource } from "./job_source.ts";
import { locateKeys } from "./locate.ts";
import { problemOfOtherRole } from "./other_role.ts";
import { ConfigError, type ConfigProblem } from "./problem.ts";
import { placeTried } from "../files/place_tried.ts";
import { problemOfRule, problemsOfIssue, type Situation } from "./problems_of.ts";
import { type BrokenRule, checkRules } from "./rules.ts";
import { type Decoded, roleSchemas } from "./schema.ts";
import { layerSources, type Surroundings } from "./sources.ts";
import { checkTable } from "./submitted_job.ts";
import { typeConfig } from "./typed.ts";
import { shellWord } from "../files/shell_word.ts";

/** The configuration of one role. */
export type ConfigOf<R extends Role> = Extract<RoleConfig, { readonly role: R }>;

/** Largest configuration file read, in bytes: a long one has some kilobytes. */
export const fileBytesMax = 1_048_576;

const stateDirSchema = Schema.Struct({ state_dir: roleSchemas.gateway.fields.state_dir });

/**
 * Reads and checks the configuration file `file` of `role`.
 *
 * @param around Environment and flags, which override the file in that order.
 * @returns The typed configuration, or everything that is wrong with it.
 */
export function loadConfig<R extends Role>(
  role: R,
  file: string,
  around: Surroundings,
): Effect.Effect<ConfigOf<R>, ConfigError, FileSystem.FileSystem> {
  return Effect.map(readConfig(role, file, around), ({ config }) => config);
}

/** A configuration, and what the file says to a node that runs already. */
export interface ReadConfig<R extends Role> {
  readonly config: ConfigOf<R>;
  readonly reading: ConfigReading;
}

/** The same as {@linkcode loadConfig}, for a node that reads its file again while it runs. */
export function readConfig<R extends Role>(
  role: R,
  file: string,
  around: Surroundings,
): Effect.Effect<ReadConfig<R>, ConfigError, FileSystem.FileSystem> {
  return Effect.flatMap(
    readText(role, file),
    (text) => Effect.fromResult(parseText(role, { file, text }, around)),
  );
}

/**
 * The state directory of a node that may run already: all that commands to it need. What else is wrong with its configuration, or
 * lies in flags that it was started with, does not keep them from it.
 */
export function readStateDir(
  role: Role,
  file: string,
  environment: Surroundings["environment"],
): Effect.Effect<string, ConfigError, FileSystem.FileSystem> {
  return Effect.flatMap(
    readText(role, file),
    (text) => Effect.fromResult(parseStateDir(role, { file, text }, environment)),
  );
}

function readText(role: Role, file: string): Effect.Effect<string, ConfigError, FileSystem.FileSystem> {
  return Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    const { size, type } = yield* files.stat(file).pipe(Effect.mapError((error) => unreadable(role, file, error)));
    if (type === "Directory") {
      const mend = `name the file in it: hypha-${role} run -c ${shellWord(`${file.replace(/\/$/, "")}/config.toml`)}`;
      return yield* Effect.fail(wholeFile(file, "is a directory", "a configuration file", mend));
    }
    if (size > fileBytesMax) {
      const mend = "name the node's configuration: a long one has some kilobytes";
      return yield* Effect.fail(wholeFile(file, `has more than ${fileBytesMax} bytes`, "a configuration", mend));
    }
    return yield* files.readFileString(file).pipe(Effect.mapError((error) => unreadable(role, file, error)));
  });
}

/** The same, from the file's text. Pure. */
export function parseConfig<R extends Role>(
  role: R,
  { file, text }: { readonly file: string; readonly text: string },
  around: Surroundings,
): Result.Result<ConfigOf<R>, ConfigError> {
  return Result.map(parseText(role, { file, text }, around), ({ config }) => config);
}

function parseText<R extends Role>(
  role: R,
  { file, text }: { readonly file: string; readonly text: string },
  around: Surroundings,
): Result.Result<ReadConfig<R>, ConfigError> {
  const values = parseToml(file, text);
  if (values instanceof ConfigError) return Result.fail(values);
  const written = locateKeys(text);
  const isBare = Object.keys(values).length === 0;
  const other = problemOfOtherRole(role, values, { file, locations: written });
  if (other !== undefined) return Result.fail(new ConfigError({ problems: [other] }));
  const renamed = renameKeys(values);
  const inFile = writtenIn(text, values);
  const layered = layerSources(role, values, around);
  const decoded = Schema.decodeUnknownResult(roleSchemas[role] as unknown as Schema.Codec<Decoded<R>>, {
    errors: "all",
    onExcessProperty: "error",
  })(layered.values);
  const rules = checkRules(role, layered.values, around.purpose);
  const before = [...problemsOfTwice(file, written, renamed), ...layered.problems];
  if (Result.isSuccess(decoded) && rules.length === 0 && before.length === 0) {
    const typed = typeConfig(role, decoded.success);
    const stateDir = typed.stateDir ?? stateDirDefault(file, around.environment);
    const config = { ...typed, stateDir } as ConfigOf<R>;
    return Result.succeed({ config, reading: readingOf(layered, inFile, config.authorization?.rules ?? []) });
  }
  const situation: Situation = { role, file, layered, locations: locateRenamed(written, renamed) };
  const problems = [...before, ...problemsOf(situation, decoded, rules)];
  if (isBare && problems.every(({ wrong }) => wrong === "is missing")) {
    return Result.fail(wholeFile(file, "has no key in it", "a configuration", writeOne(role, file)));
  }
  return Result.fail(new ConfigError({ problems: inOrder(problems) }));
}

function parseStateDir(
  role: Role,
  { file, text }: { readonly file: string; readonly text: string },
  environment: Surroundings["environment"],
): Result.Result<string, ConfigError> {
  const values = parseToml(file, text);
  if (values instanceof ConfigError) return Result.fail(values);
  const locations = locateKeys(text);
  const other = problemOfOtherRole(role, values, { file, locations });
  if (other !== undefined) return Result.fail(new ConfigError({ problems: [other] }));
  const layered = layerSources(role, values, { environment, flags: {} });
  const decoded = Schema.decodeUnknownResult(stateDirSchema)(layered.values);
  return Result.mapBoth(decoded, {
    onSuccess: ({ state_dir }) => state_dir ?? stateDirDefault(file, environment),
    onFailure: ({ issue }) => new ConfigError({ problems: problemsOfIssue({ role, file, layered, locations }, issue) }),
  });
}

/** Checks a job that is submitted; what is wrong names its place in the source. */
export function checkJob(source: JobSource): Result.Result<DilocoJobConfig, ConfigError> {
  return Result.mapError(checkTable(source.values), ({ decoded, rules }) => {
    const layered = { values: { scheduler: { job: source.values } }, origins: new Map(), job: source, problems: [] };
    const situation: Situation = {
      role: "scheduler",
      file: source.file ?? "",
      layered,
      locations: source.locations,
    };
    return new ConfigError({ problems: inOrder(problemsOf(situation, decoded, rules)) });
  });
}

/** All that the schema and the rules found. */
function problemsOf(
  situation: Situation,
  decoded: Result.Result<unknown, Schema.SchemaError>,
  rules: readonly BrokenRule[],
): readonly ConfigProblem[] {
  return [
    ...(Result.isFailure(decoded) ? problemsOfIssue(situation, decoded.failure.issue) : []),
    ...rules.map((rule) => problemOfRule(situation, rule)),
  ];
}

/** Environment and flags first, then the file from its top. */
function inOrder(problems: readonly ConfigProblem[]): readonly ConfigProblem[] {
  const place = ({ origin }: ConfigProblem) => origin.type === "file" ? origin.line * 100_000 + origin.column : 0;
  return problems.toSorted((left, right) => place(left) - place(right));
}

function parseToml(file: string, text: string): Record<string, unknown> | ConfigError {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const wrong = (error.message.split("\n")[0] ?? "").replace("Invalid TOML document: ", "");
    return new ConfigError({
      problems: [{
        origin: { type: "file", file, line: error.line, column: error.column },
        key: "",
        wrong: `is not TOML here: ${wrong}`,
        expected: "TOML 1.0",
        mend: mendOfToml(text.split("\n")[error.line - 1] ?? "", wrong),
      }],
    });
  }
}

/** What was likely meant. The line itself is not repeated: it may hold a secret. */
function mendOfToml(line: string, wrong: string): string {
  const value = /^\s*[\w.-]+\s*=\s*(.*)$/.exec(line)?.[1];
  if (/^\s*(\{|"[^"]*"\s*:)/.test(line)) return 'this looks like JSON: write key = "text", and tables as [table]';
  if (value === undefined && /^\s*[\w.-]+:(\s|$)/.test(line)) return "this looks like YAML: write key = value";
  if (/escape/.test(wrong)) return "write \\\\ for each \\, or put the text into single quotes";
  if (/^(true|false|yes|no|on|off)\b/i.test(value ?? "")) return "write true or false";
  return /^[A-Za-z~./]/.test(value ?? "") ? 'put text into quotes: key = "text"' : "correct the line";
}

const writeOne = (role: Role, file: string): string => `write one with: hypha-${role} init -o ${shellWord(file)}`;

function wholeFile(file: string, wrong: string, expected: string, mend: string): ConfigError {
  return new ConfigError({
    problems: [{
      origin: { type: "file", file, line: 0, column: 0 },
      key: "",
      wrong,
      expected,
      mend,
    }],
  });
}

/** A file that is there is not to be written again: it may be good. */
function unreadable(role: Role, file: string, error: PlatformError.PlatformError): ConfigError {
  const tag = error.reason._tag;
  const denied = deniedByDeno(error);
  const [wrong, mend] = denied !== undefined
    ? [`cannot be read: ${denied}`, "run it with that flag"]
    : tag === "NotFound"
    ? [`there is no such file${placeTried(file)}`, writeOne(role, file)]
    : tag === "PermissionDenied"
    ? ["cannot be read: permission denied", "let the node's user read it, and run it as that user"]
    : [`cannot be read: ${fileProblem(error)}`, "see the disk, and the limits of this process"];
  return wholeFile(file, wrong, "a readable configuration file", mend);
}
