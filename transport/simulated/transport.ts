/**
 * The transport actor over the virtual network: the core on virtual time.
 *
 * @module
 */
import type { CallbackActorLogic } from "xstate";
import type { TransportWatch } from "../core/transport_watch.ts";
import { makeTransport } from "../core/transport.ts";
import type { TransportAsk, TransportInput } from "../port.ts";
import { type SimulatedHost, SimulatedWire } from "./wire.ts";

/** The transport logic of one process. */
export function makeSimulatedTransport(
  host: SimulatedHost,
  watch: TransportWatch = {},
): CallbackActorLogic<TransportAsk, TransportInput> {
  return makeTransport({
    clock: () => host.clock,
    makeWire: (input, clock) => new SimulatedWire(host, input, clock),
    watch,
  });
}
