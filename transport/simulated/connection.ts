/**
 * A simulated connection: the steps of its handshake, each put to the listener, and the streams that run over it.
 *
 * @module
 */
import { Result } from "effect";
import { HandshakeTimeout, HungUp, type Refusal, TlsFailed } from "../../pki/refusal.ts";
import { priceOf } from "../core/prices.ts";
import type { Clock, Timer } from "../core/clock.ts";
import {
  closeGraceMs,
  type StreamListener,
  type WireConnection,
  type WireListener,
  type WireStream,
} from "../core/wire.ts";
import type { AddressText, NodeIdentity, PeerText } from "../port.ts";
import {
  type GossipFrame,
  type HandshakeFrame,
  isHandshake,
  type OpenFrame,
  type RelayFrame,
  type ResetReason,
  type StreamDataFrame,
  type StreamFrame,
} from "./frames.ts";
import { type Frame, framesMax, type LinkClosed, type LinkEnd } from "./network.ts";
import { SimulatedStream, type StreamOwner } from "./streams.ts";

/** The multiplexer is agreed on within this, in milliseconds (libp2p's own limit). */
const openingMs = 10_000;

/** How far a connection is. */
export type ConnectionPhase = "opening" | "securing" | "secured" | "open" | "closing" | "ended";

/** What a connection needs of its wire. */
export interface ConnectionOwner {
  readonly clock: Clock;
  readonly meter: { received: number; sent: number };
  readonly listener: WireListener;
  /** What this host shows in a handshake. */
  shows(identity: NodeIdentity): { readonly version: string; readonly proven: boolean };
  isServed(protocol: string): boolean;
  /** Bytes of a stream are about to be handed over. */
  delivers(connection: SimulatedConnection, protocol: string, bytes: Uint8Array): void;
  /** The peer made this host do something on a stream that the peer opened. */
  worked(connection: SimulatedConnection, stream: SimulatedStream, what: StreamWork, bytes: number): void;
  opened(connection: SimulatedConnection): void;
  gossip(connection: SimulatedConnection, frame: GossipFrame): void;
  relay(connection: SimulatedConnection, frame: RelayFrame): void;
  /** The link is over. Called at once; the listener is told later. */
  left(connection: SimulatedConnection): void;
}

/**
 * What a peer makes a host do on a stream that it opens: the stream is offered, and taken where the listener reads it; bytes are
 * read; an answer is sent; the stream is over.
 */
export type StreamWork = "offered" | "taken" | "read" | "answered" | "over";

/** What is known of a connection from its beginning. */
export interface ConnectionInit extends Pick<WireConnection, "direction" | "address" | "relay" | "expectedPeer"> {
  readonly link: LinkEnd;
  /** In the network's time. */
  readonly createdAt: number;
  /** Of a dial: called once, later. */
  readonly settle?: (outcome: Result.Result<WireConnection, Refusal>) => void;
}

/** A connection of a simulated wire. */
export class SimulatedConnection implements WireConnection, StreamOwner {
  readonly direction: "inbound" | "outbound";
  readonly address: AddressText;
  readonly relay: PeerText | undefined;
  readonly expectedPeer: PeerText | undefined;
  readonly createdAt: number;
  /** Circuits of others that run over it. */
  circuits = 0;
  readonly #owner: ConnectionOwner;
  readonly #link: LinkEnd;
  readonly #streams = new Map<number, SimulatedStream>();
  #phase: ConnectionPhase = "opening";
  #settle: ConnectionInit["settle"];
  #identity: NodeIdentity | undefined;
  #chain: readonly Uint8Array[] = [];
  #peer: PeerText | undefined;
  #timer: Timer | undefined;
  #failure: Refusal | undefined;
  #nextStream: number;
  /** Frames of a peer that costs too much: they are read once it can afford them. */
  #unread: OpenFrame[] = [];
  #readAgain: Timer | undefined;

  constructor(owner: ConnectionOwner, init: ConnectionInit) {
    this.#owner = owner;
    this.#link = init.link;
    this.direction = init.direction;
    this.address = init.address;
    this.relay = init.relay;
    this.expectedPeer = init.expectedPeer;
    this.createdAt = init.createdAt;
    this.#settle = init.settle;
    this.#nextStream = init.direction === "outbound" ? 1 : 2;
    init.link.onFrame = (frame) => this.#heard(frame);
    init.link.onClosed = (closed) => this.#linkClosed(closed);
  }

  get phase(): ConnectionPhase {
    return this.#phase;
  }
  get isOpen(): boolean {
    return this.#phase === "open";
  }
  get isRelaying(): boolean {
    return this.circuits > 0;
  }
  /** Who the listener says the peer is. */
  get peer(): PeerText | undefined {
    return this.#peer;
  }
  /** What the other end sent as its certificates, whether or not it may. */
  get chain(): readonly Uint8Array[] {
    return this.#chain;
  }
  /** The host at the other end of the link; of a circuit the relay's. */
  get remoteHost(): string {
    return this.#link.remote;
  }
  get clock(): Clock {
    return this.#owner.clock;
  }
  get meter(): { received: number; sent: number } {
    return this.#owner.meter;
  }

  // ── The listener's calls ──

  openStream(protocol: string, listener: StreamListener, fallback?: string): WireStream {
    const stream = new SimulatedStream(this, { number: this.#nextStream, protocol, fallback, isOpener: true });
    stream.listenedTo(listener);
    this.#nextStream += 2;
    if (!this.isOpen) {
      stream.drop();
      this.clock.soon(() => listener.closed("connection", "the connection is not open"));
      return stream;
    }
    this.#streams.set(stream.number, stream);
    this.clock.soon(() => stream.announce());
    return stream;
  }

  close(how: "gently" | "now", detail: string): void {
    if (this.#phase === "ended") return;
    if (how === "now" || (this.#phase !== "open" && this.#phase !== "closing")) return this.#link.close(detail);
    if (this.#phase === "closing") return;
    this.#phase = "closing";
    for (const stream of this.#streams.values()) stream.announce();
    this.#timer = this.clock.after(closeGraceMs, () => this.#link.close(detail));
    this.pumped();
  }

  // ── The handshake ──

  /** Puts the connection to the listener, and begins. */
  begin(): void {
    if (this.#phase === "ended") return;
    if (!this.#owner.listener.opening(this)) return this.#refused();
    if (this.direction === "outbound" && this.phase === "opening") {
      this.#send({ type: "hello" });
      this.#secure();
    }
  }

  #secure(): void {
    const identity = this.#owner.listener.securing(this);
    if (identity === undefined) return this.#refused();
    if (this.phase !== "opening") return;
    this.#phase = "securing";
    this.#identity = identity;
    if (this.direction === "inbound") this.#present(identity);
  }

  #present(identity: NodeIdentity): void {
    const { version, proven } = this.#owner.shows(identity);
    this.#send({ type: "certificate", version, chain: identity.chain, proven });
  }

  #step(frame: HandshakeFrame): void {
    const { direction } = this;
    switch (frame.type) {
      case "hello":
        if (direction === "inbound" && this.phase === "opening") this.#secure();
        return;
      case "certificate":
        if (this.phase === "securing" && this.#chain.length === 0) this.#secured(frame);
        return;
      case "muxer":
        if (direction !== "outbound" || this.phase !== "secured") return;
        this.#send({ type: "muxer.agreed" });
        return this.#opened();
      case "muxer.agreed":
        if (direction === "inbound" && this.phase === "secured") this.#opened();
    }
  }

  #secured({ version, chain, proven }: Extract<HandshakeFrame, { type: "certificate" }>): void {
    this.#chain = chain;
    if (!proven) return this.#failed(new TlsFailed({ detail: "the peer did not prove its key" }));
    const identity = this.#owner.listener.secured(this, { version, chain });
    if (identity === undefined) return this.#refused();
    if (this.phase !== "securing") return;
    this.#phase = "secured";
    this.#peer = identity.peer;
    if (this.direction === "inbound") this.#send({ type: "muxer" });
    else if (this.#identity !== undefined) this.#present(this.#identity);
    this.#timer = this.clock.after(openingMs, () => {
      this.#failed(new HandshakeTimeout({ state: "waiting for the multiplexer", afterMs: openingMs }));
    });
  }

  #opened(): void {
    this.clock.cancel(this.#timer);
    this.#phase = "open";
    if (!this.#owner.listener.opened(this)) return this.#refused();
    if (this.phase !== "open") return;
    this.#owner.opened(this);
    this.#settleLater(Result.succeed(this));
  }

  /** The listener refused. */
  #refused(): void {
    this.close("now", "refused");
  }

  /** The listener closes the connection. */
  #failed(refusal: Refusal): void {
    this.#failure = refusal;
    this.#owner.listener.failed(this, refusal);
  }

  #settleLater(outcome: Result.Result<WireConnection, Refusal>): void {
    const settle = this.#settle;
    this.#settle = undefined;
    if (settle !== undefined) this.clock.soon(() => settle(outcome));
  }

  // ── What arrives ──

  #heard(frame: Frame): void {
    if (isHandshake(frame)) return this.#step(frame);
    // What comes before the multiplexer is agreed on is dropped.
    if (this.#phase !== "open" && this.#phase !== "closing") return;
    if (this.#unread.length >= framesMax) return this.#link.close("too much waits to be read");
    this.#unread.push(frame as OpenFrame);
    if (this.#readAgain === undefined) this.#readAll();
  }

  /** A peer that costs too much is read later, like the frames of a libp2p connection (`libp2p/frame_guard.ts`). */
  #readAll(): void {
    this.#readAgain = undefined;
    while (this.#unread.length > 0) {
      const waitMs = this.#charge(0);
      if (waitMs > 0) return void (this.#readAgain = this.clock.after(waitMs, () => this.#readAll()));
      const frame = this.#unread.shift() as OpenFrame;
      // After the close began only what lets this end send on counts.
      if (this.#phase === "open" || (this.#phase === "closing" && frame.type === "stream.taken")) {
        this.#heardOpen(frame);
      }
    }
  }

  #heardOpen(frame: OpenFrame): void {
    switch (frame.type) {
      case "stream.data":
        // What comes on a stream of this side's own was requested, as long as the stream is open.
        if (this.#isTheirs(frame.stream) || !this.#streams.has(frame.stream)) {
          this.#charge(priceOf("bytes", frame.bytes.length));
        }
        return frame.opens === "no" ? this.#streams.get(frame.stream)?.arrived(frame) : this.#offered(frame);
      case "stream.agreed":
        return this.#streams.get(frame.stream)?.agreed(frame.protocol);
      case "stream.taken":
        return this.#streams.get(frame.stream)?.taken(frame.count);
      case "stream.reset":
        return this.#streams.get(frame.stream)?.wasReset(frame.why);
      case "gossip":
      case "gossip.topic":
        return this.#owner.gossip(this, frame);
      default:
        return this.#owner.relay(this, frame);
    }
  }

  /** Whether the peer chose the number of a stream. */
  #isTheirs(stream: number): boolean {
    return stream % 2 === (this.direction === "inbound" ? 1 : 0);
  }

  /** How long the peer has to wait then, in milliseconds. */
  #charge(us: number): number {
    return this.#peer === undefined ? 0 : this.#owner.listener.charge(this.#peer, us);
  }

  /** The peer opens a stream. */
  #offered(frame: StreamDataFrame): void {
    const { stream: number, fallback } = frame;
    const isFallback = fallback !== undefined && !this.#owner.isServed(frame.protocol);
    const protocol = isFallback ? fallback : frame.protocol;
    this.#charge(priceOf("frame.opening") + priceOf("stream"));
    if (!this.#isTheirs(number) || this.#streams.has(number)) {
      return this.broken("a stream's number that is not the peer's to choose");
    }
    const stream = new SimulatedStream(this, { number, protocol, isOpener: false });
    this.#owner.worked(this, stream, "offered", 0);
    if (!this.#owner.isServed(protocol)) return this.#reset(number, "unsupported");
    const verdict = this.#owner.listener.stream(this, stream);
    // libp2p agrees on a protocol that is served before it asks for the stream's reader: a refusal is a reset afterwards.
    const isAgreed = frame.opens === "acknowledged" && verdict !== "unsupported";
    if (isAgreed) this.sendFrame({ type: "stream.agreed", stream: number, protocol });
    if (typeof verdict === "string") {
      stream.drop();
      return this.#reset(number, verdict === "unsupported" ? "unsupported" : "reset");
    }
    if (this.phase !== "open") return this.clock.soon(() => verdict.closed("connection", "the connection ended"));
    stream.listenedTo(verdict);
    this.#streams.set(number, stream);
    this.#owner.worked(this, stream, "taken", 0);
    stream.arrived(frame);
  }

  #reset(stream: number, why: ResetReason): void {
    this.sendFrame({ type: "stream.reset", stream, why });
  }

  // ── Its streams' calls ──

  sendFrame(frame: StreamFrame | GossipFrame | RelayFrame): void {
    if (this.#phase === "open" || this.#phase === "closing") this.#send(frame);
  }

  delivers(stream: SimulatedStream, bytes: Uint8Array): void {
    if (this.#isTheirs(stream.number)) this.#owner.worked(this, stream, "read", bytes.length);
    this.#owner.delivers(this, stream.protocol, bytes);
  }

  answers(stream: SimulatedStream, bytes: number): void {
    this.#owner.worked(this, stream, "answered", bytes);
  }

  forget(stream: SimulatedStream): void {
    if (this.#streams.get(stream.number) !== stream) return;
    this.#streams.delete(stream.number);
    if (this.#isTheirs(stream.number)) this.#owner.worked(this, stream, "over", 0);
  }

  /** Closed gently, it ends once nothing is left to send. */
  pumped(): void {
    if (this.#phase !== "closing") return;
    for (const stream of this.#streams.values()) if (stream.isPending) return;
    this.#link.close("closed");
  }

  broken(detail: string): void {
    if (this.#phase === "open") this.#owner.listener.broken(this, detail);
    else this.close("now", detail);
  }

  #send(frame: HandshakeFrame | OpenFrame): void {
    this.#link.send(frame);
  }

  // ── The end ──

  #linkClosed({ by, detail }: LinkClosed): void {
    const wasOpen = this.#phase === "open" || this.#phase === "closing";
    this.#phase = "ended";
    this.clock.cancel(this.#timer);
    this.clock.cancel(this.#readAgain);
    this.#unread = [];
    this.#owner.left(this);
    const refusal = wasOpen ? undefined : this.#failure ?? new HungUp({ detail });
    this.clock.soon(() => {
      for (const stream of [...this.#streams.values()]) stream.lose(by === "them" ? "whole" : "lost", detail);
      this.#owner.listener.ended(this, { by, detail, ...(refusal === undefined ? {} : { refusal }) });
      this.#settleLater(Result.fail(refusal ?? new HungUp({ detail })));
    });
  }
}
