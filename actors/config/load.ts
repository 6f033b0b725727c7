/**
 * Reads a role's configuration: TOML, then environment, then flags; checks it whole; gives it its type.
 *
 * @module
 */
import { parse, TomlError } from "@std/toml";
import { Effect, FileSystem, type PlatformError, Result, Schema } from "effect";
import type { Role } from "../../pki/certificate.ts";
import type { RoleConfig } from "./config.ts";
import { stateDirDefault } from "./defaults.ts";
import { locateKeys } from "./locate.ts";
import { ConfigError, type ConfigProblem } from "./problem.ts";
import { problemOfRule, problemsOfIssue, type Situation } from "./problems_of.ts";
import { checkRules } from "./rules.ts";
import { type Decoded, roleSchemas } from "./schema.ts";
import { layerSources, type Surroundings } from "./sources.ts";
import { typeConfig } from "./typed.ts";

/** The configuration of one role. */
export type ConfigOf<R extends Role> = Extract<RoleConfig, { readonly role: R }>;

/** Largest configuration file read, in bytes: a long one has some kilobytes. */
export const fileBytesMax = 1_048_576;

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
  return Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    const { size } = yield* files.stat(file).pipe(Effect.mapError((error) => unreadable(role, file, error)));
    if (size > fileBytesMax) {
      return yield* Effect.fail(wholeFile(file, `has more than ${fileBytesMax} bytes`, "a configuration", role));
    }
    const text = yield* files.readFileString(file).pipe(Effect.mapError((error) => unreadable(role, file, error)));
    const parsed = parseConfig(role, { file, text }, around);
    return Result.isSuccess(parsed) ? parsed.success : yield* Effect.fail(parsed.failure);
  });
}

/** The same, from the file's text. Pure. */
export function parseConfig<R extends Role>(
  role: R,
  { file, text }: { readonly file: string; readonly text: string },
  around: Surroundings,
): Result.Result<ConfigOf<R>, ConfigError> {
  const values = parseToml(file, text);
  if (values instanceof ConfigError) return Result.fail(values);
  const layered = layerSources(role, values, around);
  const decoded = Schema.decodeUnknownResult(roleSchemas[role] as unknown as Schema.Codec<Decoded<R>>, {
    errors: "all",
    onExcessProperty: "error",
  })(layered.values);
  const rules = checkRules(role, layered.values);
  if (Result.isSuccess(decoded) && rules.length === 0 && layered.problems.length === 0) {
    const config = typeConfig(role, decoded.success);
    const stateDir = config.stateDir ?? stateDirDefault(file, around.environment);
    return Result.succeed({ ...config, stateDir } as ConfigOf<R>);
  }
  const situation: Situation = { role, file, layered, locations: locateKeys(text) };
  const problems = [
    ...layered.problems,
    ...(Result.isFailure(decoded) ? problemsOfIssue(situation, decoded.failure.issue) : []),
    ...rules.map((rule) => problemOfRule(situation, rule)),
  ];
  return Result.fail(new ConfigError({ problems: inOrder(problems) }));
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
        mend: "correct the line",
      }],
    });
  }
}

function wholeFile(file: string, wrong: string, expected: string, role: Role): ConfigError {
  return new ConfigError({
    problems: [{
      origin: { type: "file", file, line: 0, column: 0 },
      key: "",
      wrong,
      expected,
      mend: `write one with: hypha-${role} init -o ${file}`,
    }],
  });
}

function unreadable(role: Role, file: string, error: PlatformError.PlatformError): ConfigError {
  const tag = error.reason._tag;
  const wrong = tag === "NotFound"
    ? "there is no such file"
    : tag === "PermissionDenied"
    ? "cannot be read: permission denied"
    : `cannot be read: ${error.reason.message}`;
  return wholeFile(file, wrong, "a readable configuration file", role);
}
