/**
 * A gateway's machine. Its transport already serves as relay and DHT server, and its node answers health. The machine
 * subscribes to the workers' topic, so that requests travel through it, and drains at once.
 *
 * ```
 *  ──▶ forwarding ── role.drain ──▶ drained
 * ```
 *
 * Requests of `/hypha-api/0.0.1` are declined: gateways list the protocol and answer nothing (`docs/wire.md`). Other
 * facts are ignored.
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
  actions: {
    subscribe: sendTo(({ context }) => context.transport, { type: "subscribe", topic: workerTopic }),
    decline: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: { readonly exchange: string }) => ({ type: "decline", exchange }),
    ),
  },
}).createMachine({
  id: "gateway",
  context: ({ input }) => ({ ...input }),
  initial: "forwarding",
  states: {
    forwarding: {
      entry: "subscribe",
      on: {
        "request.received": { actions: { type: "decline", params: ({ event }) => event } },
        "role.drain": "drained",
        "role.retire": "drained",
      },
    },
    drained: { type: "final" },
  },
  output: { type: "drained" },
});
