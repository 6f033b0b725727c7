/**
 * Dialling: one answer for each ask, and a typed refusal for each way in which it can fail.
 *
 * @module
 */
import type { Connection } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import { HandshakeTimeout, HungUp, ProtocolMismatch, type Refusal, Unreachable } from "../../pki/refusal.ts";
import { type Connections, namingPeer, withoutPeer } from "./connections.ts";
import type { Node } from "../libp2p/node.ts";
import type { AddressText, PeerText, TransportAsk } from "../port.ts";

/** What is dialled: somebody, or somewhere. */
export type DialTarget = Extract<TransportAsk, { type: "dial" }>["target"];

/** Thrown by {@linkcode Dialler.dial}, with the refusal. */
export class DialFailed extends Error {
  override readonly name = "DialFailed";
  readonly refusal: Refusal;
  constructor(refusal: Refusal) {
    super(refusal.message);
    this.refusal = refusal;
  }
}

/** Dials for a transport. */
export class Dialler {
  readonly #libp2p: Node;
  readonly #connections: Connections;
  readonly #timeoutMs: number;

  constructor(libp2p: Node, connections: Connections, timeoutMs: number) {
    this.#libp2p = libp2p;
    this.#connections = connections;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * Connects to a target, or finds the connection that there is.
   *
   * @throws DialFailed with the refusal of the gate where it was ours, `hung-up` where the peer ended the connection
   * (perhaps it refused us), `handshake-timeout`, `protocol-mismatch`, or `unreachable` where nobody answered.
   */
  async dial(target: DialTarget, signal?: AbortSignal): Promise<Connection> {
    const parsed = parseTarget(target);
    const existing = this.#existing(parsed);
    if (existing !== undefined) return existing;
    const mark = this.#connections.mark();
    try {
      const connection = await this.#open(parsed, mark, signal ?? AbortSignal.timeout(this.#timeoutMs));
      // The dial resolves with a connection that its gate may have closed since.
      if (this.#connections.book.of(connection)?.gate.phase === "established") return connection;
      throw new HungUp({ detail: "the connection ended as soon as it was open" });
    } catch (error) {
      const own = this.#connections.refusalSince(mark, {
        ...(parsed.peer === undefined ? {} : { peer: parsed.peer }),
        ...(parsed.address === undefined ? {} : { address: parsed.address.toString() }),
      });
      throw new DialFailed(own ?? refusalOfDialError(error, this.#timeoutMs));
    }
  }

  async #open({ peer, address }: ParsedTarget, mark: number, signal: AbortSignal): Promise<Connection> {
    if (address !== undefined) return await this.#libp2p.dial(address, { signal });
    const id = peerIdFromString(peer as string);
    try {
      return await this.#libp2p.dial(id, { signal });
    } catch (error) {
      const refused = this.#connections.refusalSince(mark, { peer: peer as string }) !== undefined;
      if (refused || signal.aborted) throw error;
      // The addresses that are remembered lead nowhere: it may have moved, and others know where to.
      const { multiaddrs } = await this.#libp2p.peerRouting.findPeer(id, { signal, useCache: false });
      const named = multiaddrs.map((known) => multiaddr(namingPeer(known.toString(), peer as string)));
      if (named.length === 0) throw error;
      return await this.#libp2p.dial(named, { signal });
    }
  }

  /** A connection to a peer, dialled where there is none: found by the addresses it announced, or by the DHT. */
  connect(peer: PeerText, signal: AbortSignal): Promise<Connection> {
    const best = this.#connections.best(peer);
    return best === undefined ? this.dial({ peer }, signal) : Promise.resolve(best);
  }

  #existing({ peer, address }: ParsedTarget): Connection | undefined {
    if (peer !== undefined) {
      const best = this.#connections.best(peer);
      const better = address !== undefined && best !== undefined && !best.direct && !isRelayed(address.toString());
      return better ? undefined : best;
    }
    const wanted = withoutPeer((address as Multiaddr).toString());
    for (const connection of this.#connections.open()) {
      if (withoutPeer(connection.remoteAddr.toString()) === wanted) return connection;
    }
    return undefined;
  }
}

interface ParsedTarget {
  readonly peer: PeerText | undefined;
  readonly address: Multiaddr | undefined;
}

const isRelayed = (address: AddressText) => address.includes("/p2p-circuit");

function parseTarget(target: DialTarget): ParsedTarget {
  try {
    if ("peer" in target) return { peer: peerIdFromString(target.peer).toString(), address: undefined };
    const address = multiaddr(target.address);
    const last = address.getComponents().at(-1);
    return { peer: last?.name === "p2p" ? last.value : undefined, address };
  } catch (error) {
    throw new DialFailed(new Unreachable({ detail: `not something to dial: ${messageOf(error)}` }));
  }
}

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error)).slice(0, 200);

/** libp2p's error as a refusal, where no gate had anything to say. Of several addresses the last error counts. */
function refusalOfDialError(error: unknown, timeoutMs: number): Refusal {
  const last = error instanceof AggregateError ? error.errors.at(-1) ?? error : error;
  if (isRefusal(last)) return last;
  const detail = messageOf(last);
  const name = last instanceof Error ? last.name : "";
  if (/^(TimeoutError|AbortError)$/.test(name)) {
    return /connect|ECONN/i.test(detail)
      ? new Unreachable({ detail })
      : new HandshakeTimeout({ state: "dialling", afterMs: timeoutMs });
  }
  // Reset as soon as it was accepted: somebody is there. libp2p may not even have learnt whom it was connected to.
  if (/ECONNRESET|EPIPE|Could not determine remote address/i.test(detail)) return new HungUp({ detail });
  if (/ECONNREFUSED|EHOSTUNREACH|ENETUNREACH|ENOTFOUND|EADDRNOTAVAIL|connection error/i.test(detail)) {
    return new Unreachable({ detail });
  }
  if (/newline|data length|protocol selection failed|multistream/i.test(detail)) {
    return new ProtocolMismatch({ detail });
  }
  if (/eof|closed|ended|gate /i.test(detail)) return new HungUp({ detail });
  return new Unreachable({ detail });
}

function isRefusal(value: unknown): value is Refusal {
  return value instanceof HungUp;
}
