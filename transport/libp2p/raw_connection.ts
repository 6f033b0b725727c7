/**
 * How a raw connection of libp2p ends: which side ended it, in which order its layers close, and which refusal an early end
 * amounts to.
 *
 * @module
 */
import { Socket } from "node:net";
import type { AbortOptions, MessageStream } from "@libp2p/interface";
import { HungUp, ProtocolMismatch, type Refusal } from "../../pki/refusal.ts";
import { closeGraceMs } from "../core/wire.ts";
import { closableOf } from "./connection_internals.ts";
import type { SocketEnd } from "./meter.ts";

/** What is known about the end of a raw connection. The first cause stays. */
export interface RawEnd {
  /** Who ended the connection. */
  end: { readonly by: "us" | SocketEnd; readonly detail: string } | undefined;
  /** The error with which libp2p or this node aborted it. */
  failure: Error | undefined;
  /** What runs over the raw connection once the handshake is done: it holds what has not left yet. */
  secured: {
    close(options?: AbortOptions): Promise<void>;
    readonly shutDown: boolean;
    readonly receivedBytes: number;
    readonly isPaused: boolean;
  } | undefined;
}

/**
 * The error of a connection that this node closed. It has no stack: a stack costs more than the rest of the record of an
 * early refusal.
 */
export class ConnectionClosed extends Error {
  override readonly name = "ConnectionClosed";

  constructor(detail: string) {
    const { stackTraceLimit } = Error;
    Error.stackTraceLimit = 0;
    super(`connection closed: ${detail}`);
    Error.stackTraceLimit = stackTraceLimit;
  }
}

/** libp2p reports `local` at both ends of a connection that ended: the first cause is noted here. */
export function noteWhoEnds(raw: MessageStream, known: RawEnd): void {
  const them = () => {
    known.end ??= { by: "them", detail: "the peer ended the connection" };
  };
  const close = raw.close.bind(raw);
  raw.close = (options) => {
    known.end ??= { by: "us", detail: "closed" };
    return close(options);
  };
  const abort = raw.abort.bind(raw);
  raw.abort = (error) => {
    known.failure ??= error;
    known.end ??= { by: "us", detail: error.message };
    abort(error);
  };
  raw.addEventListener("remoteCloseWrite", them);
  const socket = socketOf(raw);
  socket?.prependListener("end", them);
  socket?.prependListener("error", (error: Error) => {
    known.end ??= { by: "lost", detail: error.message };
  });
}

/**
 * libp2p ends the raw connection only, whose socket knows nothing of TLS over it. A close would lose what TLS still has to
 * write, so the secured stream ends first. A reset fails, and leaves the descriptor open, once TLS has begun to shut the
 * socket down (libuv's `uv_tcp_close_reset`), so the socket is destroyed then.
 *
 * @throws {MovedInternal} where libp2p's connections are others than those this was written for.
 */
export function closeFromAbove(rawConnection: MessageStream, known: Pick<RawEnd, "secured">): void {
  const raw = closableOf(rawConnection);
  const sendClose = raw.sendClose.bind(raw);
  const sendReset = raw.sendReset.bind(raw);
  raw.sendClose = async (options) => {
    const signal = options?.signal ?? AbortSignal.timeout(closeGraceMs); // a peer that never ends delays nothing else
    await known.secured?.close({ signal }).catch(() => {}); // not in time, or broken: the raw connection ends either way
    await sendClose(options);
  };
  const socket = socketOf(rawConnection);
  if (socket === undefined) return;
  raw.sendReset = (error) => known.secured?.shutDown ? void socket.destroy() : sendReset(error);
}

/** The socket under a raw connection; a relayed one has none. */
export function socketOf(raw: MessageStream): Socket | undefined {
  const { socket } = raw as { socket?: unknown };
  return socket instanceof Socket ? socket : undefined;
}

/** The refusal for a connection that ended before it was open, where neither TLS nor the listener had a reason. */
export function refusalOfEarlyEnd({ failure, end }: Pick<RawEnd, "failure" | "end">): Refusal {
  if (end?.by !== "us" || failure === undefined) {
    return new HungUp({ detail: end?.detail ?? "the connection ended" });
  }
  const detail = failure.message.slice(0, 200);
  switch (failure.name) {
    case "InvalidMessageError":
    case "InvalidDataLengthError":
    case "InvalidDataLengthLengthError":
    case "UnsupportedProtocolError":
      return new ProtocolMismatch({ detail });
    default:
      // libp2p wraps what the negotiation threw and keeps only the message.
      if (/newline|data length|protocol selection failed/i.test(detail)) return new ProtocolMismatch({ detail });
      return new HungUp({ detail });
  }
}
