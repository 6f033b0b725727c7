/**
 * Leaves an address that does not answer, where the peer has others. libp2p dials a peer's addresses one after the other, and the
 * time that it gives each is enough for a whole handshake: one silent address would use up the time of the dial.
 *
 * @module
 */
import type { PeerStore, Transport } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import type { Multiaddr } from "@multiformats/multiaddr";
import { withoutPeer } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import { wrapConnect } from "./connection_internals.ts";

/** How long TCP may try one of several addresses, in milliseconds: time for a second SYN, where the first was lost. */
export const connectMs = 2_500;
/** How often it is looked after that whether another address has become known, in milliseconds. */
const lookMs = 500;

/** The components of a node that are looked at. */
export interface KnowsAddresses {
  readonly peerStore: Pick<PeerStore, "get">;
  readonly transportManager: { dialTransportForMultiaddr(address: Multiaddr): unknown };
}

/**
 * Gives a TCP transport the limit. A handshake is not limited by it, nor the dial of an address alone.
 *
 * @param make `tcp()`, as `createLibp2p` takes it.
 * @returns What makes the transport; it throws {@linkcode MovedInternal} where the inside of `@libp2p/tcp` is another.
 */
export function leavingSilent<Components>(
  make: (components: Components) => Transport,
  clock: Pick<Clock, "after" | "cancel">,
): (components: Components & KnowsAddresses) => Transport {
  return (components) =>
    wrapConnect(make(components), (connect) => async (address, options) => {
      const { peerId } = options;
      if (peerId === undefined) return await connect(address, options);
      const isOneOfSeveral = () => hasAnother(components, peerId.toString(), address);
      const limit = limitOf(clock, isOneOfSeveral);
      try {
        return await connect(address, { ...options, signal: AbortSignal.any([options.signal, limit.signal]) });
      } catch (error) {
        throw limit.signal.aborted ? limit.signal.reason : error;
      } finally {
        limit.end();
      }
    });
}

function limitOf(clock: Pick<Clock, "after" | "cancel">, isOneOfSeveral: () => Promise<boolean>) {
  const controller = new AbortController();
  let isOver = false;
  const look = async () => {
    // Where that cannot be read, the address has the whole time.
    if (await isOneOfSeveral().catch(() => false)) return controller.abort(new AddressSilent());
    if (!isOver) timer = clock.after(lookMs, look);
  };
  let timer = clock.after(connectMs, look);
  const end = () => {
    isOver = true;
    clock.cancel(timer);
  };
  return { signal: controller.signal, end };
}

/** libp2p goes on with the next address. */
class AddressSilent extends Error {
  override readonly name = "TimeoutError";

  constructor() {
    super(`connection error: no answer within ${connectMs} ms`);
  }
}

/** Whether a peer has an address that can be dialled besides this one. */
async function hasAnother(
  { peerStore, transportManager }: KnowsAddresses,
  peer: string,
  address: Multiaddr,
): Promise<boolean> {
  const place = withoutPeer(address.toString());
  const known = await peerStore.get(peerIdFromString(peer)).catch(() => undefined);
  return known?.addresses.some(({ multiaddr }) =>
    withoutPeer(multiaddr.toString()) !== place && transportManager.dialTransportForMultiaddr(multiaddr) !== undefined
  ) === true;
}
