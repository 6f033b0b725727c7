/**
 * What a peer's gossip costs it: gossipsub verifies a signature for each message, of which one frame may bring a thousand. They are
 * handed to it one by one, each once the peer can afford it, with a turn for waiting input and output between.
 *
 * @module
 */
import type { PeerId } from "@libp2p/interface";
import type { Clock } from "../core/clock.ts";
import { priceOf } from "../core/prices.ts";
import type { PeerText } from "../port.ts";

/** What arrived of a peer, as gossipsub decodes it. */
export interface GossipRpc {
  readonly subscriptions: readonly object[];
  readonly messages: readonly { readonly data?: Uint8Array }[];
  readonly control?: Partial<Record<"ihave" | "iwant" | "graft" | "prune" | "idontwant", readonly GossipControl[]>>;
}

interface GossipControl {
  readonly messageIDs?: readonly unknown[];
  readonly peers?: readonly unknown[];
}

/** Takes what arrived of a peer. */
export type TakesRpc = (from: PeerId, rpc: GossipRpc) => Promise<void>;

/** Messages of all peers that are handed on before other work gets its turn, in one frame or in many. */
export const messagesPerTurn = 4;

/** Charges what arrives before gossipsub takes it. */
export function pricedGossip(
  takes: TakesRpc,
  { clock, charge }: {
    readonly clock: Pick<Clock, "after" | "yield">;
    readonly charge: (peer: PeerText, us: number) => number;
  },
): TakesRpc {
  const paid = async (peer: PeerText, us: number) => {
    for (let waitMs = charge(peer, us); waitMs > 0; waitMs = charge(peer, 0)) {
      await new Promise<void>((resolve) => void clock.after(waitMs, resolve));
    }
  };
  let left = messagesPerTurn;
  let nextTurn: Promise<void> | undefined;
  const refilled = (resolve: () => void) => () => {
    left = messagesPerTurn;
    nextTurn = undefined;
    resolve();
  };
  /** Waits until this turn has room for a message, and takes it. */
  const room = async () => {
    while (left === 0) await (nextTurn ??= new Promise<void>((resolve) => clock.yield(refilled(resolve))));
    left -= 1;
  };
  return async (from, rpc) => {
    const peer = from.toString();
    const { subscriptions, messages, control } = rpc;
    const entries = subscriptions.length + controlEntries(control);
    if (entries > 0) await paid(peer, entries * priceOf("gossip.control"));
    if (subscriptions.length > 0) await takes(from, { subscriptions, messages: [] });
    for (const message of messages) {
      await paid(peer, priceOf("gossip.verify", message.data?.byteLength ?? 0));
      await room();
      await takes(from, { subscriptions: [], messages: [message] });
    }
    if (control !== undefined) await takes(from, { subscriptions: [], messages: [], control });
  };
}

function controlEntries(control: GossipRpc["control"]): number {
  let entries = 0;
  for (const each of Object.values(control ?? {})) {
    for (const { messageIDs, peers } of each ?? []) entries += 1 + (messageIDs?.length ?? 0) + (peers?.length ?? 0);
  }
  return entries;
}
