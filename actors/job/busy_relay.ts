/**
 * Waiting for a relay that has no room now: a relay of the existing network answers `RESOURCE_LIMIT_EXCEEDED` while it carries as
 * many circuits as it may, and has room again when one of them ends.
 *
 * @module
 */
import { Effect } from "effect";
import type { TransportError } from "../../transport/port.ts";
import { type Backoff, backoffMs } from "../runtime/backoff.ts";

/** Tries in all. With their pauses they last about half a minute. */
export const relayTriesMax = 8;
const relayBackoff: Backoff = { firstMs: 500, maxMs: 8_000 };

/** Whether an exchange failed because a relay has no room. Nothing of the exchange was sent. */
function isRelayBusy({ code, detail }: TransportError): boolean {
  return code === "not-connected" && detail.includes("RESOURCE_LIMIT_EXCEEDED");
}

/** Tries an exchange again while a relay on the way to its peer has no room. */
export function untilRelayHasRoom<A>(
  exchange: Effect.Effect<A, TransportError>,
  random: () => number,
  tries = 1,
): Effect.Effect<A, TransportError> {
  return Effect.catch(exchange, (error) => {
    if (!isRelayBusy(error) || tries >= relayTriesMax) return Effect.fail(error);
    const pause = Effect.sleep(backoffMs(tries, random(), relayBackoff));
    return Effect.andThen(pause, untilRelayHasRoom(exchange, random, tries + 1));
  });
}
