/**
 * Durations in configurations: a whole number and a unit, such as `90s`, `15m`, `72h`, `30d`.
 *
 * @module
 */

const units = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** Reads a duration: milliseconds, or a complaint that continues the sentence "the value …". */
export function readDuration(text: string): number | string {
  const [, digits, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? [];
  if (digits === undefined) return "is no number with s, m, h or d behind it";
  return Number(digits) * units[unit as keyof typeof units];
}

/**
 * Milliseconds of a duration that was checked before.
 *
 * @throws {RangeError} For any other text.
 */
export function durationMs(text: string): number {
  const read = readDuration(text);
  if (typeof read === "string") throw new RangeError(`Cannot use the duration ${JSON.stringify(text)}: it ${read}`);
  return read;
}
