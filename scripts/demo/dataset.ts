/**
 * The digits as slice files for the data node, and the held-out fifth for the scheduler alone.
 *
 * @module
 */
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { seededRandom, shuffled } from "../../actors/runtime/random.ts";

/** Where the parts of the data set lie. */
export interface Dataset {
  /** The data node's directory: training rows only, one file a slice. */
  readonly slices: string;
  readonly sliceCount: number;
  /** The scheduler's: every fifth row. */
  readonly heldOut: string;
}

const rowsPerSlice = 96;
/** Fixes which label goes where when labels are shuffled. */
const shuffleSeed = 20_251_125;

/** Splits `source` into slices and held-out rows under `folder`. */
export function writeDataset(source: string, folder: string, { shuffleLabels }: { shuffleLabels: boolean }): Dataset {
  const rows = readFileSync(source, "utf8").split("\n").filter((line) => line !== "");
  const heldOutRows = rows.filter((_, index) => index % 5 === 0);
  const random = seededRandom(shuffleSeed);
  const ordered = shuffled(rows.filter((_, index) => index % 5 !== 0), random);
  const labels = shuffled(ordered.map((row) => row.slice(row.lastIndexOf(","))), random);
  const training = shuffleLabels
    ? ordered.map((row, index) => row.slice(0, row.lastIndexOf(",")) + labels[index])
    : ordered;
  const slices = join(folder, "data", "digits");
  mkdirSync(slices, { recursive: true });
  let sliceCount = 0;
  for (let start = 0; start < training.length; start += rowsPerSlice) {
    const name = `slice-${String(sliceCount).padStart(3, "0")}.csv`;
    writeFileSync(join(slices, name), `${training.slice(start, start + rowsPerSlice).join("\n")}\n`);
    sliceCount += 1;
  }
  const heldOut = join(folder, "scheduler", "held_out.csv");
  mkdirSync(join(folder, "scheduler"), { recursive: true });
  writeFileSync(heldOut, `${heldOutRows.join("\n")}\n`);
  return { slices, sliceCount, heldOut };
}
