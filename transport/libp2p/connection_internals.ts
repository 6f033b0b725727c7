/**
 * What this transport uses of libp2p's connections, listeners and multiplexers beyond their published types, and a look at
 * start whether it is there. The look needs no network: a socket that is not connected goes the way of one that is.
 *
 * @module
 */
import { type LookupFunction, Socket } from "node:net";
import type { AbortOptions, Listener, Logger, MessageStream, Stream, StreamMuxer, Transport } from "@libp2p/interface";
import { AbstractMessageStream, type SendResult } from "@libp2p/utils";
import type { Multiaddr } from "@multiformats/multiaddr";
import { MovedInternal, need, needMethods } from "./moved_internal.ts";

/** What a connection of `@libp2p/tcp` keeps: TLS takes the socket, and what was read of it ahead goes back into it. */
export interface SocketConnection {
  readonly socket: Socket;
  readonly readBuffer: { readonly byteLength: number; subarray(): Uint8Array; consume(bytes: number): void };
}

/** How raw connections end, over a socket or relayed (`AbstractMultiaddrConnection`). */
export interface Closable {
  /** Ends the connection once nothing is queued in it. */
  sendClose(options?: AbortOptions): Promise<void>;
  /** Ends the connection at once. */
  sendReset(error: Error): void;
}

/** The server of a listener of `@libp2p/tcp`: the listener takes sockets from its event. */
export interface ListenerServer {
  address(): { readonly port: number } | null;
  listeners(event: "connection"): ((socket: Socket) => void)[];
  removeAllListeners(event: "connection"): unknown;
  on(event: "connection", listener: (socket: Socket) => void): unknown;
}

/** A listener of `@libp2p/tcp`. */
export interface TcpListener {
  readonly server: ListenerServer;
  status: { readonly code: number; readonly listeningAddr?: { toString(): string } };
  /** Stops listening; connections stay. */
  pause(permanent: boolean): void;
}

/** yamux hands streams of the peer on and ends with its connection, or its peer, through methods of its own, and measures the round trip. */
export type YamuxMuxer = StreamMuxer & {
  onRemoteStream(stream: Stream): void;
  onTransportClosed(error?: Error): void;
  ping(options?: AbortOptions): Promise<number>;
};

/** The status code of a listener that listens; a listener of another status destroys what arrives. */
const activeCode = 1;

/** The inside of a TCP listener. */
export function tcpListenerOf(listener: object): TcpListener {
  const tcp = listener as Partial<TcpListener>;
  const server = need(tcp.server, "@libp2p/tcp", "server in a TCP listener");
  needMethods(server, "@libp2p/tcp", "listener.server", [
    "address",
    "listeners",
    "removeAllListeners",
    "on",
  ]);
  if (server.listeners("connection").length !== 1) {
    throw new MovedInternal("@libp2p/tcp", "one handler of connections at the server of a TCP listener");
  }
  needMethods(tcp, "@libp2p/tcp", "listener", ["pause"]);
  need(tcp.status, "@libp2p/tcp", "status in a TCP listener");
  return tcp as TcpListener;
}

/** The inside of a connection over a socket. */
export function socketConnectionOf(raw: object): SocketConnection {
  const tcp = raw as Partial<SocketConnection>;
  if (!(tcp.socket instanceof Socket)) throw new MovedInternal("@libp2p/tcp", "socket in a TCP connection");
  const ahead = need(tcp.readBuffer, "@libp2p/utils", "readBuffer in a connection");
  if (typeof ahead.byteLength !== "number") {
    throw new MovedInternal("@libp2p/utils", "readBuffer.byteLength in a connection");
  }
  needMethods(ahead, "@libp2p/utils", "connection.readBuffer", ["subarray", "consume"]);
  return tcp as SocketConnection;
}

/** How a raw connection ends, which `close` and `abort` call. */
export function closableOf(raw: object): Closable {
  needMethods(raw, "@libp2p/utils", "connection", ["sendClose", "sendReset"]);
  return raw as Closable;
}

/** How `@libp2p/tcp` opens a socket. `peerId`: libp2p's queue dials for this peer, at each of its addresses. */
export type Connect = (
  address: Multiaddr,
  options: {
    readonly signal: AbortSignal;
    readonly peerId?: { toString(): string } | undefined;
    readonly lookup?: LookupFunction;
  },
) => Promise<unknown>;

/**
 * Wraps how a TCP transport opens its sockets.
 *
 * @throws {MovedInternal} where the transport has no such method.
 */
export function wrapConnect(transport: Transport, wrap: (connect: Connect) => Connect): Transport {
  needMethods(transport, "@libp2p/tcp", "transport", ["_connect"]);
  const inside = transport as unknown as { _connect: Connect };
  inside._connect = wrap(inside._connect.bind(transport));
  return transport;
}

/**
 * Looks whether the listeners and connections of a TCP transport are as they are used.
 *
 * @throws {MovedInternal} naming what is missing.
 */
export function checkTcp(transport: Transport): void {
  const made: MessageStream[] = [];
  const upgradeInbound = (raw: MessageStream) => {
    made.push(raw);
    return new Promise<never>(() => {}); // no code awaits it; it is collected with the listener
  };
  const options = { upgrader: { upgradeInbound } } as unknown as Parameters<Transport["createListener"]>[0];
  const listener: Listener = transport.createListener(options);
  const { server, status } = tcpListenerOf(listener);
  (listener as unknown as TcpListener).status = { ...status, code: activeCode };
  const socket = new Socket();
  Object.defineProperties(socket, { remoteAddress: { value: "127.0.0.1" }, remotePort: { value: 1 } });
  try {
    server.listeners("connection")[0]?.(socket);
    const raw = need(made[0], "@libp2p/tcp", "connection for a socket that its listener is given");
    socketConnectionOf(raw);
    closableOf(raw);
  } finally {
    socket.removeAllListeners(); // a connection that lacks something may fail over its own end
    socket.on("error", () => {});
    socket.destroy();
  }
}

/**
 * Looks whether streams can be built as `SecuredStream` is, and whether a multiplexer hands streams on as it is used.
 *
 * @throws {MovedInternal} naming what is missing.
 */
export function checkMuxer(factory: { createStreamMuxer(connection: MessageStream): StreamMuxer }, log: Logger): void {
  checkStreams();
  const connection = new StandIn({ log, direction: "inbound" });
  const muxer = factory.createStreamMuxer(connection);
  const over = new Error("it was a look at start");
  try {
    yamuxOf(muxer);
  } finally {
    muxer.abort(over);
    connection.abort(over);
  }
}

/** The inside of a multiplexer. */
export function yamuxOf(muxer: StreamMuxer): YamuxMuxer {
  needMethods(muxer, "@libp2p/yamux", "muxer", ["onRemoteStream", "onTransportClosed", "ping"]);
  return muxer as YamuxMuxer;
}

/**
 * Looks whether the class that our streams extend has what they call and override.
 *
 * @throws {MovedInternal} naming what is missing.
 */
export function checkStreams(base: object = AbstractMessageStream.prototype): void {
  needMethods(base, "@libp2p/utils", "AbstractMessageStream", [
    "onData",
    "onRemoteCloseWrite",
    "onTransportClosed",
    "safeDispatchEvent",
    "send",
    "abort",
  ]);
}

/** A connection that leads nowhere. */
class StandIn extends AbstractMessageStream {
  override sendData(data: { readonly byteLength: number }): SendResult {
    return { sentBytes: data.byteLength, canSendMore: true };
  }
  override sendReset(): void {}
  override sendPause(): void {}
  override sendResume(): void {}
  override close(): Promise<void> {
    return Promise.resolve();
  }
}
