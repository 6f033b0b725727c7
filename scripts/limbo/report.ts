/**
 * A run over a suite: the verdict of each case, the expected one, and the unexpected differences.
 *
 * @module
 */
import exceptions from "./exceptions.json" with { type: "json" };
import { evaluateCase, type LimboVerdict } from "./evaluate.ts";
import type { LimboCase } from "./suite.ts";

/** One line of the report. */
interface LimboLine {
  readonly id: string;
  readonly expected: "SUCCESS" | "FAILURE";
  readonly actual: "SUCCESS" | "FAILURE";
  readonly code: string | null;
  readonly reason: string | null;
  /** Why we are stricter than the suite here, where that is known and meant. */
  readonly exception: string | null;
}

/** The result of a run. */
export interface LimboReport {
  readonly runtime: "node" | "deno";
  readonly cases: readonly LimboLine[];
  readonly unexpectedAccepts: readonly string[];
  /** Refused, not expected, and no exception. */
  readonly unexpectedRefusals: readonly string[];
  readonly crashes: readonly string[];
}

/**
 * A rule by which we refuse a case that the suite wants accepted: the code and words (one of them) of that refusal, the case of
 * the suite that wants it so, and those that it is known to hit: of the suite, or of ours (`own::`) where the part of the
 * suite at hand has none. A case that none of the rows names, refused by the same rule, counts as
 * known too: the contradiction is the suite's own.
 */
interface LimboException {
  readonly rule: string;
  readonly code: string;
  readonly says: readonly string[];
  readonly contradicts: string;
  readonly reason: string;
  readonly cases: readonly string[];
}

/** All there are. */
const knownExceptions: readonly LimboException[] = exceptions;

/** Evaluates all cases. A verdict that throws is a crash, and counts as a refusal. */
export function runSuite(cases: readonly LimboCase[], now: Date): LimboReport {
  const crashes: string[] = [];
  const lines = cases.map((given): LimboLine => {
    const { actual, code, reason } = evaluateSafely(given, now, crashes);
    const stricter = given.expected_result === "SUCCESS" && actual === "FAILURE";
    return {
      id: given.id,
      expected: given.expected_result,
      actual,
      code: code ?? null,
      reason: reason ?? null,
      exception: stricter ? exceptionFor(code, reason) : null,
    };
  });
  const ids = (wrong: (line: LimboLine) => boolean) => lines.filter(wrong).map(({ id }) => id);
  return {
    runtime: "Deno" in globalThis ? "deno" : "node",
    cases: lines,
    unexpectedAccepts: ids(({ expected, actual }) => expected === "FAILURE" && actual === "SUCCESS"),
    unexpectedRefusals: ids(({ expected, actual, exception }) =>
      expected === "SUCCESS" && actual === "FAILURE" && exception === null
    ),
    crashes,
  };
}

function exceptionFor(code: string | undefined, reason: string | undefined): string | null {
  return knownExceptions.find((row) => row.code === code && row.says.some((words) => reason?.includes(words)))
    ?.reason ?? null;
}

/** Cases of exceptions that a run over all of them does not show any more, and cases that the rows should name. */
export function staleExceptions({ cases }: Pick<LimboReport, "cases">): readonly string[] {
  const named = knownExceptions.flatMap((row) => row.cases);
  const seen = cases.filter(({ exception }) => exception !== null).map(({ id }) => id);
  return [...named.filter((id) => !seen.includes(id)), ...seen.filter((id) => !named.includes(id))];
}

function evaluateSafely(given: LimboCase, now: Date, crashes: string[]): LimboVerdict {
  try {
    return evaluateCase(given, now);
  } catch (error) {
    crashes.push(given.id);
    return { actual: "FAILURE", code: "internal", reason: `crash: ${String(error)}` };
  }
}
