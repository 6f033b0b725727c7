/**
 * Turns a schema's issues into problems with a place, a description and a hint.
 *
 * @module
 */
import type { SchemaIssue } from "effect";
import type { Role } from "../../pki/certificate.ts";
import { foreignKeys } from "./aliases.ts";
import { noteAt, type PathNote } from "./keys.ts";
import type { KeyPath, Locations } from "./locate.ts";
import { nounOf } from "./other_role.ts";
import { type ConfigProblem, nearestName, type Origin, showValue } from "./problem.ts";
import type { BrokenRule } from "./rules.ts";
import type { Layered } from "./sources.ts";

/** What problems are told from. */
export interface Situation {
  readonly role: Role;
  readonly file: string;
  readonly layered: Layered;
  readonly locations: Locations;
}

/** `offer.price`, `executors[0].cmd`; names that TOML would quote are quoted. Bounded: names come from the file. */
export function writeKey(path: KeyPath): string {
  const written = path.map((step) =>
    typeof step === "number"
      ? `[${step}]`
      : /^[A-Za-z0-9_-]+$/.test(String(step))
      ? `.${String(step)}`
      : `.${JSON.stringify(String(step))}`
  ).join("").replace(/^\./, "");
  return written.length > 160 ? `${written.slice(0, 160)}…` : written;
}

/** A problem for a rule that the configuration breaks. */
export function problemOfRule(situation: Situation, { path, wrong, expected, mend }: BrokenRule): ConfigProblem {
  return { origin: originOf(situation, path), key: writeKey(path), wrong, expected, mend };
}

/** Problems for everything a schema found. */
export function problemsOfIssue(situation: Situation, issue: SchemaIssue.Issue): readonly ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  walk(issue, [], (leaf, path) => problems.push(problemOfLeaf(situation, leaf, path)));
  const seen = new Set<string>();
  return problems.filter(({ key }) => !seen.has(key) && seen.add(key)); // several checks of one value: the first tells
}

function walk(
  issue: SchemaIssue.Issue,
  path: KeyPath,
  visit: (leaf: SchemaIssue.Issue, path: KeyPath) => void,
): void {
  if (issue._tag === "Composite") { for (const inner of issue.issues) walk(inner, path, visit); }
  else if (issue._tag === "Pointer") walk(issue.issue, [...path, ...issue.path], visit);
  else if (issue._tag === "Filter" || issue._tag === "Encoding") walk(issue.issue, path, visit);
  else visit(issue, path);
}

function problemOfLeaf(situation: Situation, leaf: SchemaIssue.Issue, path: KeyPath): ConfigProblem {
  if (leaf._tag === "UnexpectedKey") return unknownKey(situation, path);
  if (leaf._tag === "MissingKey") return missingKey(situation, path);
  const note = noteAt(situation.role, path);
  const value = valueAt(situation.layered.values, path);
  const complaint = leaf._tag === "InvalidValue" ? leaf.annotations?.message : undefined;
  return {
    origin: originOf(situation, path),
    key: writeKey(path),
    wrong: complaint === undefined
      ? `is ${showValue(value, note?.secret)}${meantBy(value, note)}`
      : `${showValue(value, note?.secret)} ${complaint}`,
    expected: expectedOf(note),
    mend: `write ${exampleOf(path, note)}`,
  };
}

/** The one of the values known that was likely meant. */
function meantBy(value: unknown, note: PathNote | undefined): string {
  const nearest = typeof value === "string" ? nearestName(value, note?.literals ?? []) : undefined;
  return nearest === undefined ? "" : `, perhaps ${JSON.stringify(nearest)}`;
}

const expectedOf = (note: PathNote | undefined): string =>
  note?.expected ?? (note?.kind === "table" ? `a table with ${note.names.join(", ")}` : "a value");

/** A line as the file could have it; of an entry of a list, the entry. */
function exampleOf(path: KeyPath, note: PathNote | undefined): string {
  const last = path[path.length - 1];
  if (note?.kind === "table") return `it as [${writeKey(path)}]`;
  const example = note?.example ?? "a value";
  return typeof last === "number" ? `for instance ${example}` : `for instance: ${String(last)} = ${example}`;
}

function unknownKey(situation: Situation, path: KeyPath): ConfigProblem {
  const table = path.slice(0, -1);
  const name = String(path[path.length - 1]);
  const names = noteAt(situation.role, table)?.names ?? [];
  const common = { origin: originAt(situation, path, "key"), key: writeKey(path) };
  const foreign = Object.hasOwn(foreignKeys, name) ? foreignKeys[name] : undefined;
  if (foreign !== undefined) return { ...common, expected: "", ...foreign };
  const nearest = nearestName(name, names);
  if (table.length > 0 && noteAt(situation.role, [name]) !== undefined) {
    return {
      ...common,
      wrong: `is no key of ${writeKey(table)}`,
      expected: "it at the top of the file",
      mend: "move it above the first [table]",
    };
  }
  return {
    ...common,
    wrong: `is no key of ${table.length === 0 ? `a ${nounOf(situation.role)}'s configuration` : writeKey(table)}`,
    expected: nearest === undefined ? `one of ${names.join(", ")}` : `perhaps ${nearest}`,
    mend: "correct its name, or take it out",
  };
}

function missingKey(situation: Situation, path: KeyPath): ConfigProblem {
  const note = noteAt(situation.role, path);
  const example = note?.kind === "table"
    ? `a table [${writeKey(path)}]`
    : exampleOf(path, note).replace("for instance: ", "");
  return {
    origin: originAt(situation, path.slice(0, -1), "key"),
    key: writeKey(path),
    wrong: "is missing",
    expected: expectedOf(note),
    mend: `add ${example}`,
  };
}

/** Where the value at `path` came from: environment or a flag for the whole key, else its place in the file. */
function originOf(situation: Situation, path: KeyPath): Origin {
  for (let length = path.length; length > 0; length--) {
    const origin = situation.layered.origins.get(path.slice(0, length).join("."));
    if (origin !== undefined) return origin;
  }
  return originAt(situation, path, "value");
}

/** The position of a key, or of its value, in the file or in the job's source; else that of the table around it. */
function originAt({ file, locations, layered: { job } }: Situation, path: KeyPath, of: "key" | "value"): Origin {
  const inJob = job !== undefined && path[0] === "scheduler" && path[1] === "job";
  if (inJob && job.file === undefined) return { type: "flag", flag: "job" };
  const source = inJob ? job.locations : locations;
  const here = inJob ? [...job.prefix, ...path.slice(2)] : path;
  const other = of === "key" ? "value" : "key";
  const found = Array.from(here, (_, index) => here.slice(0, here.length - index))
    .map((part) => source[of](part) ?? source[other](part)).find((at) => at !== undefined);
  const { line, column } = found ?? { line: 1, column: 1 };
  return { type: "file", file: inJob ? job.file ?? file : file, line, column };
}

function valueAt(values: unknown, path: KeyPath): unknown {
  return path.reduce<unknown>(
    (table, step) =>
      typeof table === "object" && table !== null ? (table as Record<PropertyKey, unknown>)[step] : undefined,
    values,
  );
}
