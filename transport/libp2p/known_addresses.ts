/**
 * How many addresses of a peer are remembered. A peer tells its addresses itself, thousands of them in one message of identify;
 * libp2p reads and compares all of them whenever it looks the peer up.
 *
 * @module
 */
import type { Address, PeerData, PeerId, PeerStore } from "@libp2p/interface";

/** Addresses of one peer: more than a node with several networks and relays has. What comes beyond is dropped. */
export const addressesPerPeerMax = 32;

/** What is used of a peer store. */
type Store = Pick<PeerStore, "save" | "patch" | "merge" | "get">;

/** Drops addresses above the limit before the peer store sees them. Those of this node itself, `self`, are its own business. */
export function limitKnownAddresses(peerStore: Store, self: PeerId): void {
  const save = peerStore.save.bind(peerStore);
  const patch = peerStore.patch.bind(peerStore);
  const merge = peerStore.merge.bind(peerStore);
  const maxOf = (peer: PeerId) => peer.equals(self) ? Number.POSITIVE_INFINITY : addressesPerPeerMax;
  peerStore.save = (peer, data, options) => save(peer, limited(data, maxOf(peer)), options);
  peerStore.patch = (peer, data, options) => patch(peer, limited(data, maxOf(peer)), options);
  peerStore.merge = async (peer, data, options) => {
    if (data.addresses === undefined && data.multiaddrs === undefined) return merge(peer, data, options);
    return merge(peer, limited(data, Math.max(0, maxOf(peer) - await knownOf(peerStore, peer))), options);
  };
}

/** How many addresses of a peer are known. */
async function knownOf(peerStore: Store, peer: PeerId): Promise<number> {
  try {
    return (await peerStore.get(peer)).addresses.length;
  } catch {
    return 0; // the peer is not known
  }
}

function limited(data: PeerData, max: number): PeerData {
  const { addresses, multiaddrs } = data;
  const kept: Address[] | undefined = addresses?.slice(0, max);
  return {
    ...data,
    ...(kept === undefined ? {} : { addresses: kept }),
    ...(multiaddrs === undefined ? {} : { multiaddrs: multiaddrs.slice(0, max - (kept?.length ?? 0)) }),
  };
}
