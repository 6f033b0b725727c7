/**
 * What a reading of a configuration's file says to a node that runs: its rules count at once, its other keys from the next start.
 *
 * @module
 */
import type { RuleText } from "../../transport/authorization/rules.ts";
import { whereIs } from "./problem.ts";
import type { Layered } from "./sources.ts";

/** A reading of a file that loads. */
export interface ConfigReading {
  readonly rules: readonly RuleText[];
  /** The file's own rules, as JSON: environment and flags may override them. */
  readonly rulesWritten: string;
  /** The environment variable or the flag that overrides them. */
  readonly rulesFrom: string | undefined;
  /** The values of all other keys, as JSON, by key. */
  readonly others: ReadonlyMap<string, string>;
  /** Whether the file's last line has its end. A file that is half written may lack it. */
  readonly isEnded: boolean;
}

/** The part of a file's text that a {@linkcode ConfigReading} has besides its values. */
export interface Written {
  readonly rulesWritten: string;
  readonly isEnded: boolean;
}

const rulesKey = "authorization.rules";

/** Before environment and flags are laid over the values. */
export function writtenIn(text: string, values: Readonly<Record<string, unknown>>): Written {
  const rules = asJson((values["authorization"] as { readonly rules?: unknown } | undefined)?.rules);
  return { rulesWritten: rules, isEnded: text.endsWith("\n") };
}

/** Afterwards. */
export function readingOf(
  { values, origins }: Layered,
  written: Written,
  rules: readonly RuleText[],
): ConfigReading {
  const origin = origins.get(rulesKey);
  const others = new Map(leavesOf(values, []).filter(([key]) => key !== rulesKey));
  return { ...written, rules, rulesFrom: origin === undefined ? undefined : whereIs(origin), others };
}

/** Keys whose values differ, in the order of the alphabet. */
export function changedKeys(before: ConfigReading, after: ConfigReading): readonly string[] {
  const keys = new Set([...before.others.keys(), ...after.others.keys()]);
  return [...keys].filter((key) => before.others.get(key) !== after.others.get(key)).toSorted();
}

/** The values below a table, by key. A list is one value. */
function leavesOf(table: object, path: readonly string[]): readonly (readonly [key: string, json: string])[] {
  return Object.entries(table).flatMap(([name, value]) => {
    const key = [...path, name];
    const isTable = typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Date);
    return isTable ? leavesOf(value, key) : [[key.join("."), asJson(value)] as const];
  });
}

const asJson = (value: unknown): string => JSON.stringify(value) ?? "";
