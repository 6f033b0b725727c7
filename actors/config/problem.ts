/**
 * Problems of a configuration and their messages: one line for each.
 *
 * @module
 */
import { Data } from "effect";

/** Where a value came from. Lines and columns count from 1. */
export type Origin =
  | { readonly type: "file"; readonly file: string; readonly line: number; readonly column: number }
  | { readonly type: "environment"; readonly variable: string }
  | { readonly type: "flag"; readonly flag: string };

/** One thing that is wrong. */
export interface ConfigProblem {
  readonly origin: Origin;
  /** Such as `offer.price`; empty where no key is at fault. */
  readonly key: string;
  /** Continues the sentence begun by the key. */
  readonly wrong: string;
  /** Continues the sentence "expected …"; empty where `wrong` includes it. */
  readonly expected: string;
  /** What to do, as an imperative; empty where `wrong` includes it. */
  readonly mend: string;
}

/** Most problems that one message names: the rest are counted. */
export const problemsMax = 20;

/** A configuration that cannot be used, with everything that is wrong with it. */
export class ConfigError extends Data.TaggedError("ConfigError")<{ readonly problems: readonly ConfigProblem[] }> {
  /** What happened, in one line. */
  override get message(): string {
    const more = this.problems.length - problemsMax;
    const lines = this.problems.slice(0, problemsMax).map(describeProblem);
    return (more > 0 ? [...lines, `… and ${more} more`] : lines).join("\n");
  }
}

/** `file:line:column: key: problem; expected …; what to do`. */
export function describeProblem({ origin, key, wrong, expected, mend }: ConfigProblem): string {
  const said = key === "" ? wrong : `${key}: ${wrong}`;
  return [`${whereIs(origin)}: ${said}`, ...(expected === "" ? [] : [`expected ${expected}`]), mend]
    .filter((part) => part !== "").join("; ");
}

/** A place as messages name it. */
export function whereIs(origin: Origin): string {
  switch (origin.type) {
    case "file":
      return origin.line === 0 ? origin.file : `${origin.file}:${origin.line}:${origin.column}`;
    case "environment":
      return `environment ${origin.variable}`;
    case "flag":
      return `flag --${origin.flag}`;
  }
}

/** Longest value that a message repeats, in characters. */
const shownCharactersMax = 80;

/** A value as a message shows it: on one line, bounded, and never a secret. */
export function showValue(value: unknown, secret = false): string {
  if (secret) return "a value that is not shown";
  if (Array.isArray(value)) return `a list of ${value.length}`;
  if (value instanceof Date) return "a date";
  if (typeof value === "object" && value !== null) return "a table";
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length > shownCharactersMax ? `${text.slice(0, shownCharactersMax)}…` : text;
}

/** The one of `names` that `name` was likely meant to be: at most two slips away, or a third of its length. */
export function nearestName(name: string, names: readonly string[]): string | undefined {
  const limit = Math.max(2, Math.floor(name.length / 3));
  let best: { readonly candidate: string; readonly slips: number } | undefined;
  for (const candidate of names) {
    const slips = slipsBetween(name.slice(0, 64), candidate);
    if (slips <= limit && (best === undefined || slips < best.slips)) best = { candidate, slips };
  }
  return best?.candidate;
}

/** Edit distance after Levenshtein. */
function slipsBetween(left: string, right: string): number {
  let above = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let row = 1; row <= left.length; row++) {
    const current = [row];
    for (let column = 1; column <= right.length; column++) {
      const replaced = (above[column - 1] ?? 0) + (left[row - 1] === right[column - 1] ? 0 : 1);
      current.push(Math.min(replaced, (above[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1));
    }
    above = current;
  }
  return above[right.length] ?? 0;
}
