/**
 * Parts of a status as lines for people.
 *
 * @module
 */
import { escapeUnsafe } from "./log_line.ts";
import { ageText, columnsText } from "./trainings_text.ts";
import type { StatusTextOptions } from "./watch_status.ts";

/** What ends sooner is marked, in milliseconds. */
const soonMs = 24 * 60 * 60 * 1_000;

const paint = { good: "\x1b[32m", bad: "\x1b[31m", title: "\x1b[1m" } as const;

/** Lines with unsafe characters escaped, none longer than the terminal is wide. */
export function fitted(lines: readonly string[], { columns, colour }: StatusTextOptions): string {
  return lines.map((line) => {
    const safe = escapeUnsafe(line);
    const cut = safe.length > columns ? `${safe.slice(0, columns - 1)}…` : safe;
    return colour ? coloured(cut) : cut;
  }).join("\n");
}

/** Titles stand out; what is ready is green, what is over or refused red. */
function coloured(line: string): string {
  const style = /^\S.*:$/.test(line)
    ? paint.title
    : /: (ready|issuing)\b/.test(line)
    ? paint.good
    : /\b(failed|overdue|soon|not linked|cannot issue|cannot start|locked)\b/.test(line)
    ? paint.bad
    : undefined;
  return style === undefined ? line : `${style}${line}\x1b[0m`;
}

/** The time until something, short, or that it is over. */
export function untilText(end: string, now: number): string {
  const ms = Date.parse(end) - now;
  if (ms < 0) return `overdue for ${ageText(end, now)}`;
  return `in ${ageText(new Date(now).toISOString(), now + ms)}${ms < soonMs ? ", soon" : ""}`;
}

/** A title and its rows in columns; that there are none in one line. */
export function section(title: string, rows: readonly (readonly string[])[]): readonly string[] {
  return rows.length === 0 ? [`${title}: none`] : [`${title}:`, ...columnsText(rows).split("\n")];
}
