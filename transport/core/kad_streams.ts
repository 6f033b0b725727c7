/**
 * Kademlia streams that peers open: framing, bounds, and which messages the core answers itself.
 *
 * The core answers what carries a record, because a record counts only with the identity of the connection that brought it.
 * Everything else is the wire's: it knows the routing table. A stream's messages are answered one at a time, each once its peer can
 * afford it and when it is that peer's turn, so that a peer that floods this node with them does not delay the others.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import { type PeerText, TransportError } from "../port.ts";
import {
  decodeKadMessage,
  encodeKadMessage,
  type KadMessage,
  kadMessageMaxBytes,
  type KadRecord,
} from "../protocols/kad_record.ts";
import type { Clock, Timer } from "./clock.ts";
import type { HeldBytes } from "./held_bytes.ts";
import { MessageReader, prefixLength } from "./length_prefixed.ts";
import type { SessionParts } from "./parts.ts";
import { priceOf } from "./prices.ts";
import type { RecordRefused } from "./record_store.ts";
import type { StreamListener, WireConnection, WireStream } from "./wire.ts";

/**
 * How long a stream may take for a message, from the last answer (or its opening) to the next, in milliseconds: what
 * `@libp2p/kad-dht` 16 allows (`incomingMessageTimeout`).
 */
export const kadMessageTimeoutMs = 10_000;
/** Streams that may be open at once, over all connections. */
export const kadStreamsMax = 4_096;

/** Keeps records of peers and finds them (`records.ts`). */
export interface KeepsRecords {
  /** Keeps the record of a `PUT_VALUE`, where its publisher itself sent it over this connection. */
  keep(connection: WireConnection, message: KadMessage): Result.Result<void, RecordRefused>;
  /** The record of a key. */
  find(key: Uint8Array): KadRecord | undefined;
}

/** What a message is answered with; undefined: with nothing. */
type KadAnswer = Result.Result<KadMessage | undefined, Error>;

/** The Kademlia streams of a session that peers opened. */
export class KadStreams {
  readonly #parts: SessionParts;
  readonly #records: KeepsRecords;
  readonly #open = new Set<KadStream>();
  /** An answer costs by the peers in it: as many are paid for as the last answer had, and the difference afterwards. */
  #peersExpected = 0;
  #isStopped = false;

  constructor(parts: SessionParts, records: KeepsRecords) {
    this.#parts = parts;
    this.#records = records;
  }

  /** Streams that are open. */
  get size(): number {
    return this.#open.size;
  }

  /** A peer opened a stream. */
  received(connection: WireConnection, identity: PeerIdentity, stream: WireStream): StreamListener | "refused" {
    if (this.#isStopped || this.#open.size >= kadStreamsMax) return "refused";
    const { clock, held, work, acts } = this.#parts;
    if (!acts.allows("kad.query", identity)) return "refused";
    const { peer } = identity;
    let paidPeers = 0; // of the message that is being answered: a stream has one at a time
    const kadStream: KadStream = new KadStream({
      stream,
      identity,
      clock,
      held: held.of(peer, (detail) => kadStream.abort(detail)),
      arrived: (bytes, handle) => {
        paidPeers = this.#peersExpected;
        work.run(peer, kadStream, priceOf("kad", bytes) + paidPeers * priceOf("kad.peer"), handle);
      },
      answer: (message, done) =>
        this.#answer(connection, message, (answer) => {
          this.#answered(peer, answer, paidPeers);
          done(answer);
        }),
      over: () => {
        this.#open.delete(kadStream);
        work.leave(peer, kadStream);
      },
    });
    this.#open.add(kadStream);
    return kadStream;
  }

  #answered(peer: PeerText, answer: KadAnswer, paidPeers: number): void {
    const { work } = this.#parts;
    const peers = Result.isSuccess(answer) ? answer.success?.closer.length ?? 0 : 0;
    const us = (peers - paidPeers) * priceOf("kad.peer");
    this.#peersExpected = peers;
    if (us > 0) work.charge(peer, us);
    else if (us < 0) work.refund(peer, -us);
  }

  #answer(connection: WireConnection, message: KadMessage, done: (answer: KadAnswer) => void): void {
    const { wire } = this.#parts;
    if (message.type === "PUT_VALUE") {
      return done(Result.map(this.#records.keep(connection, message), () => message));
    }
    if (message.type !== "GET_VALUE") return wire.kadAnswer(connection, message, done);
    const { key } = message;
    if (key === undefined || key.byteLength === 0) {
      return done(Result.fail(new TransportError({ code: "malformed", detail: "a GET_VALUE without a key" })));
    }
    wire.kadAnswer(connection, message, (answer) =>
      done(Result.map(answer, (routing) => {
        const record = this.#records.find(key);
        return {
          type: "GET_VALUE",
          ...(message.clusterLevel === undefined ? {} : { clusterLevel: message.clusterLevel }),
          key,
          ...(record === undefined ? {} : { record }),
          closer: routing?.closer ?? [],
          providers: [],
        };
      })));
  }

  /** Resets the streams of peers that may not ask any more. */
  rulesChanged(): void {
    for (const stream of [...this.#open]) {
      if (!this.#parts.acts.allows("kad.query", stream.identity)) stream.abort("not authorized any more");
    }
  }

  /** Resets every stream, and takes no more. */
  stop(): void {
    this.#isStopped = true;
    for (const stream of [...this.#open]) stream.abort("the transport stops");
  }
}

interface KadStreamInit {
  readonly stream: WireStream;
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  /** What it holds, beside the other streams of its peer. */
  readonly held: HeldBytes;
  /** A message has arrived: it is handled once its peer can afford it. */
  arrived(sizeBytes: number, handle: () => void): void;
  answer(message: KadMessage, done: (answer: KadAnswer) => void): void;
  /** Nothing of it is left. Called once. */
  over(): void;
}

/** One stream that a peer opened. */
class KadStream implements StreamListener {
  readonly #init: KadStreamInit;
  readonly #reader = new MessageReader(kadMessageMaxBytes);
  #timer: Timer;
  /** A message waits for its turn or its answer, or an answer for the peer to take it. */
  #isBusy = false;
  /** Size of that message. */
  #messageBytes = 0;
  #isDraining = false;
  #isPaused = false;
  #hasEnded = false;
  #isOver = false;

  constructor(init: KadStreamInit) {
    this.#init = init;
    this.#timer = this.#startTimer();
  }

  /** Of the connection that it came in on. */
  get identity(): PeerIdentity {
    return this.#init.identity;
  }

  #startTimer(): Timer {
    return this.#init.clock.after(kadMessageTimeoutMs, () => this.abort("no message in time"));
  }

  data(bytes: Uint8Array): void {
    if (this.#isOver) return;
    this.#reader.append(bytes);
    if (!this.#init.held.set(this.#reader.sizeBytes + this.#messageBytes)) return;
    if (!this.#isBusy) return this.#readNext();
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#init.stream.pause();
  }

  ended(): void {
    this.#hasEnded = true;
    if (!this.#isOver && !this.#isBusy) this.#readNext();
  }

  drained(): void {
    if (!this.#isOver && this.#isDraining) this.#answered();
  }

  closed(): void {
    this.#end();
  }

  /** Resets the stream. */
  abort(detail: string): void {
    if (this.#isOver) return;
    this.#init.stream.abort(detail);
    this.#end();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#init.clock.cancel(this.#timer);
    this.#reader.clear();
    this.#init.held.set(0);
    this.#init.over();
  }

  #readNext(): void {
    const { stream, held } = this.#init;
    const message = this.#reader.next();
    if (message === "too-large") return this.abort(`a message of more than ${kadMessageMaxBytes} bytes`);
    if (message !== undefined) {
      this.#isBusy = true;
      this.#messageBytes = message.byteLength;
      return this.#init.arrived(message.byteLength, () => this.#handle(message));
    }
    held.set(this.#reader.sizeBytes);
    if (this.#hasEnded) {
      if (this.#reader.sizeBytes > 0) return this.abort("the stream ended inside a message");
      return stream.end(); // its `closed` follows; until then the time for a message runs
    }
    if (!this.#isPaused) return;
    this.#isPaused = false;
    stream.resume();
  }

  #handle(bytes: Uint8Array): void {
    if (this.#isOver) return;
    const decoded = decodeKadMessage(bytes);
    if (Result.isFailure(decoded)) return this.abort(decoded.failure.message);
    this.#init.answer(decoded.success, (answer) => {
      if (this.#isOver) return;
      if (Result.isFailure(answer)) return this.abort(answer.failure.message);
      const message = answer.success;
      this.#isDraining = message !== undefined && !this.#init.stream.send(prefixLength(encodeKadMessage(message)));
      if (!this.#isDraining) this.#answered();
    });
  }

  /** The answer has left: the next message has its own time. */
  #answered(): void {
    this.#isBusy = false;
    this.#messageBytes = 0;
    this.#isDraining = false;
    this.#init.clock.cancel(this.#timer);
    this.#timer = this.#startTimer();
    this.#readNext();
  }
}
