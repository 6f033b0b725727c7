/**
 * Comparing multiaddrs that may name a peer at their end.
 *
 * @module
 */
import { standsFor } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { AddressText, PeerText } from "../port.ts";
import type { ConnectionTable } from "./connection_table.ts";
import type { WireConnection } from "./wire.ts";

/** An address without the PeerID at its end, to compare where two addresses lead. A relayed one stays as it is. */
export function withoutPeer(address: AddressText): AddressText {
  return address.includes("/p2p-circuit") ? address : address.replace(/\/p2p\/[^/]+$/, "");
}

/** An address with the peer's PeerID at its end. A relayed one names the relay before: that is not the peer. */
export function namingPeer(address: AddressText, peer: PeerText): AddressText {
  return `${address.replace(/\/p2p\/[^/]+$/, "")}/p2p/${peer}`;
}

/**
 * Whether a connection with this member leads straight to one of these addresses, or to the gateway that one of them names. The key of a
 * gateway may have certificates of other roles: those members are none.
 */
export function leadsToGateway(
  { relay, address }: Pick<WireConnection, "relay" | "address">,
  member: Pick<PeerIdentity, "peer" | "role"> | undefined,
  gatewayAddresses: readonly AddressText[],
): boolean {
  if (relay !== undefined) return false;
  const place = withoutPeer(address);
  const named = member !== undefined && standsFor(member.role, "gateway") ? `/p2p/${member.peer}` : undefined;
  return gatewayAddresses.some((gateway) =>
    withoutPeer(gateway) === place || (named !== undefined && gateway.endsWith(named))
  );
}

/** The peers at the ends of open connections that lead straight to one of these addresses. */
export function gatewaysAmong(
  table: Pick<ConnectionTable, "open" | "identityOf">,
  gatewayAddresses: readonly AddressText[],
): readonly PeerText[] {
  const peers = new Set<PeerText>();
  for (const connection of table.open()) {
    const member = table.identityOf(connection);
    if (member !== undefined && leadsToGateway(connection, member, gatewayAddresses)) peers.add(member.peer);
  }
  return [...peers];
}
