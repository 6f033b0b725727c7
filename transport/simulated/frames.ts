/**
 * What the ends of a simulated connection tell each other: the handshake's steps, then messages, already decoded.
 *
 * @module
 */
import type { Message, MessageProtocol, WorkerRequest } from "../protocols/messages.ts";
import type { PeerText, StreamProtocol } from "../port.ts";
import type { Frame } from "./network.ts";

/** Steps towards an established connection: TLS, then the multiplexer. */
export type HandshakeFrame =
  | { readonly type: "hello" }
  /** A chain, and whether whoever sends it has shown that the leaf's key is theirs. */
  | {
    readonly type: "certificate";
    readonly version: string;
    readonly chain: readonly Uint8Array[];
    readonly proven: boolean;
  }
  | { readonly type: "muxer" }
  | { readonly type: "muxer.agreed" };

/** A message to one peer. `stream` numbers what belongs together, by who began it. */
export type PeerFrame =
  | {
    readonly type: "request";
    readonly stream: string;
    readonly protocol: MessageProtocol;
    /** `undefined` stands for bytes that don't decode. */
    readonly message: Message | undefined;
  }
  | { readonly type: "response"; readonly stream: string; readonly message: Message | undefined }
  | { readonly type: "response.none"; readonly stream: string; readonly why: "silent" | "unsupported" | "reset" }
  | { readonly type: "stream.open"; readonly stream: string; readonly protocol: StreamProtocol }
  | { readonly type: "stream.agreed"; readonly stream: string }
  | { readonly type: "stream.data"; readonly stream: string; readonly bytes: Uint8Array; readonly size: number }
  | { readonly type: "stream.taken"; readonly stream: string; readonly count: number }
  | { readonly type: "stream.end"; readonly stream: string }
  | { readonly type: "stream.reset"; readonly stream: string; readonly why: "reset" | "unsupported" };

/** Messages to the network: gossip and records. */
export type NetworkFrame =
  | {
    readonly type: "gossip";
    readonly id: string;
    readonly topic: string;
    readonly from: PeerText;
    readonly message: WorkerRequest;
  }
  | {
    readonly type: "record.put";
    readonly stream: string;
    readonly key: string;
    readonly value: Uint8Array;
    readonly publisher: PeerText;
  }
  | { readonly type: "record.kept"; readonly stream: string }
  | { readonly type: "record.get"; readonly stream: string; readonly key: string }
  | {
    readonly type: "record.found";
    readonly stream: string;
    readonly record: { readonly value: Uint8Array; readonly publisher: PeerText } | undefined;
  };

/** What goes above the gate. */
export type OpenFrame = PeerFrame | NetworkFrame;

/** Everything. */
export type AnyFrame = HandshakeFrame | OpenFrame;

const handshakeTypes: ReadonlySet<string> = new Set(["hello", "certificate", "muxer", "muxer.agreed"]);

/** Whether a frame belongs to the handshake. */
export function isHandshake(frame: Frame): frame is HandshakeFrame {
  return handshakeTypes.has(frame.type);
}
