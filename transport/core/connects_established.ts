/**
 * Connections for asks that never dial.
 *
 * @module
 */
import { Result } from "effect";
import { TransportError } from "../port.ts";
import type { Connects, SessionParts } from "./parts.ts";

/** Gives the connection that there is. It never dials: without one that fits, an ask fails with `not-connected`. */
export function connectsEstablished({ established, clock }: Pick<SessionParts, "established" | "clock">): Connects {
  return {
    connect: (peer, _timeoutMs, done, to) => {
      let over = false;
      clock.soon(() => {
        if (over) return;
        const best = established.best(peer, to);
        if (best !== undefined) return done(Result.succeed(best));
        done(Result.fail(new TransportError({ code: "not-connected", detail: "there is no connection to use" })));
      });
      return () => over = true;
    },
  };
}
