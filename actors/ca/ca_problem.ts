/**
 * What is wrong in a CA's configuration: the key and its line.
 *
 * @module
 */
import type { Schema, SchemaIssue } from "effect";
import { type KeyPath, locateKeys } from "../config/locate.ts";
import { writeKey } from "../config/problems_of.ts";

/** One line about the first thing that a schema found. */
export function caProblem({ issue, message }: Schema.SchemaError, toml: string): string {
  const { leaf, path } = firstLeaf(issue, []);
  const locations = locateKeys(toml);
  const places = path.map((_, index) => locations.key(path.slice(0, path.length - index)));
  const line = places.find((place) => place !== undefined)?.line ?? 1;
  const key = writeKey(path);
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
