/**
 * Streams of raw files: opened by us, or offered by others and taken by whoever serves their protocol.
 *
 * @module
 */
import type { Connection, Stream } from "@libp2p/interface";
import { streamsPerProtocolMax } from "../libp2p/node.ts";
import { type StreamAnswer, type StreamProtocol, type TransportAsk, TransportError } from "../port.ts";
import type { SessionParts } from "./requests.ts";
import { type OwnedStream, ownStream } from "./stream_handle.ts";
import { transportError } from "./whole_message.ts";

/** How long an offered stream waits to be taken, in milliseconds. */
export const streamAcceptMs = 10_000;
/** Offered streams that may wait at once. */
export const offeredStreamsMax = 1_024;
/** Streams that may be open at once, in both directions. */
export const openStreamsMax = 4_096;

type OpenAsk = Extract<TransportAsk, { type: "stream.open" }>;
type AcceptAsk = Extract<TransportAsk, { type: "stream.accept" }>;

interface Offered {
  readonly owned: OwnedStream;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** The raw streams of a session. */
export class RawStreams {
  readonly #parts: SessionParts;
  readonly #offered = new Map<string, Offered>();
  readonly #open = new Set<OwnedStream>();
  readonly #opening = new Set<AbortController>();

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  /** Opens a stream to a peer. Nobody there may want it: that is `unsupported`. */
  open(ask: OpenAsk): void {
    const { id, replyTo, timeoutMs } = ask;
    const controller = new AbortController();
    const late = new TransportError({ code: "timed-out", detail: `no stream after ${timeoutMs} ms` });
    const timer = setTimeout(() => controller.abort(late), timeoutMs);
    this.#opening.add(controller);
    const answer = (said: StreamAnswer) => {
      clearTimeout(timer);
      this.#opening.delete(controller);
      this.#parts.outbox.answer(replyTo, said);
    };
    this.#opened(ask, controller.signal).then(
      (stream) => answer({ type: "stream.opened", id, stream }),
      (error) => answer({ type: "stream.failed", id, error: transportError(error, controller.signal) }),
    );
  }

  async #opened({ id, peer, protocol }: OpenAsk, signal: AbortSignal) {
    if (this.#open.size >= openStreamsMax) {
      throw new TransportError({ code: "failed", detail: `already ${openStreamsMax} streams` });
    }
    const connection = await this.#parts.dialler.connect(peer, signal);
    const stream = await connection.newStream(protocol, {
      signal,
      runOnLimitedConnection: true,
      maxOutboundStreams: streamsPerProtocolMax,
    });
    return this.#own({ id, peer, protocol, stream }).handle;
  }

  /** Lets others offer streams of a protocol. */
  serve(protocol: StreamProtocol): Promise<void> {
    return this.#parts.libp2p.handle(protocol, (stream, connection) => this.#receive(protocol, stream, connection), {
      runOnLimitedConnection: true,
      maxInboundStreams: streamsPerProtocolMax,
      maxOutboundStreams: streamsPerProtocolMax,
      force: true,
    });
  }

  #receive(protocol: StreamProtocol, stream: Stream, connection: Connection): void {
    const { connections, outbox, uuid } = this.#parts;
    const peer = connection.remotePeer.toString();
    const identity = connections.identityOf(peer);
    if (identity === undefined || this.#offered.size >= offeredStreamsMax || this.#open.size >= openStreamsMax) {
      return stream.abort(new Error(identity === undefined ? "not established" : "too many streams"));
    }
    const exchange = uuid();
    const owned = this.#own({ id: exchange, peer, protocol, stream });
    const timer = setTimeout(() => this.reject(exchange), streamAcceptMs);
    this.#offered.set(exchange, { owned, timer });
    outbox.tell({ type: "stream.received", exchange, peer, identity, protocol });
  }

  /** Takes an offered stream. */
  accept({ exchange, replyTo }: AcceptAsk): void {
    const offered = this.#take(exchange);
    if (offered !== undefined) {
      return this.#parts.outbox.answer(replyTo, { type: "stream.opened", id: exchange, stream: offered.handle });
    }
    const error = new TransportError({ code: "timed-out", detail: "the offered stream is gone" });
    this.#parts.outbox.answer(replyTo, { type: "stream.failed", id: exchange, error });
  }

  /** Resets an offered stream. */
  reject(exchange: string): void {
    this.#take(exchange)?.abort("nobody takes this stream");
  }

  #take(exchange: string): OwnedStream | undefined {
    const offered = this.#offered.get(exchange);
    if (offered === undefined) return undefined;
    clearTimeout(offered.timer);
    this.#offered.delete(exchange);
    return offered.owned;
  }

  #own(init: Parameters<typeof ownStream>[0]): OwnedStream {
    const owned = ownStream(init);
    this.#open.add(owned);
    init.stream.addEventListener("close", () => {
      this.#open.delete(owned);
      this.#take(init.id);
    }, { once: true });
    return owned;
  }

  /** Resets everything. */
  stop(): void {
    const stopped = new TransportError({ code: "stopped", detail: "the transport stops" });
    for (const controller of this.#opening) controller.abort(stopped);
    for (const exchange of [...this.#offered.keys()]) this.reject(exchange);
    for (const owned of [...this.#open]) owned.abort("the transport stops");
  }
}
