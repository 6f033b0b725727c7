/**
 * Mutual TLS 1.3 as a libp2p connection encrypter, `/tls/1.0.0`, with the connection's listener as the only authority on the
 * peer.
 *
 * TLS proves that the peer holds the key of the certificate it shows. Whether that certificate is accepted is not decided by
 * TLS here: the listener receives the chain, and before its verdict no byte reaches the multiplexer (specification: "Mutual
 * TLS").
 *
 * @module
 */
import type { Socket } from "node:net";
import { connect, type ConnectionOptions, TLSSocket } from "node:tls";
import type {
  ComponentLogger,
  ConnectionEncrypter,
  MessageStream,
  SecureConnectionOptions,
  SecuredConnection,
} from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import type { PeerIdentity } from "../../pki/path.ts";
import {
  HandshakeTimeout,
  HungUp,
  Internal,
  NoCertificate,
  ProtocolMismatch,
  type Refusal,
  TlsFailed,
} from "../../pki/refusal.ts";
import { checkStreams, socketConnectionOf } from "./connection_internals.ts";
import { alpnProtocols, confirmedMuxer, earlyMuxer, muxerAgreement } from "./early_muxer.ts";
import type { FrameBudgets } from "./frame_guard.ts";
import type { Libp2pConnection, Libp2pConnections } from "./connections.ts";
import { ConnectionClosed, socketOf } from "./raw_connection.ts";
import { messageDuplex } from "./message_duplex.ts";
import type { Meter } from "./meter.ts";
import { peerChain } from "./peer_chain.ts";
import { SecuredStream } from "./secured_stream.ts";
import { type KeyExchange, secureContexts } from "./tls_context.ts";
import { refusalOfTlsError } from "./tls_refusal.ts";

/** The protocol under which multistream-select offers mutual TLS. */
export const tlsProtocol = "/tls/1.0.0";

/** What the encrypter is made with. */
export interface MtlsInit {
  /** `hybrid` prefers X25519MLKEM768 where the peer has it. */
  readonly keyExchange: KeyExchange;
  /** This node's connections, whose listener gives the verdicts. */
  readonly connections: Libp2pConnections;
  /** Milliseconds, for what a refusal says; where they begin does not matter. */
  readonly now: () => number;
  /** Counts application bytes. */
  readonly meter?: Meter;
  /** What peers' yamux frames may cost. Without it, or with another multiplexer, frames are not looked at. */
  readonly frames?: FrameBudgets;
}

/**
 * Makes the connection encrypter.
 *
 * A refused peer learns only that the connection ended. The promise rejects with an error without details, since libp2p keeps
 * only its message; the listener knows the refusal.
 *
 * @throws {MovedInternal} where the streams of `@libp2p/utils` are others than those this was written for.
 */
export function mtls(init: MtlsInit): (components: { readonly logger: ComponentLogger }) => ConnectionEncrypter {
  checkStreams();
  const contextOf = secureContexts(init.keyExchange);
  const meter = init.meter ?? { received: 0, sent: 0 };
  const secure = async (
    raw: MessageStream,
    direction: "inbound" | "outbound",
    components: object,
    options: SecureConnectionOptions = {},
  ): Promise<SecuredConnection> => {
    const expectedPeer = options.remotePeer?.toString();
    const connection = init.connections.of(raw) ??
      init.connections.begin(raw, direction, { expectedPeer, read: "negotiation" });
    const pair = connection.secure();
    if (pair === undefined) throw closed();
    const muxer = earlyMuxer(components, options);
    let socket: TLSSocket;
    try {
      socket = startTls(raw, direction, {
        secureContext: contextOf(pair),
        ...(muxer === undefined ? {} : { ALPNProtocols: [...alpnProtocols] }),
      });
    } catch (error) {
      connection.failed(new Internal({ detail: error instanceof Error ? error.message : String(error) }));
      throw closed();
    }
    const { signal } = options;
    const identity = await handshake(connection, socket, { signal, now: init.now });
    const streamMuxer = muxerAgreement(socket.alpnProtocol) === "yamux" ? muxer : undefined;
    const budget = init.frames?.hold(identity.peer);
    if (budget !== undefined) socket.once("close", () => init.frames?.release(identity.peer));
    const secured = new SecuredStream({
      socket,
      direction,
      log: raw.log.newScope("tls"),
      meter,
      onEnd: (by, detail) => connection.known.end ??= { by, detail },
      onBroken: (detail) => connection.broken(detail),
      now: init.now,
      beginsWith: streamMuxer === undefined ? "negotiation" : "frames",
      ...(budget === undefined ? {} : { budget }),
    });
    connection.known.secured = secured;
    const proven = { connection: secured, remotePeer: peerIdFromString(identity.peer) };
    if (streamMuxer === undefined) return proven;
    // A node that dials itself is told so by libp2p; the listener's end would come first.
    if (direction === "inbound" || identity.peer === pair.peer) return { ...proven, streamMuxer };
    return { ...proven, streamMuxer: await confirmedMuxer(streamMuxer, secured, { signal, closed }) };
  };
  return (components) => ({
    protocol: tlsProtocol,
    secureInbound: (raw, options) => secure(raw, "inbound", components, options),
    secureOutbound: (raw, options) => secure(raw, "outbound", components, options),
  });
}

const closed = () => new ConnectionClosed("during its handshake");

/**
 * Puts TLS on a raw connection. Where there is a socket TLS takes it over (twice the throughput of a stream around it),
 * and what libp2p has read ahead goes back first: a dialler sends its ClientHello together with the protocol's name.
 */
function startTls(
  raw: MessageStream,
  direction: "inbound" | "outbound",
  offer: Pick<ConnectionOptions, "secureContext" | "ALPNProtocols">,
): TLSSocket {
  const socket = socketOf(raw);
  const carrier = socket === undefined ? messageDuplex(raw) : takeSocket(raw, socket);
  const common = { ...offer, rejectUnauthorized: false } as const;
  if (direction === "outbound") return connect({ ...common, socket: carrier, servername: "" });
  return new TLSSocket(carrier as Socket, { ...common, isServer: true, requestCert: true });
}

/** Takes the socket over from libp2p, and gives back what was read of it. */
function takeSocket(raw: MessageStream, socket: Socket): Socket {
  const { readBuffer: ahead } = socketConnectionOf(raw);
  socket.pause();
  socket.removeAllListeners("data");
  socket.setTimeout(0); // idle connections stay open; a dead one is found by keep-alive
  if (ahead.byteLength > 0) {
    socket.unshift(ahead.subarray());
    ahead.consume(ahead.byteLength);
  }
  return socket;
}

/** Waits for the end of the handshake and asks for the verdict. Resolves with the peer's identity where it is accepted. */
function handshake(
  connection: Libp2pConnection,
  socket: TLSSocket,
  { signal, now }: { readonly signal: AbortSignal | undefined; readonly now: () => number },
): Promise<PeerIdentity> {
  const { raw } = connection;
  const started = now();
  return new Promise<PeerIdentity>((resolve, reject) => {
    const end = () => {
      settle();
      socket.destroy();
      reject(closed());
    };
    const fail = (refusal: Refusal) => {
      connection.failed(refusal); // not reported where this side closes the connection: its listener has its own reason
      end();
    };
    const onSecure = () => {
      const chain = readChain(socket);
      if (chain === undefined) return fail(new TlsFailed({ detail: "the peer's certificate cannot be read" }));
      if (chain.length === 0) return fail(new NoCertificate({ detail: "TLS completed without a certificate" }));
      if (muxerAgreement(socket.alpnProtocol) === "unknown") {
        return fail(
          new ProtocolMismatch({ detail: `it chose the protocol "${socket.alpnProtocol}", which was not offered` }),
        );
      }
      if (socket.isSessionReused()) return fail(new TlsFailed({ detail: "a resumed session proves no certificate" }));
      const identity = connection.verify({ version: socket.getProtocol() ?? "unknown", chain });
      if (identity === undefined) return end();
      settle();
      resolve(identity);
    };
    const onError = (error: unknown) => fail(refusalOfTlsError(error));
    const onEnd = () => fail(new HungUp({ detail: "the peer closed during the TLS handshake" }));
    const onAbort = () => fail(new HandshakeTimeout({ state: "securing", afterMs: Math.round(now() - started) }));
    const settle = () => {
      socket.removeListener("secure", onSecure);
      socket.removeListener("error", onError);
      socket.removeListener("close", onEnd);
      socket.on("error", ignore); // a destroyed socket may still report one
      raw.removeEventListener("close", onEnd);
      signal?.removeEventListener("abort", onAbort);
    };
    socket.on("secure", onSecure);
    socket.on("error", onError);
    socket.on("close", onEnd);
    raw.addEventListener("close", onEnd); // the listener's own close ends the wait too
    signal?.addEventListener("abort", onAbort, { once: true });
    if (signal?.aborted) onAbort();
  });
}

/** Deno throws where a certificate is no X.509; Node's TLS has refused it by then. */
function readChain(socket: TLSSocket): Uint8Array[] | undefined {
  try {
    return peerChain(socket);
  } catch {
    return undefined;
  }
}

function ignore(): void {}
