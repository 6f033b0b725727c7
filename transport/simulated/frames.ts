/**
 * What the ends of a simulated connection send each other: the steps of the handshake, then the bytes of streams, messages of
 * gossip, and what a relay carries for others.
 *
 * @module
 */
import type { PeerText } from "../port.ts";
import type { Frame } from "./network.ts";

/** Steps towards an open connection: TLS, then the multiplexer. */
export type HandshakeFrame =
  | { readonly type: "hello" }
  /** A chain, and whether its sender proved possession of the leaf's key. */
  | {
    readonly type: "certificate";
    readonly version: string;
    readonly chain: readonly Uint8Array[];
    readonly proven: boolean;
  }
  | { readonly type: "muxer" }
  | { readonly type: "muxer.agreed" };

/**
 * Bytes of a stream. As in yamux one frame can open a stream, carry bytes and end the sender's side. `stream` is the number
 * that the opener chose: odd at the dialler, even at the other end.
 */
export interface StreamDataFrame {
  readonly type: "stream.data";
  readonly stream: number;
  readonly protocol: string;
  /** Only in the frame that opens the stream: the protocol to use if the receiver does not support `protocol`. */
  readonly fallback?: string;
  /** Opens the stream; `acknowledged`: its opener waits for `stream.agreed`. */
  readonly opens: "no" | "quietly" | "acknowledged";
  readonly bytes: Uint8Array;
  /** Ends the sender's side. */
  readonly ends: boolean;
  /** The sender is not the stream's opener. */
  readonly isReply: boolean;
  readonly size: number;
}

/** Why a stream is refused or ended. */
export type ResetReason = "reset" | "unsupported";

/** What belongs to a stream. */
export type StreamFrame =
  | StreamDataFrame
  | { readonly type: "stream.agreed"; readonly stream: number; readonly protocol: string }
  /** The reader consumed `count` octets: the sender may send as many more. */
  | { readonly type: "stream.taken"; readonly stream: number; readonly count: number }
  | { readonly type: "stream.reset"; readonly stream: number; readonly why: ResetReason };

/** Gossip. `signed`: the message carries the author's signature. */
export type GossipFrame =
  | { readonly type: "gossip.topic"; readonly topic: string; readonly isSubscribed: boolean }
  | {
    readonly type: "gossip";
    readonly id: string;
    readonly topic: string;
    readonly author: PeerText;
    readonly signed: boolean;
    readonly bytes: Uint8Array;
    readonly size: number;
  };

/** Reservations at a relay, and circuits through it. `circuit` is numbered by the connection that carries it. */
export type RelayFrame =
  | { readonly type: "relay.reserve" }
  | { readonly type: "relay.reserved"; readonly granted: boolean }
  /** Asks the relay for a circuit to a peer. */
  | { readonly type: "relay.connect"; readonly circuit: number; readonly peer: PeerText }
  /** The relay offers a circuit to a peer with a reservation. */
  | { readonly type: "relay.incoming"; readonly circuit: number; readonly from: PeerText }
  | { readonly type: "relay.connected"; readonly circuit: number }
  | { readonly type: "relay.refused"; readonly circuit: number; readonly why: string }
  | { readonly type: "relay.frame"; readonly circuit: number; readonly frame: Frame; readonly size: number }
  | { readonly type: "relay.end"; readonly circuit: number; readonly by: "them" | "lost"; readonly detail: string };

/** What passes once the connection is open. */
export type OpenFrame = StreamFrame | GossipFrame | RelayFrame;

const handshakeTypes: ReadonlySet<string> = new Set(["hello", "certificate", "muxer", "muxer.agreed"]);

/** Whether a frame carries bytes of a stream. */
export function isStreamData(frame: Frame): frame is StreamDataFrame {
  return frame.type === "stream.data";
}

/** Whether a frame belongs to the handshake. */
export function isHandshake(frame: Frame): frame is HandshakeFrame {
  return handshakeTypes.has(frame.type);
}
