/**
 * How gossip is read: as fast as the peer can afford it. gossipsub itself takes all that arrives on a stream into memory, waits only before
 * it decodes, and decodes what is left after the stream has ended.
 *
 * @module
 */
import type { PeerId, Stream } from "@libp2p/interface";
import { MessageReader } from "../core/length_prefixed.ts";
import { joinPieces } from "./joined_pieces.ts";
import { need } from "./moved_internal.ts";
import type { GossipRpc, TakesPricedRpc } from "./priced_gossip.ts";

/** Largest gossipsub message that is read, in bytes; the existing nodes send at most 64 KiB. */
const gossipRpcMaxBytes = 131_072;
/** What arrives of a stream before it is paused, and its window, in bytes. */
const heldBytesMax = 262_144;

/** What is used of gossipsub. */
export interface ReadsStreams {
  isStarted(): boolean;
  readonly peers: ReadonlyMap<string, PeerId>;
  /** By peer: the newest stream that the peer opened. */
  readonly streamsInbound: Map<string, { close(): Promise<void> }>;
  decodeRpc(bytes: Uint8Array): GossipRpc;
  /** Reads a stream that a peer opened. */
  createInboundStream(peer: PeerId, stream: Stream): void;
}

/** Makes gossipsub read each stream no faster than its messages are taken. */
export function readInPace(pubsub: ReadsStreams, takes: TakesPricedRpc): void {
  pubsub.createInboundStream = (peer, stream) => {
    const id = peer.toString();
    if (!pubsub.isStarted() || !pubsub.peers.has(id)) return;
    pubsub.streamsInbound.get(id)?.close();
    pubsub.streamsInbound.set(id, { close: () => stream.close().catch((error) => stream.abort(error)) });
    // The peer stays a peer where its stream fails: it may have another one, on another connection.
    readAll(pubsub, peer, stream, takes).catch((error) => stream.abort(error));
  };
}

async function readAll(pubsub: ReadsStreams, peer: PeerId, stream: Stream, takes: TakesPricedRpc): Promise<void> {
  const reading = new GossipReading(stream);
  for await (const message of reading.messages()) {
    try {
      await takes(peer, decoded(pubsub, message), reading.over);
    } catch {
      // What cannot be taken is left out. What a stream that is over cannot pay is dropped, with all that follows.
      if (reading.over.aborted) return;
    }
  }
}

/** What cannot be decoded has no content. It costs as much, and other work gets its turn. */
function decoded(pubsub: ReadsStreams, message: Uint8Array): GossipRpc {
  try {
    return pubsub.decodeRpc(message);
  } catch {
    return { subscriptions: [], messages: [] };
  }
}

/** The messages of one stream. */
class GossipReading {
  readonly #stream: Stream;
  readonly #reader = new MessageReader(gossipRpcMaxBytes);
  readonly #over = new AbortController();
  #wake = () => {};

  constructor(stream: Stream) {
    this.#stream = stream;
    const windowed = stream as Stream & { maxStreamWindowSize: number };
    need(windowed.maxStreamWindowSize, "@libp2p/yamux", "maxStreamWindowSize in a stream");
    windowed.maxStreamWindowSize = heldBytesMax;
    joinPieces(stream);
    stream.addEventListener("message", ({ data }) => {
      this.#reader.append(data.subarray());
      if (this.#reader.sizeBytes > heldBytesMax) stream.pause();
      this.#wake();
    });
    stream.addEventListener("close", () => {
      this.#over.abort();
      this.#wake();
    }, { once: true });
  }

  /** The stream has closed. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  async *messages(): AsyncGenerator<Uint8Array> {
    for (;;) {
      const message = this.#reader.next();
      if (message === "too-large") throw new Error(`a message of gossip of more than ${gossipRpcMaxBytes} bytes`);
      if (message !== undefined) yield message;
      else if (this.over.aborted) return;
      else if (this.#stream.readStatus === "paused") this.#stream.resume();
      else await new Promise<void>((resolve) => this.#wake = resolve);
    }
  }
}
