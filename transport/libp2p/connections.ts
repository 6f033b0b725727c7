/**
 * The connections of one libp2p node, as the port sees them. Raw connection and libp2p `Connection` are joined by the
 * `timeline` object that both carry.
 *
 * @module
 */
import type { Connection, MessageStream, MultiaddrConnection, Stream } from "@libp2p/interface";
import type { PeerIdentity } from "../../pki/path.ts";
import { ProtocolMismatch, type Refusal } from "../../pki/refusal.ts";
import type { AddressText, NodeIdentity, PeerText } from "../port.ts";
import {
  closeGraceMs,
  type ConnectionListener,
  type StreamListener,
  type WireConnection,
  type WireStream,
} from "../core/wire.ts";
import { limitNegotiation } from "./negotiation_limit.ts";
import { watchPreamble } from "./preamble.ts";
import { pingProtocol } from "./priced_protocols.ts";
import {
  closeFromAbove,
  ConnectionClosed,
  noteWhoEnds,
  type RawEnd,
  refusalOfEarlyEnd,
  socketOf,
} from "./raw_connection.ts";
import { Libp2pStream } from "./streams.ts";

/** How far a connection is. Only the verdicts of the listener move it forward. */
type Phase = "opening" | "securing" | "secured" | "open" | "refused" | "over";

/** A verdict on a stream that a peer opened. */
export type StreamVerdict = ReturnType<ReceivesStream>;
/** Asks for the reader of a stream that a peer opened. */
export type ReceivesStream = (
  connection: WireConnection,
  stream: WireStream,
) => StreamListener | "unsupported" | "too-many" | "refused";

/** Streams that carry circuits of other peers. */
const relayProtocols = /^\/libp2p\/circuit\/relay\//;
/** A stream in such a state is over. */
const overStates: ReadonlySet<string> = new Set(["closed", "reset", "aborted"]);

/** A connection of libp2p. */
export class Libp2pConnection implements WireConnection {
  readonly direction: "inbound" | "outbound";
  readonly address: AddressText;
  readonly relay: PeerText | undefined;
  readonly expectedPeer: PeerText | undefined;
  /** libp2p's raw connection. */
  readonly raw: MessageStream;
  /** What is known about its end. */
  readonly known: RawEnd = { end: undefined, failure: undefined, secured: undefined };
  readonly #listener: ConnectionListener;
  /** Made with the first stream: an idle connection has none of ours. */
  #streams: Set<Libp2pStream> | undefined;
  #phase: Phase = "opening";
  #closing: "no" | "gently" | "now" = "no";
  #identity: PeerIdentity | undefined;
  #connection: Connection | undefined;

  constructor(init: {
    readonly raw: MessageStream;
    readonly direction: "inbound" | "outbound";
    readonly expectedPeer: PeerText | undefined;
    readonly listener: ConnectionListener;
  }) {
    this.raw = init.raw;
    this.direction = init.direction;
    this.expectedPeer = init.expectedPeer;
    this.address = (init.raw as Partial<MultiaddrConnection>).remoteAddr?.toString() ?? "";
    this.relay = /\/p2p\/([^/]+)\/p2p-circuit/.exec(this.address)?.[1];
    this.#listener = init.listener;
  }

  get isOpen(): boolean {
    return this.#phase === "open" && this.known.end === undefined && this.#connection?.status === "open";
  }

  get isRelaying(): boolean {
    return this.#connection?.streams.some(({ protocol, status }) =>
      !overStates.has(status) && relayProtocols.test(protocol)
    ) ?? false;
  }

  /** Whether the handshake is over, with whatever outcome. */
  get handshakeOver(): boolean {
    return this.#phase !== "opening" && this.#phase !== "securing";
  }

  /** Whether a verdict or a failure ended it before it was open. */
  get isRefused(): boolean {
    return this.#phase === "refused";
  }

  /** Whether this side has begun to close the connection. */
  get isClosing(): boolean {
    return this.#closing !== "no";
  }

  /** libp2p's connection; undefined before it is open. */
  get connection(): Connection | undefined {
    return this.#connection;
  }

  openStream(protocol: string, listener: StreamListener, fallback?: string): WireStream {
    const protocols = fallback === undefined ? [protocol] : [protocol, fallback];
    const stream = Libp2pStream.open(this, this.isOpen ? this.#connection : undefined, protocols, listener);
    this.#keep(stream);
    return stream;
  }

  /** A peer opened a stream and its protocol is agreed on: the listener's verdict decides. */
  receive(stream: Stream, protocol: string, receives: ReceivesStream): void {
    if (!this.isOpen) return stream.abort(new Error("the connection is not open"));
    const received = Libp2pStream.received(this, stream, protocol);
    this.#keep(received);
    const verdict = receives(this, received);
    if (typeof verdict !== "string") return received.listen(verdict);
    this.forget(received);
    received.refuse(verdict);
  }

  /** A stream is over. */
  forget(stream: Libp2pStream): void {
    this.#streams?.delete(stream);
  }

  #keep(stream: Libp2pStream): void {
    this.#streams ??= new Set();
    this.#streams.add(stream);
  }

  close(how: "gently" | "now", detail: string): void {
    if (this.#phase === "over" || this.#closing === "now" || this.#closing === how) return;
    const error = new ConnectionClosed(detail);
    this.known.end ??= { by: "us", detail };
    const connection = this.#connection;
    if (how === "now" || connection === undefined) {
      this.#closing = "now";
      return queueMicrotask(() => this.#cut(error)); // not inside the call that asked
    }
    this.#closing = "gently";
    queueMicrotask(() => {
      // libp2p ends the writing side of every stream: where its user did not, the peer would take a part for the whole.
      for (const stream of [...this.#streams ?? []]) stream.connectionCloses(detail);
      for (const stream of [...connection.streams]) if (stream.protocol === "") stream.abort(error); // nothing has left before it is agreed on
      const cut = () => this.#cut(error);
      connection.close({ signal: AbortSignal.timeout(closeGraceMs) }).then(cut, cut);
    });
  }

  /** The link was lost without an end. */
  lost(detail: string): void {
    if (!this.isOpen) return;
    this.known.end = { by: "lost", detail };
    this.#cut(new ConnectionClosed(detail));
  }

  /**
   * Has the peer answer.
   *
   * @returns Ends the attempt, and tells whether something came since it began. What this side does not read counts as heard.
   */
  probe(): () => boolean {
    const { secured } = this.known;
    const before = secured?.receivedBytes ?? 0;
    const over = new AbortController();
    const { signal } = over;
    this.#connection?.newStream(pingProtocol, { signal, runOnLimitedConnection: true }).then(
      (stream) => stream.abort(new Error("it was answered")),
      () => {},
    );
    return () => {
      over.abort();
      return secured === undefined || secured.isPaused || secured.receivedBytes > before;
    };
  }

  #cut(error: Error): void {
    this.#connection?.abort(error);
    this.raw.abort(error);
  }

  // ── Steps, each with its verdict ──

  /** The raw connection exists. */
  open(): boolean {
    if (this.#phase !== "opening") return false;
    if (this.#listener.opening(this)) return true;
    this.#refuse("refused");
    return false;
  }

  /** TLS begins: the pair to show. */
  secure(): NodeIdentity | undefined {
    if (this.#phase !== "opening" || this.isClosing) return undefined;
    this.#phase = "securing";
    const pair = this.#listener.securing(this);
    if (pair === undefined) this.#refuse("refused");
    return pair;
  }

  /** The TLS handshake is complete: what the peer proved. */
  verify(tls: { readonly version: string; readonly chain: readonly Uint8Array[] }): PeerIdentity | undefined {
    if (this.#phase !== "securing" || this.isClosing) return undefined;
    const identity = this.#listener.secured(this, tls);
    if (identity === undefined) {
      this.#refuse("refused");
      return undefined;
    }
    this.#identity = identity;
    this.#phase = "secured";
    return identity;
  }

  /** libp2p announced the connection. Without the verdict before, or with another peer, it is aborted. */
  opened(connection: Connection): void {
    this.#connection = connection;
    if (this.#phase !== "secured" || this.isClosing || this.#identity?.peer !== connection.remotePeer.toString()) {
      return this.#refuse("opened without a verdict");
    }
    this.#phase = "open";
    if (!this.#listener.opened(this)) this.#refuse("refused");
  }

  #refuse(detail: string): void {
    this.#phase = "refused";
    this.close("now", detail);
  }

  // ── What happened ──

  /** TLS, preamble or negotiation failed. After an own close, or an end, nothing more is reported. */
  failed(refusal: Refusal): void {
    if (this.#phase === "open" || this.#phase === "refused" || this.#phase === "over" || this.isClosing) return;
    this.#phase = "refused";
    this.#listener.failed(this, refusal);
    this.close("now", refusal.code);
  }

  /** The peer broke the multiplexer's rules. */
  broken(detail: string): void {
    if (this.#phase === "secured" || this.#phase === "open") this.#listener.broken(this, detail);
  }

  /** The raw connection closed. Its streams end before it is reported. */
  ended(): void {
    if (this.#phase === "over") return;
    const wasOpen = this.#phase === "open";
    this.#phase = "over";
    const { end = { by: "them", detail: "the connection ended" } as const } = this.known;
    for (const stream of [...this.#streams ?? []]) stream.connectionEnded(end.detail);
    const refusal = wasOpen ? undefined : refusalOfEarlyEnd(this.known);
    this.#listener.ended(this, { ...end, ...(refusal === undefined ? {} : { refusal }) });
  }
}

/** The connections of one libp2p node. */
export class Libp2pConnections {
  readonly #listener: ConnectionListener;
  readonly #connections = new Map<object, Libp2pConnection>();
  readonly #waiting: (() => void)[] = [];

  /** Holds no connection yet. */
  constructor(listener: ConnectionListener) {
    this.#listener = listener;
  }

  /** How many there are, in every phase. */
  get size(): number {
    return this.#connections.size;
  }

  /** Every connection. */
  all(): IterableIterator<Libp2pConnection> {
    return this.#connections.values();
  }

  /** The connection over a raw connection, or the one that libp2p announced. */
  of(connection: { readonly timeline: object }): Libp2pConnection | undefined {
    return this.#connections.get(connection.timeline);
  }

  /**
   * Takes a raw connection in and asks the listener about it.
   *
   * @param read Whether something was read of the raw connection already. Where nothing was, its first bytes are watched.
   * @throws {MovedInternal} where libp2p's connections are others than those this was written for.
   */
  begin(
    raw: MessageStream,
    direction: "inbound" | "outbound",
    { expectedPeer, read }: { readonly expectedPeer: PeerText | undefined; readonly read: "nothing" | "negotiation" },
  ): Libp2pConnection {
    const listener = this.#listener;
    const connection = new Libp2pConnection({ raw, direction, expectedPeer, listener });
    closeFromAbove(raw, connection.known); // throws before anything exists that would have to end
    noteWhoEnds(raw, connection.known);
    this.#connections.set(raw.timeline, connection);
    raw.addEventListener("close", () => this.#ended(raw, connection), { once: true });
    if (!connection.open()) return connection;
    if (direction === "inbound") {
      limitNegotiation(
        raw,
        () => connection.handshakeOver,
        (detail) => connection.failed(new ProtocolMismatch({ detail })),
      );
    }
    const socket = socketOf(raw);
    // The negotiation would wait for more of what is not libp2p.
    if (read === "nothing" && socket !== undefined) watchPreamble(socket, (refusal) => connection.failed(refusal));
    return connection;
  }

  /** libp2p announced a connection: the only way to be open. */
  opened(connection: Connection): void {
    const known = this.of(connection);
    if (known === undefined) connection.abort(new Error("an opened connection without a verdict"));
    else known.opened(connection);
  }

  /** Calls `done` once there is no connection left; at once where there is none. */
  whenNone(done: () => void): void {
    if (this.#connections.size === 0) return done();
    this.#waiting.push(done);
  }

  #ended(raw: MessageStream, connection: Libp2pConnection): void {
    this.#connections.delete(raw.timeline);
    connection.ended();
    if (this.#connections.size > 0) return;
    for (const done of this.#waiting.splice(0)) done();
  }
}
