/**
 * What is wrong in a CA's configuration: the key and its line.
 *
 * @module
 */
import type { Schema, SchemaIssue } from "effect";

/** Characters of a key that are shown: it comes from the file. */
const keyCharactersMax = 160;

type KeyPath = readonly PropertyKey[];

/** One line about the first thing that a schema found. */
export function caProblem({ issue, message }: Schema.SchemaError, toml: string): string {
  const { leaf, path } = firstLeaf(issue, []);
  const key = path.map(String).join(".").slice(0, keyCharactersMax);
  const line = lineOf(toml, path);
  if (leaf._tag === "UnexpectedKey") return `line ${line}: ${key} is no key; correct its name, or take it out`;
  if (leaf._tag === "MissingKey") return `${key} is missing`;
  return `line ${line}: ${key}: ${message.trim().replace(/\s*\n\s*/g, " ")}`;
}

function firstLeaf(
  issue: SchemaIssue.Issue,
  path: KeyPath,
): { readonly leaf: SchemaIssue.Issue; readonly path: KeyPath } {
  if (issue._tag === "Composite") return firstLeaf(issue.issues[0], path);
  if (issue._tag === "Pointer") return firstLeaf(issue.issue, [...path, ...issue.path]);
  if (issue._tag === "Filter" || issue._tag === "Encoding") return firstLeaf(issue.issue, path);
  return { leaf: issue, path };
}

/**
 * The line of a key, or of the table around it; of an entry of a list of tables, that of the first one. By a search in the text: a parser
 * that keeps positions would take 20 MB of each running CA.
 */
function lineOf(toml: string, path: KeyPath): number {
  const wanted = path.filter((part) => typeof part !== "number").map(String);
  const isBegin = (place: readonly string[]) => place.every((part, index) => part === wanted[index]);
  let [table, line, length]: [readonly string[], number, number] = [[], 1, 0];
  for (const [index, text] of toml.split("\n").entries()) {
    const header = /^\s*\[\[?\s*([\w.-]+)\s*\]/.exec(text)?.[1];
    const key = /^\s*([\w.-]+)\s*=/.exec(text)?.[1];
    if (header !== undefined) table = header.split(".");
    const place = header !== undefined ? table : key !== undefined ? [...table, ...key.split(".")] : [];
    if (place.length > length && place.length <= wanted.length && isBegin(place)) {
      [line, length] = [index + 1, place.length];
    }
  }
  return line;
}
