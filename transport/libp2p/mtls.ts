/**
 * Mutual TLS 1.3 as a libp2p connection encrypter, `/tls/1.0.0`, with the gate as the only judge of the peer.
 *
 * TLS proves that the peer holds the key of the certificate it shows. Whether that certificate is one to let in is not
 * TLS's question here: the gate is given the chain, and until it has said yes no byte reaches the muxer
 * (specification: "Mutual TLS").
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
import { HandshakeTimeout, HungUp, Internal, NoCertificate, type Refusal, TlsFailed } from "../../pki/refusal.ts";
import { checkStreams, socketConnectionOf } from "./connection_internals.ts";
import type { FrameBudgets } from "./frame_guard.ts";
import { type GateBook, GateClosedError, type Gated, socketOf } from "../core/gate_book.ts";
import { messageDuplex } from "./message_duplex.ts";
import { peerChain } from "./peer_chain.ts";
import type { NodeIdentity } from "../port.ts";
import { type Meter, SecuredStream } from "./secured_stream.ts";
import { type KeyExchange, secureContexts } from "./tls_context.ts";
import { refusalOfTlsError } from "./tls_refusal.ts";

/** The protocol under which multistream-select offers mutual TLS. */
export const tlsProtocol = "/tls/1.0.0";

/** What the encrypter is made with. */
export interface MtlsInit {
  /** The pair that new handshakes use. */
  readonly identity: () => NodeIdentity;
  /** `hybrid` prefers X25519MLKEM768 where the peer has it. */
  readonly keyExchange: KeyExchange;
  /** Where the gates of this node's connections are. */
  readonly gates: GateBook;
  /** Milliseconds, for what a refusal says; where they begin does not matter. */
  readonly now: () => number;
  /** Counts application bytes, where somebody wants to know. */
  readonly meter?: Meter;
  /** What peers' yamux frames may cost. Without it, or with another multiplexer, frames are not looked at. */
  readonly frames?: FrameBudgets;
}

/**
 * Makes the connection encrypter.
 *
 * A refused peer learns nothing but that the connection ended. The promise rejects with an error whose message carries
 * the gate's id, since libp2p keeps nothing else of it; the refusal itself is in the gate.
 *
 * @throws {MovedInternal} where the streams of `@libp2p/utils` are others than those this was written for.
 */
export function mtls(init: MtlsInit): (components: { readonly logger: ComponentLogger }) => ConnectionEncrypter {
  checkStreams();
  const context = secureContexts(init.identity, init.keyExchange);
  const meter = init.meter ?? { received: 0, sent: 0 };
  const secure = async (
    raw: MessageStream,
    direction: "inbound" | "outbound",
    options: SecureConnectionOptions = {},
  ): Promise<SecuredConnection> => {
    const gated = init.gates.of(raw) ?? init.gates.birth(raw, direction, options.remotePeer?.toString());
    const { gate } = gated;
    if (gate.phase === "admitting") gate.send({ type: "connection.securing" });
    if (gate.phase !== "securing") throw new GateClosedError(gate.id);
    let socket: TLSSocket;
    try {
      gated.generation = init.identity().generation;
      socket = startTls(raw, direction, context());
    } catch (error) {
      throw refuse(gated, new Internal({ detail: error instanceof Error ? error.message : String(error) }));
    }
    await handshake(gated, socket, { signal: options.signal, now: init.now });
    const { identity } = gate;
    if (identity === undefined) throw refuse(gated, new Internal({ detail: "verdict without an identity" }));
    const budget = init.frames?.hold(identity.peer);
    if (budget !== undefined) socket.once("close", () => init.frames?.release(identity.peer));
    const connection = new SecuredStream({
      socket,
      direction,
      log: raw.log.newScope("tls"),
      meter,
      onEnd: (by, detail) => gated.end ??= { by, detail },
      onBroken: (detail) => gate.send({ type: "close", reason: detail }),
      now: init.now,
      ...(budget === undefined ? {} : { budget }),
    });
    gated.secured = connection;
    return { connection, remotePeer: peerIdFromString(identity.peer) };
  };
  return () => ({
    protocol: tlsProtocol,
    secureInbound: (raw, options) => secure(raw, "inbound", options),
    secureOutbound: (raw, options) => secure(raw, "outbound", options),
  });
}

/** Tells the gate of a failure; the error to throw. */
function refuse(gated: Gated, refusal: Refusal): GateClosedError {
  gated.gate.send({ type: "tls.failed", refusal });
  return new GateClosedError(gated.gate.id);
}

/**
 * Puts TLS on a raw connection. Where there is a socket TLS takes it over (twice the throughput of a stream around it),
 * and what libp2p has read ahead goes back first: a dialler sends its ClientHello together with the protocol's name.
 */
function startTls(
  raw: MessageStream,
  direction: "inbound" | "outbound",
  secureContext: NonNullable<ConnectionOptions["secureContext"]>,
): TLSSocket {
  const socket = socketOf(raw);
  const carrier = socket === undefined ? messageDuplex(raw) : takeSocket(raw, socket);
  const common = { secureContext, rejectUnauthorized: false } as const;
  if (direction === "outbound") return connect({ ...common, socket: carrier, servername: "" });
  return new TLSSocket(carrier as Socket, { ...common, isServer: true, requestCert: true });
}

/** Takes the socket out of libp2p's hands, and gives back what was read of it. */
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

/** Waits for the end of the handshake and asks the gate. Resolves when the gate stands at `opening`. */
function handshake(
  gated: Gated,
  socket: TLSSocket,
  { signal, now }: { readonly signal: AbortSignal | undefined; readonly now: () => number },
): Promise<void> {
  const { gate, raw } = gated;
  const started = now();
  return new Promise<void>((resolve, reject) => {
    const fail = (refusal: Refusal) => {
      settle();
      const error = refuse(gated, refusal);
      socket.destroy();
      reject(error);
    };
    const onSecure = () => {
      const chain = readChain(socket);
      if (chain === undefined) return fail(new TlsFailed({ detail: "the peer's certificate cannot be read" }));
      if (chain.length === 0) return fail(new NoCertificate({ detail: "TLS completed without a certificate" }));
      if (socket.isSessionReused()) return fail(new TlsFailed({ detail: "a resumed session proves no certificate" }));
      gate.send({ type: "tls.secured", version: socket.getProtocol() ?? "unknown", chain });
      settle();
      if (gate.phase === "opening") return resolve();
      socket.destroy();
      reject(new GateClosedError(gate.id));
    };
    const onError = (error: unknown) => fail(refusalOfTlsError(error));
    const onEnd = () => fail(new HungUp({ detail: "the peer closed during the TLS handshake" }));
    const onAbort = () => fail(new HandshakeTimeout({ state: "securing", afterMs: Math.round(now() - started) }));
    // The gate's own deadline, or a close of the raw connection, ends the wait too.
    const unlisten = gate.listen((said) => {
      if (said.type !== "gate.refused" && said.type !== "gate.closed") return;
      settle();
      socket.destroy();
      reject(new GateClosedError(gate.id));
    });
    const settle = () => {
      unlisten();
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
    raw.addEventListener("close", onEnd);
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
