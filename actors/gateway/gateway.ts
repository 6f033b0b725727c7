/**
 * A gateway's machine. What a gateway is (relay, DHT server, health) its transport already does; the machine subscribes to
 * the workers' topic, so that requests travel through it, and takes leave at once.
 *
 * ```
 *  ──▶ forwarding ── role.drain ──▶ drained
 * ```
 *
 * Requests of `/hypha-api/0.0.1` are declined: gateways list the protocol and answer nothing (`docs/wire.md`). Other facts are ignored.
 *
 * @module
 */
import { sendTo, setup } from "xstate";
import { workerTopic } from "../../transport/protocols/messages.ts";
import type { GatewayConfig } from "../config/config.ts";
import type { RoleEvent, RoleInput, RoleOutcome } from "../runtime/role.ts";

/** The role machine of a gateway. */
export const gatewayMachine = setup({
  types: {
    input: {} as RoleInput<GatewayConfig>,
    context: {} as RoleInput<GatewayConfig>,
    events: {} as RoleEvent,
    output: {} as RoleOutcome,
  },
}).createMachine({
  id: "gateway",
  context: ({ input }) => ({ ...input }),
  initial: "forwarding",
  states: {
    forwarding: {
      entry: sendTo(({ context }) => context.transport, { type: "subscribe", topic: workerTopic }),
      on: {
        "request.received": {
          actions: sendTo(({ context }) => context.transport, ({ event }) => ({
            type: "decline",
            exchange: event.exchange,
          })),
        },
        "role.drain": "drained",
        "role.retire": "drained",
      },
    },
    drained: { type: "final" },
  },
  output: { type: "drained" },
});
