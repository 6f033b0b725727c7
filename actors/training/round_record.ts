/**
 * The record of a finished round, `round-N.json`: a round exists when its record does and both of its files fit it.
 *
 * @module
 */
/** Size and digest of a file. */
export interface FileFit {
  /** Hexadecimal. */
  readonly sha256: string;
  readonly sizeBytes: number;
}

/** Slices given out: the next one, and the passes that are complete. */
export interface SlicesGiven {
  readonly count: number;
  readonly next: number;
  readonly epoch: number;
}

/** What is known of a finished round. Round 0 is the state before the first one. */
export interface RoundRecord {
  readonly round: number;
  /** The run that finished it. */
  readonly run: number;
  /** SHA-256 of the file of weights that the training began with. */
  readonly weights: string;
  readonly parameters: FileFit;
  /** Null for round 0. */
  readonly velocity: FileFit | null;
  /** Slices given out; null before the data set was found. */
  readonly slices: SlicesGiven | null;
  /** Names in the certificates of the members. */
  readonly members: readonly string[];
  /** Samples of all members in all rounds so far, as they reported them. */
  readonly samples: number;
}

/** The text of a record. */
export function formatRecord(record: RoundRecord): string {
  return `${JSON.stringify({ version: 1, ...record }, undefined, 2)}\n`;
}

/** Reads a record; undefined where the text is none. */
export function parseRecord(text: string): RoundRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isTable(value) || value["version"] !== 1) return undefined;
  const { round, run, weights, parameters, velocity, slices, members, samples } = value;
  const isRecord = isCount(round) && isCount(run) && isDigest(weights) && isFit(parameters) &&
    (round === 0 ? velocity === null : isFit(velocity)) && (slices === null || isCursor(slices)) &&
    Array.isArray(members) && members.every((each) => typeof each === "string") && isCount(samples);
  if (!isRecord) return undefined;
  return { round, run, weights, parameters, velocity, slices, members, samples } as RoundRecord;
}

function isTable(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function isDigest(value: unknown): value is string {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}

function isFit(value: unknown): value is FileFit {
  return isTable(value) && isDigest(value["sha256"]) && isCount(value["sizeBytes"]);
}

function isCursor(value: unknown): value is SlicesGiven {
  return isTable(value) && isCount(value["count"]) && isCount(value["next"]) && isCount(value["epoch"]) &&
    value["next"] < value["count"];
}
