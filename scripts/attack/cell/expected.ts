/**
 * What is expected of each attack, by level and user: read from `outcomes.json`, which the README's table is made from too.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** `held`, or why not. */
export type Expectation = { readonly held: true } | { readonly held: false; readonly reason: string };

/** Where an attack is not held: by `level/user`. */
type Outcomes = Readonly<Record<string, Readonly<Record<string, string>>>>;

const outcomes: Outcomes = JSON.parse(readFileSync(new URL("./outcomes.json", import.meta.url), "utf8"));

/** What is expected; `held` wherever the file has no reason. */
export function expectationOf(id: string, level: string, user: string): Expectation {
  const reason = outcomes[id]?.[`${level}/${user}`];
  return reason === undefined ? { held: true } : { held: false, reason };
}

/** Every attack that is expected to succeed somewhere. */
export function knownIds(): readonly string[] {
  return Object.keys(outcomes);
}
