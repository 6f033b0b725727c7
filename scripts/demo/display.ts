/**
 * The output of the demo: on a terminal a bar, and no line wider than the terminal; plain lines elsewhere.
 *
 * @module
 */
import process from "node:process";

/** The output of a display: standard output or standard error. */
interface Screen {
  readonly isTTY?: boolean;
  readonly columns?: number;
  write(text: string): unknown;
}

/** Where progress goes. */
export interface Display {
  /** A stage begins. */
  stage(title: string): void;
  /** Something worth a line happened. */
  note(text: string): void;
  /** Shows the progress of the training: `done` of `total` rounds. */
  progress(done: number, total: number, text: string): void;
  /** A line of the result, or an empty one. */
  line(text: string): void;
  /** A table; its first row are the headings. */
  table(rows: readonly (readonly string[])[]): void;
  /** The last line: how it went. */
  verdict(text: string, held: boolean): void;
  /** Takes the bar away. */
  clear(): void;
}

const barMax = 28;
/** A shorter bar carries no information. */
const barMin = 6;
/** The width of a terminal that does not report one. */
const columnsDefault = 80;
const columnsMin = 20;

/** Breaks a text into lines of at most `width` columns; the second and further ones are indented. */
export function wrap(text: string, width: number, indent = 0): string[] {
  const lines: string[] = [];
  // Spaces at the beginning stay: they align the line with those before.
  let line = text.slice(0, text.length - text.trimStart().length);
  let begun = false;
  for (const word of text.trimStart().split(" ")) {
    if (begun && line.length + 1 + word.length > width) {
      lines.push(line);
      line = " ".repeat(indent);
      begun = false;
    }
    line += begun ? ` ${word}` : word;
    begun = true;
    for (; line.length > width; line = " ".repeat(indent) + line.slice(width)) lines.push(line.slice(0, width));
  }
  return [...lines, line];
}

/** Cuts a line that is too long, and shows that something is missing. */
const cut = (text: string, width: number): string => text.length <= width ? text : `${text.slice(0, width - 1)}…`;

/** The progress line without its colour: the bar gets the room that the text leaves. */
export function progressLine(width: number, before: string, done: number, total: number, text: string) {
  const label = `round ${done}/${total}  ${text}`;
  const room = Math.min(barMax, width - before.length - label.length - 1);
  if (room < barMin) return { before, bar: "", label: cut(label, width - before.length) };
  const filled = Math.round((done / total) * room);
  return { before, bar: `${"█".repeat(filled)}${"░".repeat(room - filled)} `, label };
}

/** A table with its columns aligned. */
function formatTable(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd());
}

/**
 * Bars on a terminal; lines with `NO_COLOR`, `TERM=dumb`, in CI, or where the output is no terminal. The terminal's width is read
 * for each line, so that a window may change its size.
 */
export function makeDisplay(
  { json }: { readonly json: boolean },
  { out, env }: { readonly out: Screen; readonly env: Readonly<Record<string, string | undefined>> } = {
    out: json ? process.stderr : process.stdout,
    env: process.env,
  },
): Display {
  const terminal = out.isTTY === true;
  const has = (name: string) => (env[name] ?? "") !== "";
  const plain = !terminal || has("NO_COLOR") || has("CI") || env["TERM"] === "dumb";
  const start = performance.now();
  const seconds = () => `${((performance.now() - start) / 1_000).toFixed(1).padStart(6)} s  `;
  // The last column stays free: text there makes some terminals begin a new line.
  const width = () =>
    terminal
      ? Math.max(columnsMin, out.columns === undefined || out.columns === 0 ? columnsDefault : out.columns) - 1
      : Number.MAX_SAFE_INTEGER;
  const clear = plain ? "" : "\r\x1b[2K";
  const styled = (style: string, text: string) => plain ? text : `\x1b[${style}m${text}\x1b[0m`;
  const lines = (texts: readonly string[], style?: string) => {
    const shown = texts.map((text) => `${style === undefined ? text : styled(style, text)}\n`);
    out.write(`${clear}${shown.join("")}`);
  };
  const note = (text: string) => {
    const before = `${seconds()}  `;
    lines(wrap(`${before}${text}`, width(), before.length));
  };
  return {
    note,
    stage: (title) => {
      const before = seconds();
      lines(wrap(`${before}${title}`, width(), before.length), "1");
    },
    progress: (done, total, text) => {
      if (plain) return note(`round ${done}/${total}  ${text}`);
      const { before, bar, label } = progressLine(width(), `${seconds()}  `, done, total, text);
      out.write(`${clear}${before}${bar === "" ? "" : styled("36", bar)}${label}`);
    },
    line: (text) => lines(wrap(text, width())),
    table: (rows) => lines(formatTable(rows).map((row) => cut(row, width()))),
    verdict: (text, held) => lines(wrap(text, width()), held ? "1;32" : "1;31"),
    clear: () => void out.write(clear),
  };
}
