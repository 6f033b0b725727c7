/**
 * What the nodes of a run know of each other's addresses and of the DHT. One directory is shared by all of them, in place of
 * identify and of Kademlia's messages.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { peerIdFromString } from "@libp2p/peer-id";
import type { AddressText, PeerText } from "../port.ts";

/** Peers that a search returns at most (Kademlia's k). */
const closestMax = 20;
/** PeerIDs whose distance keys are kept; the oldest goes first. */
const keysMax = 65_536;

/** A node that takes part in the DHT. */
export interface DhtNode {
  readonly self: PeerText;
  readonly servesDht: boolean;
  /** Peers with an open connection to it. */
  connectedPeers(): Iterable<PeerText>;
}

/** Addresses and DHT nodes of a run. */
export class Directory {
  readonly #addresses = new Map<PeerText, readonly AddressText[]>();
  readonly #nodes = new Map<PeerText, DhtNode>();

  /** A node announces its addresses. Of two with one PeerID, the one that joined last counts: the key came back to a process. */
  announce(node: DhtNode, addresses: readonly AddressText[]): void {
    if (this.#nodes.get(node.self) === node) this.#addresses.set(node.self, addresses);
  }

  /** The addresses that a peer announced. */
  addressesOf(peer: PeerText): readonly AddressText[] {
    return this.#addresses.get(peer) ?? [];
  }

  join(node: DhtNode): void {
    this.#nodes.set(node.self, node);
  }

  leave(node: DhtNode): void {
    if (this.#nodes.get(node.self) === node) this.#nodes.delete(node.self);
  }

  /**
   * The peers closest to a key, as a search from `node` finds them: servers that it is connected to, and those that they are
   * connected to.
   */
  closestPeers(node: DhtNode, key: Uint8Array): readonly PeerText[] {
    const servers = new Set<PeerText>();
    const add = (peer: PeerText) => {
      const known = this.#nodes.get(peer);
      if (known?.servesDht !== true) return undefined;
      if (peer !== node.self) servers.add(peer);
      return known;
    };
    for (const peer of node.connectedPeers()) {
      for (const further of add(peer)?.connectedPeers() ?? []) add(further);
    }
    return closestOf(servers, key);
  }
}

/** Orders peers by the XOR distance of the SHA-256 of PeerID and key (libp2p specification: "kad-dht"). */
export function closestOf(peers: Iterable<PeerText>, key: Uint8Array): readonly PeerText[] {
  const target = sha256(key);
  const ranked = [...peers].map((peer) => ({ peer, distance: distanceOf(distanceKeyOf(peer), target) }));
  ranked.sort((left, right) => compare(left.distance, right.distance));
  return ranked.slice(0, closestMax).map(({ peer }) => peer);
}

const distanceKeys = new Map<PeerText, Uint8Array>();

function distanceKeyOf(peer: PeerText): Uint8Array {
  const known = distanceKeys.get(peer);
  if (known !== undefined) return known;
  const key = sha256(peerIdFromString(peer).toMultihash().bytes);
  if (distanceKeys.size >= keysMax) distanceKeys.delete(distanceKeys.keys().next().value as PeerText);
  distanceKeys.set(peer, key);
  return key;
}

const sha256 = (bytes: Uint8Array): Uint8Array => createHash("sha256").update(bytes).digest();

function distanceOf(left: Uint8Array, right: Uint8Array): Uint8Array {
  return left.map((byte, at) => byte ^ (right[at] as number));
}

function compare(left: Uint8Array, right: Uint8Array): number {
  for (let at = 0; at < left.length; at++) {
    const difference = (left[at] as number) - (right[at] as number);
    if (difference !== 0) return difference;
  }
  return 0;
}
