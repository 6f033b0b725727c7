/**
 * The expected outcome of each attack, by level and user: read from `outcomes.json`, from which the table of
 * `docs/security.md` is made too.
 *
 * @module
 */
import { readFileSync } from "node:fs";

/** `held`, or why not. */
type Expectation = { readonly held: true } | { readonly held: false; readonly reason: string };

/** Where an attack is held, and by `level/user` why not. */
export interface Outcome {
  readonly held: readonly string[];
  readonly notHeld: Readonly<Record<string, string>>;
}

/** All places of a worker, the strongest first. Only root has level `root`. */
export const places = [
  "full/root",
  "root/root",
  "namespaces/root",
  "bare/root",
  "full/user",
  "namespaces/user",
  "bare/user",
] as const;

/** By attack, in the file's order. */
export const outcomes: ReadonlyMap<string, Outcome> = new Map(
  Object.entries(
    JSON.parse(readFileSync(new URL("./outcomes.json", import.meta.url), "utf8")) as Record<
      string,
      { readonly held: readonly string[] } & Readonly<Record<string, string>>
    >,
  ).map(([id, { held, ...notHeld }]) => [id, { held, notHeld: notHeld as Readonly<Record<string, string>> }]),
);

/** The expected result; undefined where the file has none: then every result is a deviation. */
export function expectationOf(id: string, level: string, user: string): Expectation | undefined {
  const outcome = outcomes.get(id);
  const place = `${level}/${user}`;
  const reason = outcome?.notHeld[place];
  if (reason !== undefined) return { held: false, reason };
  return outcome?.held.includes(place) === true ? { held: true } : undefined;
}
