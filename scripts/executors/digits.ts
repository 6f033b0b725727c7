/**
 * Rows of handwritten digits: 64 pixel values from 0 to 16 (8×8, row by row) and the digit, separated by commas.
 *
 * @module
 */
import * as Data from "effect/Data";
import * as Result from "effect/Result";

/** One image. */
export interface DigitRow {
  /** 64 values, scaled to 0 … 1. */
  readonly pixels: Float32Array;
  /** 0 … 9. */
  readonly label: number;
}

/** The text is not a file of digits. */
class MalformedDigits extends Data.TaggedError("MalformedDigits")<{
  /** From 1. */
  readonly line: number;
  readonly reason: string;
}> {
  override get message(): string {
    return `Cannot read digits at line ${this.line}: ${this.reason}`;
  }
}

const pixelCount = 64;
const pixelMax = 16;
const labelMax = 9;
/** Most rows in one file: limits the memory that a data node can make a trainer use. */
const rowsMax = 1_000_000;

/** Parses a slice or the held-out rows. Skips empty lines. */
export function parseDigits(text: string): Result.Result<readonly DigitRow[], MalformedDigits> {
  const rows: DigitRow[] = [];
  let line = 0;
  for (const row of text.split("\n")) {
    line++;
    if (row.trim() === "") continue;
    const values = row.split(",").map((value) => value.trim() === "" ? NaN : Number(value));
    const reason = rows.length === rowsMax ? `more than ${rowsMax} rows` : problem(values);
    if (reason !== undefined) return Result.fail(new MalformedDigits({ line, reason }));
    const pixels = Float32Array.from(values.slice(0, pixelCount), (value) => value / pixelMax);
    rows.push({ pixels, label: values[pixelCount] as number });
  }
  return Result.succeed(rows);
}

function problem(values: readonly number[]): string | undefined {
  if (values.length !== pixelCount + 1) return `expected ${pixelCount + 1} values, got ${values.length}`;
  const at = values.findIndex((value, i) =>
    !Number.isInteger(value) || value < 0 || value > (i < pixelCount ? pixelMax : labelMax)
  );
  if (at < 0) return undefined;
  return `value ${at + 1} is not an integer from 0 to ${at < pixelCount ? pixelMax : labelMax}`;
}
