/**
 * The result of a run: scores, survivors with their reasons, and the errors of the list of survivors.
 *
 * @module
 */
import { readFileSync } from "node:fs";
import type { Mutant } from "./mutants.ts";
import type { Verdict } from "./run.ts";

/** A row of `survivors.json`: why these mutants may survive. */
export interface Accepted {
  readonly reason: string;
  readonly mutants: readonly string[];
}

/** A mutant that no test noticed. */
interface Survivor {
  readonly id: string;
  readonly file: string;
  readonly line: number;
  readonly original: string;
  readonly mutated: string;
  /** The reason why it may survive; null where the list has none. */
  readonly reason: string | null;
}

/** Counts of one file. */
interface FileCounts {
  readonly file: string;
  readonly killed: number;
  readonly timedOut: number;
  readonly survived: number;
}

/** The output of `--json`. */
export interface MutationReport {
  readonly runtime: "node" | "deno";
  readonly seed: number;
  readonly seconds: number;
  /** All mutants of the plan's files, evaluated or not. */
  readonly total: number;
  readonly judged: number;
  readonly killed: number;
  readonly timedOut: number;
  readonly survived: number;
  /** Chosen, but not evaluated before the time was over. */
  readonly unjudged: number;
  /** The share of evaluated mutants that were killed or timed out, 0 … 1. */
  readonly score: number;
  readonly files: readonly FileCounts[];
  readonly survivors: readonly Survivor[];
  /** Listed as survivors, and noticed by a test now. */
  readonly stale: readonly string[];
  /** Listed as survivors, and no mutants at all (any more). */
  readonly gone: readonly string[];
  readonly ok: boolean;
}

/** Reads the list of survivors. */
export function readAccepted(path: string): readonly Accepted[] {
  return JSON.parse(readFileSync(path, "utf8")) as readonly Accepted[];
}

interface Facts {
  readonly runtime: "node" | "deno";
  readonly seed: number;
  readonly seconds: number;
  readonly total: number;
  readonly chosen: readonly Mutant[];
  /** Every mutant of these files, to distinguish those that are gone from those not chosen. */
  readonly known: ReadonlySet<string>;
  readonly inScope: (id: string) => boolean;
  readonly verdicts: ReadonlyMap<string, Verdict>;
  readonly accepted: readonly Accepted[];
}

/** Puts the report together. */
export function reportOf({ chosen, verdicts, accepted, known, inScope, ...facts }: Facts): MutationReport {
  const reasons = new Map(accepted.flatMap(({ reason, mutants }) => mutants.map((id) => [id, reason] as const)));
  const judged = chosen.filter(({ id }) => verdicts.has(id));
  const outcomes = (mutants: readonly Mutant[], outcome: Verdict["outcome"]) =>
    mutants.filter(({ id }) => verdicts.get(id)?.outcome === outcome);
  const counts = (mutants: readonly Mutant[]) => ({
    killed: outcomes(mutants, "killed").length,
    timedOut: outcomes(mutants, "timed out").length,
    survived: outcomes(mutants, "survived").length,
  });
  const files = [...new Set(judged.map(({ file }) => file))];
  const survivors = outcomes(judged, "survived").map(({ id, file, line, original, mutated }) => ({
    id,
    file,
    line,
    original,
    mutated,
    reason: reasons.get(id) ?? null,
  }));
  const listed = [...reasons.keys()].filter(inScope);
  const stale = listed.filter((id) => verdicts.has(id) && verdicts.get(id)?.outcome !== "survived");
  const gone = listed.filter((id) => !known.has(id));
  const whole = counts(judged);
  const unjudged = chosen.length - judged.length;
  const unlisted = survivors.some(({ reason }) => reason === null);
  return {
    ...facts,
    judged: judged.length,
    ...whole,
    unjudged,
    score: judged.length === 0 ? 0 : (whole.killed + whole.timedOut) / judged.length,
    files: files.map((file) => ({ file, ...counts(judged.filter((mutant) => mutant.file === file)) })),
    survivors,
    stale,
    gone,
    ok: judged.length > 0 && !unlisted && stale.length + gone.length + unjudged === 0,
  };
}

/** The report as a person reads it. */
export function reportText(report: MutationReport): string {
  const { files, survivors, stale, gone, judged, total, killed, timedOut, survived, unjudged, score, seed, seconds } =
    report;
  const rows = files.map((each) => `| ${each.file} | ${each.killed} | ${each.timedOut} | ${each.survived} |`);
  const place = ({ file, line, original, mutated }: Survivor) => `${file}:${line}: ${original} → ${mutated}`;
  const list = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : ["", title, ...lines.map((line) => `  ${line}`)];
  const unlisted = survivors.filter(({ reason }) => reason === null);
  const accepted = survivors.flatMap((each) => each.reason === null ? [] : [`${place(each)}\n    ${each.reason}`]);
  return [
    "| file | killed | timed out | survived |",
    "| --- | --- | --- | --- |",
    ...rows,
    ...list("Survived, with a reason in scripts/mutate/survivors.json:", accepted),
    ...list(
      "Survived without a reason: write the test that is missing, or list it:",
      unlisted.map((each) => `${place(each)}\n    ${each.id}`),
    ),
    ...list("Listed as survivors, but a test notices them now: take them out of the list:", stale),
    ...list("Listed as survivors, but there is no such mutant: correct the list:", gone),
    "",
    `${judged} of ${total} mutants evaluated (seed ${seed}) in ${seconds} s: ${killed} killed, ${timedOut} timed out, ${survived} survived` +
    (unjudged > 0 ? `, ${unjudged} not evaluated in time` : ""),
    `score ${(score * 100).toFixed(1)} %, ${unlisted.length} survivors without a reason`,
  ].join("\n");
}
