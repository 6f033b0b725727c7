/**
 * Trainings as lines for people.
 *
 * @module
 */
import type { ShownMember, ShownStatus, ShownTraining } from "../../actors/scheduler/status.ts";
import { escapeUnsafe } from "./log_line.ts";

/** A loss, short. */
const lossText = (loss: number | null): string => loss === null ? "-" : loss.toPrecision(4);

/** A time that has passed, short: `12 s`, `5 min`, `3 h`, `2 d`. */
export function ageText(since: string | null, now: number): string {
  if (since === null) return "-";
  const seconds = Math.max(0, Math.round((now - Date.parse(since)) / 1_000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7_200) return `${Math.round(seconds / 60)} min`;
  return seconds < 172_800 ? `${Math.round(seconds / 3_600)} h` : `${Math.round(seconds / 86_400)} d`;
}

/** Columns that are as wide as their longest cell. Unsafe characters are escaped: a cell with a line end would be read as a line of its own. */
export function columnsText(written: readonly (readonly string[])[]): string {
  const rows = written.map((row) => row.map(escapeUnsafe));
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()).join("\n");
}

/** One line a training. */
export function listText(trainings: readonly ShownTraining[], now: number): string {
  if (trainings.length === 0) return "no trainings; add one with: hypha-scheduler submit FILE";
  return columnsText([
    ["id", "name", "state", "round", "loss", "members", "age"],
    ...trainings.map(({ id, name, state, round, rounds, loss, members, submitted }) => [
      id,
      name,
      state,
      `${round}/${rounds}`,
      lossText(loss),
      `${members}`,
      ageText(submitted, now),
    ]),
  ]);
}

/** All of one training. */
export function statusText(shown: ShownStatus, now: number): string {
  const { id, name, state, reason, round, rounds, run, losses, accuracy, members, out, rejections, bytes } = shown;
  const measured = typeof shown.accuracyRound === "number" ? ` (round ${shown.accuracyRound})` : "";
  const rejected = Object.entries(rejections).map(([code, count]) => `${code} ${count}`).join(", ");
  const recent = losses.slice(-5).map((each) => `${lossText(each.loss)} (round ${each.round})`).join(", ");
  const lines = [
    `${id} (${name}): ${state}${reason === null ? "" : `: ${reason}`}, for ${ageText(shown.since, now)}`,
    `round ${round} of ${rounds}${run === null ? "" : `, run ${run}`}${
      shown.roundSeconds === null ? "" : `, ${shown.roundSeconds.toFixed(1)} s for the newest`
    }`,
    ...(recent === "" ? [] : [`loss: ${recent}`]),
    ...(accuracy === null ? [] : [`accuracy on held-out rows: ${(accuracy * 100).toFixed(1)} %${measured}`]),
    ...(rejected === "" ? [] : [`rejected updates, as the aggregator claims: ${rejected}`]),
    ...(bytes.received + bytes.sent === 0
      ? []
      : [`model: ${bytes.received} bytes received, ${bytes.sent} bytes served`]),
  ];
  const outTitle = ["done", "failed", "cancelled"].includes(state) ? "took part" : "left";
  return [...lines.map(escapeUnsafe), ...memberLines("members", members, now), ...memberLines(outTitle, out, now)].join(
    "\n",
  );
}

function memberLines(title: string, members: readonly ShownMember[], now: number): readonly string[] {
  if (members.length === 0) return [];
  const rows = members.map(({ name, part, last, at, loss }) => [
    `  ${name}`,
    part,
    last,
    at === null ? "" : `${ageText(at, now)} ago`,
    loss === null ? "" : `loss ${lossText(loss)}`,
  ]);
  return [`${title}:`, columnsText(rows)];
}

/** One line of a training's log. */
export function logText({ at, level, name, message }: Readonly<Record<string, unknown>>): string {
  const about = typeof name === "string" ? ` [${name}]` : "";
  return `${at} ${String(level).toUpperCase().padEnd(5)}${about} ${message}`;
}

/** What a cancelled training leaves. */
export function cancelText(
  { id, members }: {
    readonly id: string;
    readonly members: readonly { readonly name: string; readonly endsBy: string | null }[];
  },
): string {
  const late = members.filter(({ endsBy }) => endsBy !== null);
  const told = members.length - late.length;
  return [
    `${id} is cancelled: ${told} workers were told to end its executors and to free their leases, within 6 s`,
    ...late.map(({ name, endsBy }) =>
      `${name} is of the existing network and knows no such message: its executor and lease end by ${endsBy}`
    ),
  ].map(escapeUnsafe).join("\n");
}

/** Where a resumed training goes on. */
export function resumeText(
  { id, round, keepsModel }: { readonly id: string; readonly round: number; readonly keepsModel?: boolean },
): string {
  return keepsModel === false
    ? `${id} begins again at round 0: its model was not kept`
    : `${id} goes on after round ${round}`;
}
