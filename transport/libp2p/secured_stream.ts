/**
 * A TLS socket seen as libp2p sees connections: what the muxer reads and writes once the gate has let a peer through.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import { clearImmediate, clearTimeout, setImmediate, setTimeout } from "node:timers";
import type { AbortOptions, Logger, MessageStreamDirection, Stream } from "@libp2p/interface";
import { AbstractMessageStream, type SendResult } from "@libp2p/utils";
import type { Uint8ArrayList } from "uint8arraylist";
import { drained } from "./drained.ts";
import { type FrameBudget, FrameReader } from "./frame_guard.ts";
import { PeerLost } from "./first_ping.ts";
import type { Meter, SocketEnd } from "./meter.ts";

/** So many bytes leave at once; fewer wait for what else is sent in this turn of the loop. */
const bulkBytes = 4_096;

/** What a secured stream is made of. */
export interface SecuredStreamInit {
  readonly socket: TLSSocket;
  readonly direction: MessageStreamDirection;
  readonly log: Logger;
  readonly meter: Meter;
  /** Called once when the other side ended, fell silent, or the socket broke, before the stream closes. */
  readonly onEnd: (by: SocketEnd, detail: string) => void;
  /** What the peer's frames may cost; without one they are not looked at. */
  readonly budget?: FrameBudget;
  /** What the peer sends first. */
  readonly beginsWith: "negotiation" | "frames";
  /** Called when the frames cannot go on, before the stream is aborted. */
  readonly onBroken?: (detail: string) => void;
  /** Milliseconds; only differences matter. */
  readonly now: () => number;
}

/**
 * Wraps a TLS socket after its handshake. What is sent in one turn of the loop leaves in one write (`cork`), reading pauses
 * the socket, and `send` returns false until the socket has drained.
 */
export class SecuredStream extends AbstractMessageStream {
  readonly #socket: TLSSocket;
  readonly #meter: Meter;
  readonly #now: () => number;
  readonly #onBroken: (detail: string) => void;
  readonly #onEnd: SecuredStreamInit["onEnd"];
  #hasEnded = false;
  #receivedBytes = 0;
  readonly #guard: { readonly budget: FrameBudget; readonly reader: FrameReader } | undefined;
  /** What arrived and waits for its turn, or for the peer's budget: the socket is paused meanwhile. */
  #held: Uint8Array[] = [];
  #heldTimer: NodeJS.Timeout | NodeJS.Immediate | undefined;
  #endHeld = false;
  #corked = false;
  /** The open streams that this side opened, by number; undefined where there is none: a map for each idle connection is memory. */
  #own: Map<number, Stream> | undefined;
  readonly #isOwn = (number: number): boolean => {
    const stream = this.#own?.get(number);
    return stream !== undefined && isRead(stream);
  };
  readonly #uncork = () => {
    if (!this.#corked) return;
    this.#corked = false;
    this.#socket.uncork();
  };

  constructor(init: SecuredStreamInit) {
    super({ log: init.log, direction: init.direction });
    this.#socket = init.socket;
    this.#meter = init.meter;
    this.#now = init.now;
    this.#onBroken = init.onBroken ?? (() => {});
    this.#onEnd = init.onEnd;
    const { socket, beginsWith } = init;
    this.#guard = init.budget === undefined
      ? undefined
      : { budget: init.budget, reader: new FrameReader(init.budget.limits, { beginsWith, isOwn: this.#isOwn }) };
    socket.on("data", (bytes) => {
      this.#meter.received += bytes.byteLength;
      this.#receivedBytes += bytes.byteLength;
      if (this.#guard === undefined) this.onData(bytes);
      else if (this.#held.length > 0) this.#held.push(bytes);
      else this.#handOn(bytes);
    });
    socket.on("drain", () => this.safeDispatchEvent("drain"));
    socket.once("end", () => {
      this.#end("them", "the peer ended the connection");
      if (this.#held.length > 0) this.#endHeld = true;
      else this.onRemoteCloseWrite();
    });
    socket.on("error", (error) => {
      this.#end("lost", error.message);
      this.abort(error);
    });
    socket.once("close", () => {
      this.#drop();
      this.onTransportClosed();
    });
  }

  /** This side opened a stream: until it ends, its data is what this side requested. */
  opened(stream: Stream): void {
    if (stream.status !== "open") return;
    const number = Number(stream.id);
    this.#own ??= new Map();
    this.#own.set(number, stream);
    stream.addEventListener("close", () => {
      this.#own?.delete(number);
      if (this.#own?.size === 0) this.#own = undefined;
    }, { once: true });
  }

  #end(by: SocketEnd, detail: string): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.#onEnd(by, detail);
  }

  /** A peer that serves the connection no more ended nothing, and its socket has no error: the connection is lost. */
  override abort(error: Error): void {
    if (error instanceof PeerLost) this.#end("lost", error.message);
    super.abort(error);
  }

  /** Gives the multiplexer what the peer may spend, and holds the rest back. */
  #handOn(bytes: Uint8Array): void {
    const { budget, reader } = this.#guard!;
    const waitMs = budget.waitMs(this.#now());
    if (waitMs > 0) return this.#hold(bytes, waitMs);
    const { turnLeftUs } = budget;
    if (turnLeftUs <= 0) return this.#hold(bytes, 0);
    const scanned = reader.scan(bytes, 0, turnLeftUs);
    if ("broken" in scanned) {
      this.#onBroken(scanned.broken);
      this.abort(new Error(`the peer's frames cannot be read: ${scanned.broken}`));
      return;
    }
    if (scanned.turnUs > 0) budget.spend(scanned, this.#now());
    if (scanned.end === bytes.length) return this.onData(bytes);
    this.onData(bytes.subarray(0, scanned.end));
    if (this.status === "open") this.#hold(bytes.subarray(scanned.end), 0);
  }

  #hold(bytes: Uint8Array, waitMs: number): void {
    this.#socket.pause();
    this.#held.unshift(bytes);
    const goOn = () => {
      this.#heldTimer = undefined;
      const next = this.#held.shift();
      if (next !== undefined) this.#handOn(next);
      if (this.#held.length > 0) {
        if (this.#heldTimer === undefined) this.#heldTimer = setImmediate(goOn);
        return;
      }
      if (this.#endHeld) this.onRemoteCloseWrite();
      else if (this.readStatus === "readable") this.#socket.resume();
    };
    this.#heldTimer ??= waitMs > 0 ? setTimeout(goOn, waitMs) : setImmediate(goOn);
  }

  /** Lets go of what is held back: the connection is over. */
  #drop(): void {
    this.#held = [];
    if (this.#heldTimer === undefined) return;
    clearTimeout(this.#heldTimer as NodeJS.Timeout);
    clearImmediate(this.#heldTimer as NodeJS.Immediate);
    this.#heldTimer = undefined;
  }

  /** Whether the socket's shutdown has begun, by us or in answer to the other side's end. */
  get shutDown(): boolean {
    return this.#socket.writableEnded;
  }

  /** What has come, in bytes. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Whether this side reads nothing for now. */
  get isPaused(): boolean {
    return this.#socket.isPaused();
  }

  /** What the multiplexer answers to late frames while the connection ends goes nowhere; libp2p would give it up at once. */
  override send(data: Uint8Array | Uint8ArrayList): boolean {
    return this.writeStatus === "closing" || super.send(data);
  }

  override sendData(data: Uint8ArrayList): SendResult {
    const socket = this.#socket;
    const bulk = data.byteLength >= bulkBytes;
    let canSendMore = true;
    if (!this.#corked) {
      this.#corked = true;
      socket.cork();
      if (!bulk) setImmediate(this.#uncork);
    }
    for (const piece of data) canSendMore = socket.write(piece);
    if (bulk) this.#uncork();
    this.#meter.sent += data.byteLength;
    return { sentBytes: data.byteLength, canSendMore };
  }

  override sendReset(): void {
    this.#drop();
    this.#socket.destroy();
  }

  override sendPause(): void {
    this.#socket.pause();
  }

  override sendResume(): void {
    if (this.#held.length === 0) this.#socket.resume();
  }

  /**
   * Ends the writing side after what is queued (TLS `close_notify`), and waits until the other side has ended too: a
   * socket that closes before it has read everything resets the connection, and what is on its way is lost.
   *
   * @throws the signal's reason; the caller that gave the signal ends the socket.
   */
  override async close(options?: AbortOptions): Promise<void> {
    if (this.status !== "open") return;
    const { signal } = options ?? {};
    this.writeStatus = "closing";
    await drained(this, signal);
    await new Promise<void>((resolve, reject) => {
      const settle = () => {
        this.#socket.removeListener("close", onClose);
        signal?.removeEventListener("abort", onAbort);
      };
      const onClose = () => {
        settle();
        resolve();
      };
      const onAbort = () => {
        settle();
        reject(signal?.reason);
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      this.#socket.once("close", onClose);
      this.#socket.end();
      if (signal?.aborted) onAbort();
      else if (this.#socket.destroyed) onClose();
    });
    this.writeStatus = "closed";
    this.onTransportClosed();
  }
}

/** Whether what comes on a stream is read: libp2p discards what comes after its end, and opens the window again. */
function isRead({ readStatus, remoteWriteStatus }: Stream): boolean {
  return remoteWriteStatus === "writable" && (readStatus === "readable" || readStatus === "paused");
}
