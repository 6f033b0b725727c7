/**
 * Times and numbers as people read them.
 *
 * @module
 */

const units = [["d", 86_400_000], ["h", 3_600_000], ["min", 60_000], ["s", 1_000]] as const;

/** A duration in its two largest units: `3 d 4 h`. */
export function duration(ms: number): string {
  const parts: string[] = [];
  let rest = Math.abs(ms);
  for (const [name, size] of units) {
    const count = Math.floor(rest / size);
    if (count === 0 && parts.length === 0) continue;
    if (count > 0) parts.push(`${count} ${name}`);
    rest -= count * size;
    if (parts.length === 2 || count === 0) break;
  }
  return parts.join(" ") || "0 s";
}

/** How far a time is away: `in 3 d 4 h`, `2 min ago`. */
export function away(time: string, now: number): string {
  const ms = Date.parse(time) - now;
  return ms >= 0 ? `in ${duration(ms)}` : `${duration(ms)} ago`;
}

/** A time in UTC, to the second: `2026-11-29 10:19:04`. */
export const clock = (time: string): string => time.slice(0, 19).replace("T", " ");

/** A number with few digits: `0.0123`, `1.5`, `123`. */
export const few = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString();

/** The end of a PeerID; keys begin alike. */
export const shortPeer = (peer: string): string => (peer.length > 12 ? `…${peer.slice(-8)}` : peer);
