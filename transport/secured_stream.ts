/**
 * A TLS socket seen as libp2p sees connections: what the muxer reads and writes once the gate has let a peer through.
 *
 * @module
 */
import type { TLSSocket } from "node:tls";
import type { AbortOptions, Logger, MessageStreamDirection } from "@libp2p/interface";
import { AbstractMessageStream, type SendResult } from "@libp2p/utils";
import type { Uint8ArrayList } from "uint8arraylist";
import { drained } from "./drained.ts";

/** How a connection came to its end, as far as its socket knows. */
export type SocketEnd = "them" | "lost";

/** Bytes of application data that went through TLS. Shared by all connections of a transport. */
export interface Meter {
  received: number;
  sent: number;
}

/** What a secured stream is made of. */
export interface SecuredStreamInit {
  readonly socket: TLSSocket;
  readonly direction: MessageStreamDirection;
  readonly log: Logger;
  readonly meter: Meter;
  /** Called once when the other side ended, or the socket broke, before the stream closes. */
  readonly onEnd: (by: SocketEnd, detail: string) => void;
}

/**
 * Wraps a TLS socket after its handshake. Pieces of one `send` leave in one write (`cork`), nothing is copied, reading
 * pauses the socket, and `send` says false until the socket has drained.
 */
export class SecuredStream extends AbstractMessageStream {
  readonly #socket: TLSSocket;
  readonly #meter: Meter;

  constructor(init: SecuredStreamInit) {
    super({ log: init.log, direction: init.direction });
    this.#socket = init.socket;
    this.#meter = init.meter;
    const { socket, onEnd } = init;
    let ended = false;
    const end = (by: SocketEnd, detail: string) => {
      if (ended) return;
      ended = true;
      onEnd(by, detail);
    };
    socket.on("data", (bytes) => {
      this.#meter.received += bytes.byteLength;
      this.onData(bytes);
    });
    socket.on("drain", () => this.safeDispatchEvent("drain"));
    socket.once("end", () => {
      end("them", "the peer ended the connection");
      this.onRemoteCloseWrite();
    });
    socket.on("error", (error) => {
      end("lost", error.message);
      this.abort(error);
    });
    socket.once("close", () => this.onTransportClosed());
  }

  override sendData(data: Uint8ArrayList): SendResult {
    const socket = this.#socket;
    let canSendMore = true;
    socket.cork();
    for (const piece of data) canSendMore = socket.write(piece);
    socket.uncork();
    this.#meter.sent += data.byteLength;
    return { sentBytes: data.byteLength, canSendMore };
  }

  override sendReset(): void {
    this.#socket.destroy();
  }

  override sendPause(): void {
    this.#socket.pause();
  }

  override sendResume(): void {
    this.#socket.resume();
  }

  /** Ends the writing side after what is queued has been handed to the socket (TLS `close_notify`). */
  override async close(options?: AbortOptions): Promise<void> {
    if (this.status !== "open") return;
    this.writeStatus = "closing";
    await drained(this, options?.signal);
    await new Promise<void>((resolve, reject) => {
      const { signal } = options ?? {};
      const abort = () => reject(signal?.reason);
      signal?.addEventListener("abort", abort, { once: true });
      this.#socket.end(() => {
        signal?.removeEventListener("abort", abort);
        resolve();
      });
    });
    this.writeStatus = "closed";
    if (this.remoteWriteStatus === "closed") this.onTransportClosed();
  }
}
