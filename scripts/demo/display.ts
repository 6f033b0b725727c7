/**
 * What the demo shows while it runs: a bar on a terminal, plain lines elsewhere.
 *
 * @module
 */
import process from "node:process";

/** Where progress goes. */
export interface Display {
  /** A stage begins. */
  stage(title: string): void;
  /** Something worth a line happened. */
  note(text: string): void;
  /** Training goes on: `done` of `total` rounds. */
  progress(done: number, total: number, text: string): void;
  /** Takes the bar away. */
  clear(): void;
}

const barWidth = 28;

/** Bars on a terminal; lines with `NO_COLOR`, in CI, or where the output is no terminal. */
export function makeDisplay({ json }: { json: boolean }): Display {
  const out = json ? process.stderr : process.stdout;
  const { NO_COLOR, CI } = process.env;
  const plain = !out.isTTY || (NO_COLOR ?? "") !== "" || (CI ?? "") !== "";
  const start = performance.now();
  const seconds = () => ((performance.now() - start) / 1_000).toFixed(1).padStart(6);
  const line = (text: string) => {
    if (!plain) out.write("\r\x1b[2K");
    out.write(`${text}\n`);
  };
  return {
    stage: (title) => line(plain ? `${seconds()} s  ${title}` : `\x1b[1m${seconds()} s  ${title}\x1b[0m`),
    note: (text) => line(`${seconds()} s    ${text}`),
    progress: (done, total, text) => {
      if (plain) return line(`${seconds()} s    round ${done}/${total}  ${text}`);
      const filled = Math.round((done / total) * barWidth);
      const bar = `${"█".repeat(filled)}${"░".repeat(barWidth - filled)}`;
      out.write(`\r\x1b[2K${seconds()} s    \x1b[36m${bar}\x1b[0m round ${done}/${total}  ${text}`);
    },
    clear: () => {
      if (!plain) out.write("\r\x1b[2K");
    },
  };
}

/** A table with its columns aligned. */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows
    .map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd())
    .join("\n");
}
