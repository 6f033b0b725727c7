/**
 * A stream of libp2p, as the port sees it.
 *
 * libp2p's own events keep other promises than the port: `end` may come before bytes that were read ahead, `close` may come while
 * a paused stream still holds bytes, and both come inside the call that caused them.
 *
 * @module
 */
import type { Connection, Stream } from "@libp2p/interface";
import type { Uint8ArrayList } from "uint8arraylist";
import { streamsPerPeerMax } from "../core/stream_places.ts";
import type { StreamEnd, StreamListener, WireStream } from "../core/wire.ts";
import { joinPieces } from "./joined_pieces.ts";

/** libp2p's own limit of streams of one protocol: above the core's, which gives the verdict. */
export const libp2pStreamsMax = streamsPerPeerMax + 16;

/** Characters of a reason that are kept. */
const detailMax = 200;

/** The connection of a stream. */
export interface StreamOwner {
  readonly isOpen: boolean;
  forget(stream: Libp2pStream): void;
}

/** What is reported as the end of a stream. */
interface End {
  readonly how: StreamEnd;
  readonly detail: string;
}

/** A stream of libp2p, in either direction. */
export class Libp2pStream implements WireStream {
  readonly #owner: StreamOwner;
  #protocol: string;
  /** Gives the negotiation up, while there is one. */
  #negotiating: AbortController | undefined;
  #listener: StreamListener | undefined;
  #stream: Stream | undefined;
  /** What was sent before the protocol was agreed on. */
  #queue: Uint8Array[] = [];
  /** Whether `send` returned false and `drained` was not reported since. */
  #owesDrained = false;
  #sending = false;
  #ending = false;
  #paused = false;
  #resuming = false;
  /** Whether the other side ended its writing side. */
  #whole = false;
  /** Whether all of it came as far as libp2p. */
  #complete = false;
  #saidEnded = false;
  /** Whether this side aborted it. */
  #aborted = false;
  #end: End | undefined;
  #over = false;

  private constructor(owner: StreamOwner, protocol: string) {
    this.#owner = owner;
    this.#protocol = protocol;
  }

  /** Opens a stream with the first of these protocols that the peer supports. Without a connection it reports `closed`. */
  static open(
    owner: StreamOwner,
    connection: Pick<Connection, "newStream"> | undefined,
    protocols: readonly string[],
    listener: StreamListener,
  ): Libp2pStream {
    const opened = new Libp2pStream(owner, protocols[0] ?? "");
    opened.#listener = listener;
    if (connection === undefined) {
      opened.#endLater({ how: "connection", detail: "the connection is not open" });
      return opened;
    }
    opened.#negotiating = new AbortController();
    connection.newStream([...protocols], {
      signal: opened.#negotiating.signal,
      runOnLimitedConnection: true,
      maxOutboundStreams: libp2pStreamsMax,
    }).then((stream) => opened.#agreed(stream), (error) => opened.#notAgreed(error));
    return opened;
  }

  /** Takes a stream that a peer opened. It reports nothing before {@linkcode listen}. */
  static received(owner: StreamOwner, stream: Stream, protocol: string): Libp2pStream {
    const received = new Libp2pStream(owner, protocol);
    received.#stream = stream;
    return received;
  }

  get protocol(): string {
    return this.#protocol;
  }

  /** The listener of a stream that a peer opened. */
  listen(listener: StreamListener): void {
    this.#listener = listener;
    if (this.#stream !== undefined) this.#watch(this.#stream);
  }

  /** Resets a stream that a peer opened and that gets no listener. */
  refuse(detail: string): void {
    this.#over = true;
    this.#stream?.abort(new Error(detail));
  }

  #agreed(stream: Stream): void {
    this.#negotiating = undefined;
    if (this.#over || this.#end !== undefined) return stream.abort(new Error("the stream was given up"));
    this.#stream = stream;
    this.#protocol = stream.protocol;
    this.#watch(stream);
    this.#listener?.opened?.();
    for (const bytes of this.#queue.splice(0)) this.#write(stream, bytes);
    if (this.#ending) this.#endWriting(stream);
    this.#look();
  }

  #notAgreed(error: unknown): void {
    this.#negotiating = undefined;
    const { name, message } = error instanceof Error ? error : { name: "", message: String(error) };
    const detail = message.slice(0, detailMax);
    if (name === "UnsupportedProtocolError") return this.#endLater({ how: "unsupported", detail });
    if (/^TooMany/.test(name)) return this.#endLater({ how: "too-many", detail });
    const lost = !this.#owner.isOpen || name === "ConnectionClosedError" || name === "MuxerClosedError";
    this.#endLater({ how: lost ? "connection" : "reset", detail });
  }

  #watch(stream: Stream): void {
    joinPieces(stream);
    this.#whole = stream.remoteWriteStatus === "closed" && stream.status === "open";
    stream.addEventListener("message", ({ data }) => {
      for (const bytes of arrivedPieces(data)) this.#arrived(stream, bytes);
    });
    stream.addEventListener("remoteCloseWrite", () => this.#whole = true);
    stream.addEventListener("end", () => this.#allArrived(stream));
    stream.addEventListener("close", ({ error }) => this.#closedBelow(stream, error));
    stream.addEventListener("drain", () => this.#look());
    // Later: libp2p is still inside its own loop of sending, in which what is sent waits for a call that never comes.
    stream.addEventListener("idle", () => queueMicrotask(() => this.#look()));
    this.#pauseBelow();
    // What the negotiation read ahead is still to come, after which there is no further `end` or `close`.
    if (stream.readableEnded) this.#allArrived(stream);
    if (stream.status !== "open" && stream.status !== "closing") this.#closedBelow(stream, undefined);
  }

  // ── What arrives ──

  #arrived(stream: Stream, bytes: Uint8Array): void {
    if (this.#over || this.#saidEnded) return;
    this.#listener?.data(bytes);
    if (stream.readableEnded || this.#end !== undefined) queueMicrotask(() => this.#settle());
  }

  /** libp2p has handed everything on, or dropped it. Later: yamux reports a frame's end before the bytes of the same frame. */
  #allArrived({ status }: Stream): void {
    if (status === "aborted" || status === "reset") return;
    this.#complete = this.#whole;
    queueMicrotask(() => this.#settle());
  }

  /** Reports the end of the other side, and of the stream, once everything before was delivered. */
  #settle(): void {
    const { status, readBufferLength } = this.#stream ?? { status: "open", readBufferLength: 0 };
    if (this.#over || (status === "closed" && readBufferLength > 0)) return;
    if (this.#complete && !this.#saidEnded && !this.#aborted && readBufferLength === 0) {
      this.#saidEnded = true;
      this.#listener?.ended();
    }
    if (this.#end !== undefined) this.#finish(this.#end);
  }

  pause(): void {
    if (this.#over || this.#paused) return;
    this.#paused = true;
    // The multiplexer forgets a pause inside the delivery that `resume` causes: it comes after.
    if (!this.#resuming) this.#pauseBelow();
  }

  #pauseBelow(): void {
    if (this.#paused && this.#stream?.readStatus === "readable") this.#stream.pause();
  }

  resume(): void {
    if (this.#over || !this.#paused) return;
    this.#paused = false;
    queueMicrotask(() => {
      if (!this.#paused && !this.#over) this.#resumeBelow();
    });
  }

  /** Resuming delivers at once what libp2p has kept. */
  #resumeBelow(): void {
    const stream = this.#stream;
    if (stream?.readStatus !== "paused") return;
    this.#resuming = true;
    try {
      stream.resume();
    } catch (error) {
      if (stream.status === "open") stream.abort(errorOf(error)); // a connection that ends takes no window update
    } finally {
      this.#resuming = false;
    }
    this.#pauseBelow();
  }

  // ── What is sent ──

  send(bytes: Uint8Array): boolean {
    if (this.#over || this.#ending || this.#end !== undefined) return true;
    const stream = this.#stream;
    if (stream !== undefined) return this.#write(stream, bytes);
    this.#queue.push(bytes);
    this.#owesDrained = true;
    return false;
  }

  #write(stream: Stream, bytes: Uint8Array): boolean {
    let more = false;
    this.#sending = true;
    try {
      more = stream.send(bytes);
    } catch {
      // The stream has closed: `closed` follows.
    } finally {
      this.#sending = false;
    }
    if (!more) this.#owesDrained = true;
    else if (this.#owesDrained) queueMicrotask(() => this.#look());
    return more;
  }

  /**
   * Reports `drained` when nothing of what was sent is left. A multiplexer reports `drain` to all of its streams whenever the
   * connection drains, also to those whose window is used up: what counts is what the stream still holds.
   */
  #look(): void {
    const stream = this.#stream;
    if (!this.#owesDrained || this.#sending || this.#over || this.#end !== undefined || stream === undefined) return;
    if (stream.writableNeedsDrain || stream.writeBufferLength > 0) return;
    this.#owesDrained = false;
    this.#listener?.drained?.();
  }

  end(last?: Uint8Array): void {
    if (this.#over || this.#ending || this.#end !== undefined) return;
    const stream = this.#stream;
    this.#ending = true;
    if (stream === undefined) {
      if (last !== undefined) this.#queue.push(last);
      return;
    }
    if (last !== undefined) this.#write(stream, last);
    this.#endWriting(stream);
  }

  /** The half-close leaves in the same write as the bytes before it; yamux gives it a frame of its own. */
  #endWriting(stream: Stream): void {
    stream.close().catch((error) => {
      if (stream.status === "open" || stream.status === "closing") stream.abort(errorOf(error));
    });
  }

  // ── How it ends ──

  abort(detail: string): void {
    if (this.#over || this.#aborted) return;
    this.#aborted = true;
    const end: End = { how: "reset", detail };
    this.#end = end; // also where the stream has closed before, and only waits for its reader
    this.#queue = [];
    const error = new Error(detail);
    this.#negotiating?.abort(error);
    this.#stream?.abort(error);
    queueMicrotask(() => this.#finish(end));
  }

  #closedBelow(stream: Stream, error: Error | undefined): void {
    const detail = (error?.message ?? "the stream closed").slice(0, detailMax);
    this.#endLater({ how: this.#howItEnded(stream), detail });
  }

  #howItEnded({ status, writeBufferLength }: Stream): StreamEnd {
    if (status === "closed") return this.#whole && this.#ending && writeBufferLength === 0 ? "done" : "connection";
    return this.#owner.isOpen ? "reset" : "connection";
  }

  /** Reports the end after this call, and after what a paused stream still holds. */
  #endLater(end: End): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    queueMicrotask(() => this.#settle());
  }

  /** The connection is about to be closed gently. A stream whose writing side its user did not end is reset, after what arrived was delivered. */
  connectionCloses(detail: string): void {
    if (this.#ending) return;
    this.connectionEnded(detail);
    this.#stream?.abort(new Error(detail));
  }

  /** The connection is over: nothing follows. What arrived before is delivered, paused or not. */
  connectionEnded(detail: string): void {
    const stream = this.#stream;
    if (this.#over) return;
    this.#end ??= { how: "connection", detail };
    if (stream !== undefined && !this.#aborted) {
      this.#paused = false;
      this.#resumeBelow();
      this.#settle();
    }
    this.#finish(this.#end);
  }

  #finish({ how, detail }: End): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue = [];
    this.#owner.forget(this);
    this.#negotiating?.abort(new Error(detail)); // the connection is over
    this.#listener?.closed(how, detail);
  }
}

/** Pieces of a frame that are as long as this on average are delivered as they came; shorter ones are joined, in bytes. */
export const pieceBytesMin = 4_096;

/** What a stream delivers, in plain arrays. A frame that came in long pieces is not copied into one: that takes a new buffer each time. */
function arrivedPieces(data: Uint8Array | Uint8ArrayList): readonly Uint8Array[] {
  if (data instanceof Uint8Array) return [plainBytes(data)];
  const pieces = [...data];
  return pieces.length > 1 && data.byteLength >= pieces.length * pieceBytesMin
    ? pieces.map((piece) => plainBytes(piece))
    : [plainBytes(data)];
}

/** What a stream delivers, as a plain array: a socket's bytes are Buffers, whose slices alias where an array's slice copies. */
function plainBytes(data: Uint8Array | { subarray(): Uint8Array }): Uint8Array {
  const bytes = data.subarray();
  return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

const errorOf = (error: unknown): Error => error instanceof Error ? error : new Error(String(error));
