/**
 * Instants of the wire, from and to milliseconds since the epoch.
 *
 * @module
 */
import type { Instant } from "../../transport/protocols/messages.ts";

/** An instant from milliseconds since the epoch. */
export function instantFromMs(ms: number): Instant {
  const whole = Math.max(0, Math.floor(ms));
  return { secs_since_epoch: Math.floor(whole / 1_000), nanos_since_epoch: (whole % 1_000) * 1_000_000 };
}

/** Milliseconds since the epoch, rounded down. */
export function msFromInstant(instant: Instant): number {
  return instant.secs_since_epoch * 1_000 + Math.floor(instant.nanos_since_epoch / 1_000_000);
}
