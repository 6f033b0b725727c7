/**
 * What the end of a stream means to the one who waited for something on it.
 *
 * @module
 */
import { TransportError } from "../port.ts";
import type { StreamEnd } from "./wire.ts";

/** How much of a detail is reported, in characters. */
const detailMax = 200;

/** The code of each end. `done` too is a failure to someone who still waits: the other side ended without what it owed. */
const codes: { readonly [E in StreamEnd]: TransportError["code"] } = {
  done: "stream-reset",
  reset: "stream-reset",
  unsupported: "unsupported",
  "too-many": "failed",
  connection: "stream-reset",
};

/** The error of a stream that closed before its end. */
export function streamFailure(how: StreamEnd, detail: string): TransportError {
  return new TransportError({ code: codes[how], detail: detail.slice(0, detailMax) });
}
