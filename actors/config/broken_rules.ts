/**
 * Rules that a configuration breaks only on this machine, told with the place of each key.
 *
 * @module
 */
import { parse } from "@std/toml";
import { Effect, FileSystem } from "effect";
import type { Role } from "../../pki/certificate.ts";
import { locateRenamed, renameKeys } from "./aliases.ts";
import { locateKeys } from "./locate.ts";
import { ConfigError } from "./problem.ts";
import { problemOfRule } from "./problems_of.ts";
import type { BrokenRule } from "./rules.ts";
import { layerSources, type Surroundings } from "./sources.ts";

/**
 * The error for rules that a loaded configuration breaks. The file is read again for the places of its keys; where it is
 * gone meanwhile, they are told without.
 */
export function errorOfRules(
  { role, file, around }: { readonly role: Role; readonly file: string; readonly around: Surroundings },
  rules: readonly BrokenRule[],
): Effect.Effect<ConfigError, never, FileSystem.FileSystem> {
  return Effect.gen(function* () {
    const files = yield* FileSystem.FileSystem;
    const text = yield* files.readFileString(file).pipe(Effect.orElseSucceed(() => ""));
    const values = valuesOf(text);
    const renamed = renameKeys(values);
    const layered = layerSources(role, values, around);
    const situation = { role, file, layered, locations: locateRenamed(locateKeys(text), renamed) };
    return new ConfigError({ problems: rules.map((rule) => problemOfRule(situation, rule)) });
  });
}

function valuesOf(text: string): Record<string, unknown> {
  try {
    return parse(text);
  } catch {
    return {};
  }
}
