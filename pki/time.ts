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
  const { bytes, contentStart: start, contentEnd: end } = cursor;
  let proper = end - start === (generalized ? 15 : 13) && bytes[end - 1] === 0x5a;
  for (let at = start; proper && at < end - 1; at++) proper = bytes[at]! >= 0x30 && bytes[at]! <= 0x39;
  if (!proper) return cursor.fail(`${what} is not a time in GMT with seconds`);
  const pair = (at: number) => (bytes[at]! - 0x30) * 10 + bytes[at + 1]! - 0x30;
  const two = pair(end - 13);
  const year = generalized ? pair(start) * 100 + two : two < 50 ? 2000 + two : 1900 + two;
  if (generalized && year < 2050) return cursor.fail(`${what} before 2050 must be a UTCTime`);
  const [month, day, hour] = [pair(end - 11), pair(end - 9), pair(end - 7)];
  const [minute, second] = [pair(end - 5), pair(end - 3)];
  const time = new Date(Date.UTC(year, month - 1, day, hour, minute, second));
  // Date.UTC carries 31 February over into March: what comes back must be what was written.
  const whole = time.getUTCFullYear() === year && time.getUTCMonth() === month - 1 && time.getUTCDate() === day &&
    time.getUTCHours() === hour && time.getUTCMinutes() === minute && time.getUTCSeconds() === second;
  if (!whole) return cursor.fail(`${what} is not a date of the calendar`);
  return time;
}
