/**
 * Comparing multiaddrs that may name a peer at their end.
 *
 * @module
 */
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

/** Whether a connection leads straight to one of these addresses, which may name the peer or not. */
export function leadsToGateway(
  { relay, address }: Pick<WireConnection, "relay" | "address">,
  gatewayAddresses: readonly AddressText[],
): boolean {
  if (relay !== undefined) return false;
  const place = withoutPeer(address);
  return gatewayAddresses.some((gateway) => withoutPeer(gateway) === place);
}

/** The peers at the ends of open connections that lead straight to one of these addresses. */
export function gatewaysAmong(
  table: Pick<ConnectionTable, "open" | "identityOf">,
  gatewayAddresses: readonly AddressText[],
): readonly PeerText[] {
  const leading = [...table.open()].filter((connection) => leadsToGateway(connection, gatewayAddresses));
  return [...new Set(leading.flatMap((connection) => table.identityOf(connection)?.peer ?? []))];
}
