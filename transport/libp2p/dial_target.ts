/**
 * Dials the core's targets with libp2p.
 *
 * @module
 */
import type { Connection, Libp2p } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { multiaddr } from "@multiformats/multiaddr";
import { namingPeer } from "../core/addresses.ts";
import type { WireTarget } from "../core/wire.ts";
import type { PeerText } from "../port.ts";
import type { Libp2pConnections } from "./connections.ts";
import type { DirectDials } from "./direct_dials.ts";
import { namedPeer } from "./node_internals.ts";

/** The parts of a node that a dial needs. */
export interface Dials {
  readonly libp2p: Pick<Libp2p, "dial" | "getConnections">;
  readonly direct: Pick<DirectDials, "dial">;
  readonly connections: Pick<Libp2pConnections, "of">;
}

/**
 * Dials a target, or returns an open connection to it. libp2p would also return a connection that is closing: if the peer has no
 * other, a new connection is dialled.
 */
export async function dialTarget(dials: () => Dials, target: WireTarget, signal: AbortSignal): Promise<Connection> {
  const { libp2p, direct, connections } = dials();
  const isEnding = (peer: PeerText) => {
    const all = libp2p.getConnections(peerIdFromString(peer));
    return all.length > 0 && all.every((each) => connections.of(each)?.isOpen !== true);
  };
  if ("address" in target) {
    const address = multiaddr(target.address);
    const named = namedPeer(address);
    if (named === undefined || !isEnding(named)) return await direct.dial(target.address, signal);
    return await libp2p.dial(address, { signal, force: true });
  }
  const { peer, addresses, fresh } = target;
  const force = fresh === true || isEnding(peer);
  if (addresses === undefined) return await libp2p.dial(peerIdFromString(peer), { signal, force });
  return await libp2p.dial(addresses.map((address) => multiaddr(namingPeer(address, peer))), { signal, force });
}
