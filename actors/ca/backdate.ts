/**
 * Room for clocks that are late.
 *
 * @module
 */

/** `notBefore` and `thisUpdate` lie so many milliseconds back. */
export const backdateMs = 5 * 60_000;
