/**
 * A transport that keeps what it is asked.
 *
 * @module
 */
import { createActor, fromCallback } from "xstate";
import type { TransportRef } from "../../actors/runtime/role.ts";
import type { TransportAsk } from "../../transport/port.ts";

/** Nothing is sent: a test reads what would be. */
export interface AskedTransport {
  readonly ref: TransportRef;
  /** How each exchange was answered, such as `respond in-1 Piece` or `decline in-1`. */
  answered(): readonly string[];
}

/** Makes one. */
export function askedTransport(): AskedTransport {
  const asks: TransportAsk[] = [];
  const actor = createActor(fromCallback<TransportAsk>(({ receive }) => receive((ask) => void asks.push(ask)))).start();
  return {
    ref: actor as unknown as TransportRef,
    answered: () =>
      asks.flatMap((ask) => {
        if (ask.type === "decline") return [`decline ${ask.exchange}`];
        return ask.type === "respond" ? [`respond ${ask.exchange} ${Object.keys(ask.message).join()}`] : [];
      }),
  };
}
