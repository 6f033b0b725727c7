/**
 * The transport actor of production: the core over libp2p.
 *
 * @module
 */
import type { CallbackActorLogic } from "xstate";
import { makeTransport, type TransportOptions } from "../core/transport.ts";
import type { TransportAsk, TransportInput } from "../port.ts";
import { realClock } from "./real_clock.ts";
import { Libp2pWire } from "./wire.ts";

/** Makes the logic of the transport actor; its facts go to its parent. */
export function makeTransportLogic(
  options: Pick<TransportOptions, "watch"> = {},
): CallbackActorLogic<TransportAsk, TransportInput> {
  return makeTransport({
    ...options,
    makeWire: (input, clock) => new Libp2pWire(input, clock),
    clock: (input) => realClock(input.now),
  });
}

/** The logic that traces nothing. */
export const transportLogic: CallbackActorLogic<TransportAsk, TransportInput> = makeTransportLogic();
