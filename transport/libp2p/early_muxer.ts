/**
 * Agreeing on the multiplexer inside TLS, by ALPN, which saves its negotiation (libp2p specification: "libp2p TLS Handshake",
 * "Inlined Muxer Negotiation"). A peer that offers no ALPN, or takes none, negotiates by multistream-select.
 *
 * @module
 */
import type { MessageStream, StreamMuxer, StreamMuxerFactory } from "@libp2p/interface";
import { yamuxOf } from "./connection_internals.ts";

/** The multiplexer's name, in ALPN and in multistream-select. */
export const muxerProtocol = "/yamux/1.0.0";
/** Stands for multistream-select (libp2p specification, as above). */
const noMuxer = "libp2p";

/** The offer in ALPN, best first. A node takes the same two. */
export const alpnProtocols: readonly string[] = [muxerProtocol, noMuxer];

/** What both sides agreed on. */
export type MuxerAgreement = "yamux" | "negotiation" | "unknown";

/** Reads a TLS socket's `alpnProtocol`. `unknown` is a protocol that was not offered: OpenSSL lets a listener name it. */
export function muxerAgreement(alpnProtocol: string | false | null | undefined): MuxerAgreement {
  if (alpnProtocol === muxerProtocol) return "yamux";
  return typeof alpnProtocol === "string" && alpnProtocol !== noMuxer ? "unknown" : "negotiation";
}

/** libp2p's components that know the multiplexers. They answer to a name, and do not list the names they have. */
interface Upgrades {
  readonly upgrader: { getStreamMuxers(): ReadonlyMap<string, StreamMuxerFactory> };
}

/** The node's own yamux; undefined where it has none, or negotiation is not wanted: nothing is offered then. */
export function earlyMuxer(
  components: object,
  options: { readonly skipStreamMuxerNegotiation?: boolean },
): StreamMuxerFactory | undefined {
  if (options.skipStreamMuxerNegotiation === true) return undefined;
  return (components as Partial<Upgrades>).upgrader?.getStreamMuxers().get(muxerProtocol);
}

/**
 * Makes the dialler's multiplexer and waits for the answer to its first ping.
 *
 * A TLS 1.3 dialler is done before the listener has seen its certificate. The listener's multiplexer reads nothing before the
 * verdict, so this answer says that the dialler was let in, as the answer of multistream-select does without ALPN.
 *
 * @returns The factory that hands out this multiplexer.
 * @throws the signal's reason, or `closed()` where the connection or its multiplexer ends first.
 */
export async function confirmedMuxer(
  factory: StreamMuxerFactory,
  connection: MessageStream,
  { signal, closed }: { readonly signal: AbortSignal | undefined; readonly closed: () => Error },
): Promise<StreamMuxerFactory> {
  const muxer: StreamMuxer = factory.createStreamMuxer(connection);
  await new Promise<void>((resolve, reject) => {
    const onClose = () => reject(closed());
    connection.addEventListener("close", onClose, { once: true });
    yamuxOf(muxer).ping(signal === undefined ? {} : { signal }).then(() => {
      connection.removeEventListener("close", onClose);
      if (muxer.status === "open") resolve();
      else reject(closed()); // by the peer, or over the streams that came with the answer
    }, reject);
  });
  return { protocol: factory.protocol, createStreamMuxer: () => muxer };
}
