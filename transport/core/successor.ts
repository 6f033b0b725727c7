/**
 * The peers that a successor with another key dials, so that they learn the new PeerID.
 *
 * @module
 */
import type { AddressText, PeerText } from "../port.ts";
import { namingPeer } from "./addresses.ts";
import type { ConnectionTable } from "./connection_table.ts";
import type { Wire } from "./wire.ts";

/** Peers whose addresses a successor is told, and addresses of each: it dials them all at once. */
export const successorPeersMax = 256;
const successorAddressesMax = 4;

/** A peer and where it can be dialled, with `/p2p/…`. */
export interface DialablePeer {
  readonly peer: PeerText;
  readonly addresses: readonly AddressText[];
}

/** What the addresses are found with. */
export interface AddressesOfPeersInit {
  readonly wire: Pick<Wire, "addressesOf">;
  readonly table: Pick<ConnectionTable, "peers" | "best">;
  readonly mayDial: (address: AddressText) => boolean;
}

/** Where the established peers can be dialled: where they were, or as they announced. Peers without an address are left out. */
export function addressesOfPeers(
  { wire, table, mayDial }: AddressesOfPeersInit,
  done: (peers: readonly DialablePeer[]) => void,
): void {
  const listed = [...table.peers()].slice(0, successorPeersMax);
  const found = new Map<PeerText, readonly AddressText[]>();
  const finish = () =>
    done(listed.flatMap((peer) => {
      const addresses = found.get(peer) ?? [];
      return addresses.length === 0 ? [] : [{ peer, addresses }];
    }));
  if (listed.length === 0) return finish();
  for (const peer of listed) {
    const best = table.best(peer);
    const dialled = best?.relay === undefined && best?.direction === "outbound" ? [best.address] : [];
    wire.addressesOf(peer, (known) => {
      const named = [...dialled, ...known].filter(mayDial).map((address) => namingPeer(address, peer));
      found.set(peer, [...new Set(named)].slice(0, successorAddressesMax));
      if (found.size === listed.length) finish();
    });
  }
}
