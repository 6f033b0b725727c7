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

/** Takes what arrived of a peer when the peer can afford it. Throws where its stream is over before that. */
export type TakesPricedRpc = (from: PeerId, rpc: GossipRpc, over: AbortSignal) => Promise<void>;

/** Messages of all peers that are handed on before other work gets its turn, in one frame or in many. */
export const messagesPerTurn = 4;
/** Subscriptions, and control messages of a kind, that are handed on at once. */
export const entriesPerSlice = 32;

const turnUs = messagesPerTurn * priceOf("gossip.verify");

/** Charges what arrives before gossipsub takes it. */
export function pricedGossip(
  takes: TakesRpc,
  { clock, charge }: {
    readonly clock: Pick<Clock, "after" | "cancel" | "yield">;
    readonly charge: (peer: PeerText, us: number) => number;
  },
): TakesPricedRpc {
  const waits = (ms: number, over: AbortSignal) =>
    new Promise<void>((resolve) => {
      const wake = () => {
        clock.cancel(timer);
        over.removeEventListener("abort", wake);
        resolve();
      };
      const timer = clock.after(ms, wake);
      over.addEventListener("abort", wake);
    });
  const paid = async (peer: PeerText, us: number, over: AbortSignal) => {
    for (let waitMs = charge(peer, us); waitMs > 0; waitMs = charge(peer, 0)) {
      over.throwIfAborted();
      await waits(waitMs, over);
    }
  };
  let leftUs = turnUs;
  let nextTurn: Promise<void> | undefined;
  const refilled = (resolve: () => void) => () => {
    leftUs = turnUs;
    nextTurn = undefined;
    resolve();
  };
  /** Waits until this turn has room for work of this price, and takes it. */
  const room = async (us: number) => {
    while (leftUs <= 0) await (nextTurn ??= new Promise<void>((resolve) => clock.yield(refilled(resolve))));
    leftUs -= us;
  };
  return async (from, { subscriptions, messages, control = {} }, over) => {
    const peer = from.toString();
    const entries = async (us: number) => {
      await paid(peer, us, over);
      await room(us);
    };
    await entries(priceOf("gossip.control")); // an empty frame costs as much as an entry
    for (const slice of slicesOf(subscriptions)) {
      await entries(slice.length * priceOf("gossip.control"));
      await takes(from, { subscriptions: slice, messages: [] });
    }
    for (const message of messages) {
      await paid(peer, priceOf("gossip.verify", message.data?.byteLength ?? 0), over);
      await room(priceOf("gossip.verify"));
      await takes(from, { subscriptions: [], messages: [message] });
    }
    for (const [kind, all] of Object.entries(control)) {
      for (const slice of slicesOf(all ?? [])) {
        await entries(namesIn(slice) * priceOf("gossip.control"));
        await takes(from, { subscriptions: [], messages: [], control: { [kind]: slice } });
      }
    }
  };
}

/** What arrived, in slices of {@linkcode entriesPerSlice}. */
function* slicesOf<T>(all: readonly T[]): Generator<readonly T[]> {
  for (let at = 0; at < all.length; at += entriesPerSlice) yield all.slice(at, at + entriesPerSlice);
}

/** Entries of control messages: each, and what it names. */
function namesIn(slice: readonly GossipControl[]): number {
  return slice.reduce((sum, { messageIDs, peers }) => sum + 1 + (messageIDs?.length ?? 0) + (peers?.length ?? 0), 0);
}
