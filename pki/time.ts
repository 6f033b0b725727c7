/**
 * Times of certificates and revocation lists.
 *
 * @module
 */
import { type DerCursor, tags } from "./der.ts";

/**
 * Reads a `Time` (RFC 5280 §4.1.2.5): UTCTime through 2049, GeneralizedTime from 2050, both with seconds, in GMT.
 *
 * @param cursor Stands before the time.
 * @param what Its name in messages.
 * @returns The time, milliseconds 0.
 */
export function readTime(cursor: DerCursor, what: string): Date {
  const generalized = cursor.peek() === tags.generalizedTime;
  cursor.read(generalized ? tags.generalizedTime : tags.utcTime, what);
  const text = ascii(cursor.content);
  const digits = (generalized ? /^(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/ : /^(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)Z$/)
    .exec(text);
  if (digits === null) return cursor.fail(`${what} is not a time in GMT with seconds`);
  const [first, month, day, hour, minute, second] = digits.slice(1).map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const year = generalized ? first : first < 50 ? 2000 + first : 1900 + first;
  if (generalized && year < 2050) return cursor.fail(`${what} before 2050 must be a UTCTime`);
  const time = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  // Date.UTC carries 31 February over into March: what comes back must be what was written.
  const whole = time.getUTCFullYear() === year && time.getUTCMonth() === month - 1 && time.getUTCDate() === day &&
    time.getUTCHours() === hour && time.getUTCMinutes() === minute && time.getUTCSeconds() === second;
  if (!whole) return cursor.fail(`${what} is not a date of the calendar`);
  return time;
}

function ascii(bytes: Uint8Array): string {
  return bytes.length > 15 ? "" : String.fromCharCode(...bytes);
}
