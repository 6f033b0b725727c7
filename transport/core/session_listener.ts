/**
 * What a session answers its wire.
 *
 * @module
 */
import { multiaddr } from "@multiformats/multiaddr";
import { standsFor } from "../../pki/member.ts";
import type { TransportInput } from "../port.ts";
import { addressRules } from "./address_filter.ts";
import type { ConnectionTable } from "./connection_table.ts";
import type { Gateways } from "./gateways.ts";
import type { Gossip } from "./gossip.ts";
import type { MemberCosts } from "./member_costs.ts";
import type { Reachability } from "./reachability.ts";
import type { WireListener } from "./wire.ts";

/** The parts of a session that answer. */
export interface SessionListenerInit {
  readonly input: TransportInput;
  readonly table: ConnectionTable;
  readonly costs: MemberCosts;
  readonly gateways: Gateways;
  readonly gossip: Gossip;
  readonly reachability: Reachability;
  /** Whether the session still dials: while it settles, what it closes must not be dialled again. */
  readonly dials: () => boolean;
  readonly stream: WireListener["stream"];
}

/**
 * Makes the listener of a session's wire.
 *
 * @returns The listener, and whether an address can be dialled by this process: by a successor, when this session dials no longer.
 */
export function wireListener(
  { input, table, costs, gateways, gossip, reachability, dials, stream }: SessionListenerInit,
): { readonly listener: WireListener; readonly mayReach: WireListener["mayDial"] } {
  const rules = addressRules(input, (peer) => gateways.isGateway(peer));
  const mayReach: WireListener["mayDial"] = (address) => rules.mayDial(multiaddr(address));
  const listener: WireListener = {
    turnsAway: (address) => table.turnsAway(address),
    opening: (connection) => table.opening(connection),
    securing: (connection) => table.securing(connection),
    secured: (connection, tls) => {
      const identity = table.secured(connection, tls);
      if (identity === undefined) return undefined;
      // At a configured gateway's address only a gateway is let in, and nowhere a peer that cost too much.
      const refusal = gateways.refusalOf(connection, identity) ?? costs.refusalOf(identity.peer);
      if (refusal === undefined) return identity;
      table.failed(connection, refusal);
      return undefined;
    },
    opened: (connection) => table.opened(connection),
    failed: (connection, refusal) => table.failed(connection, refusal),
    broken: (connection, detail) => table.broken(connection, detail),
    ended: (connection, end) => table.ended(connection, end),
    stream,
    charge: (peer, us) => costs.work.charge(peer, us),
    refund: (peer, us) => costs.work.refund(peer, us),
    inTurn: (peer, owner, us, task) => costs.work.run(peer, owner, us, task),
    giveUp: (peer, owner) => costs.work.leave(peer, owner),
    permits: (connection, act) => gateways.permits(connection, act),
    // Nodes of the existing network serve it whatever their role, and hand gossip on: their certificates name none.
    mayServeDht: (peer) =>
      gateways.areExisting || table.identitiesOf(peer).some(({ role }) => standsFor(role, "gateway")),
    mayDial: (address) => dials() && mayReach(address),
    isConfigured: (address) => rules.isConfigured(multiaddr(address)),
    mayKnow: (peer, address) => rules.mayKnow(peer, multiaddr(address)),
    announced: (own) => rules.announced(own.map((address) => multiaddr(address))).map(String),
    gossip: (message) => gossip.received(message),
    addresses: (own) => reachability.addresses(own),
    reservationLost: (relay) => reachability.reservationLost(relay),
    dhtReady: () => reachability.dhtReady(),
  };
  return { listener, mayReach };
}
