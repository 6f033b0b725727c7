/**
 * Streams of raw files: opened by us, or offered by peers and taken by the role that serves their protocol.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import { actOfStream, receiversOf } from "../authorization/acts_of_protocols.ts";
import { type StreamHandle, type StreamProtocol, type TransportAsk, TransportError } from "../port.ts";
import type { Timer } from "./clock.ts";
import type { SessionParts } from "./parts.ts";
import { priceOf } from "./prices.ts";
import { streamFailure } from "./stream_failure.ts";
import { OwnedStream } from "./stream_handle.ts";
import type { GiveUp, StreamListener, WireConnection, WireStream } from "./wire.ts";

/** How long an offered stream waits to be taken, in milliseconds. */
export const streamAcceptMs = 10_000;
/** Offered streams that may wait at once. */
export const offeredStreamsMax = 1_024;
/** Streams that may be open at once, in both directions, with those that are being opened. */
export const openStreamsMax = 4_096;

type OpenAsk = Extract<TransportAsk, { type: "stream.open" }>;
type AcceptAsk = Extract<TransportAsk, { type: "stream.accept" }>;

interface Offered {
  readonly connection: WireConnection;
  readonly owned: OwnedStream;
  readonly timer: Timer;
  /** The stream is wanted: its peer does not pay for what comes on it. */
  wanted(): void;
}

/** The raw streams of a session. */
export class RawStreams {
  readonly #parts: SessionParts;
  readonly #opening = new Set<OpeningStream>();
  readonly #open = new Set<OwnedStream>();
  readonly #offered = new Map<string, Offered>();
  /** The open ones that peers opened, each with the identity of its connection. */
  readonly #received = new Map<OwnedStream, PeerIdentity>();
  #isStopped = false;

  constructor(parts: SessionParts) {
    this.#parts = parts;
  }

  /** Streams that are open or being opened. */
  get size(): number {
    return this.#opening.size + this.#open.size;
  }

  /** Opens a stream to a peer. Fails with `unsupported` if the peer supports neither the protocol nor the fallback. */
  open(ask: OpenAsk): void {
    const { id, replyTo } = ask;
    const answer = (outcome: Result.Result<StreamHandle, TransportError>) =>
      this.#parts.outbox.answer(
        replyTo,
        Result.isSuccess(outcome)
          ? { type: "stream.opened", id, stream: outcome.success }
          : { type: "stream.failed", id, error: outcome.failure },
      );
    if (this.#isStopped) return answer(failure("stopped", "the transport stops"));
    if (this.size >= openStreamsMax) return answer(failure("failed", `already ${openStreamsMax} streams`));
    const opening: OpeningStream = new OpeningStream(this.#parts, ask, {
      ended: (outcome, owned) => {
        this.#opening.delete(opening);
        if (Result.isSuccess(outcome)) this.#open.add(owned);
        answer(outcome);
      },
      closed: (owned) => this.#open.delete(owned),
    });
    this.#opening.add(opening);
  }

  /** A peer offers a stream of a protocol that is served. */
  received(
    connection: WireConnection,
    identity: PeerIdentity,
    protocol: StreamProtocol,
    stream: WireStream,
  ): StreamListener | "refused" {
    if (this.#isStopped || this.#offered.size >= offeredStreamsMax || this.size >= openStreamsMax) return "refused";
    const { clock, outbox, uuid, held, work, acts } = this.#parts;
    if (!acts.allows(actOfStream(protocol), identity)) return "refused";
    const { peer } = identity;
    const exchange = uuid();
    let [isWanted, paidBytes] = [false, 0];
    const owned = new OwnedStream({
      id: exchange,
      peer,
      protocol,
      clock,
      held,
      arrived: (bytes) => {
        if (isWanted) work.refund(peer, priceOf("bytes", bytes));
        else paidBytes += bytes;
      },
      closed: () => {
        this.#open.delete(owned);
        this.#received.delete(owned);
        this.#take(exchange);
      },
    });
    owned.attach(stream);
    this.#open.add(owned);
    this.#received.set(owned, identity);
    const timer = clock.after(streamAcceptMs, () => this.reject(exchange));
    const wanted = () => {
      isWanted = true;
      work.refund(peer, priceOf("bytes", paidBytes));
    };
    this.#offered.set(exchange, { connection, owned, timer, wanted });
    outbox.tell({ type: "stream.received", exchange, peer, identity, protocol });
    return owned;
  }

  /** Takes an offered stream, where the certificate of its connection still counts. */
  accept({ exchange, replyTo }: AcceptAsk): void {
    const { established, outbox } = this.#parts;
    const { connection, wanted } = this.#offered.get(exchange) ?? {};
    const isEstablished = connection !== undefined && established.identityOf(connection) !== undefined;
    const owned = this.#take(exchange);
    if (!isEstablished) owned?.abort("not established");
    else if (owned !== undefined) {
      wanted?.();
      return outbox.answer(replyTo, { type: "stream.opened", id: exchange, stream: owned.handle });
    }
    const error = new TransportError({ code: "timed-out", detail: "the offered stream is gone" });
    outbox.answer(replyTo, { type: "stream.failed", id: exchange, error });
  }

  /** Resets an offered stream. */
  reject(exchange: string): void {
    this.#take(exchange)?.abort("the stream is not wanted");
  }

  #take(exchange: string): OwnedStream | undefined {
    const offered = this.#offered.get(exchange);
    if (offered === undefined) return undefined;
    this.#parts.clock.cancel(offered.timer);
    this.#offered.delete(exchange);
    return offered.owned;
  }

  /** Resets the streams that their peers may not have any more. */
  rulesChanged(): void {
    for (const [owned, identity] of [...this.#received]) {
      const act = actOfStream(owned.handle.protocol);
      if (!this.#parts.acts.allows(act, identity)) owned.abort("not authorized any more");
    }
  }

  /** Resets everything, and takes nothing more. */
  stop(): void {
    this.#isStopped = true;
    for (const opening of [...this.#opening]) opening.fail("stopped", "the transport stops");
    for (const owned of [...this.#open]) owned.abort("the transport stops");
  }
}

/** What a stream that is being opened reports to its owner. */
interface OpeningListener {
  /** It is open, or it is not to be. Called once. */
  ended(outcome: Result.Result<StreamHandle, TransportError>, owned: OwnedStream): void;
  /** The stream, once open, is over. */
  closed(owned: OwnedStream): void;
}

/** A stream of ours from the ask until the other side has agreed to its protocol. */
class OpeningStream {
  readonly #parts: SessionParts;
  readonly #listener: OpeningListener;
  readonly #owned: OwnedStream;
  readonly #timer: Timer;
  #giveUpDial: GiveUp | undefined;
  #isEnded = false;

  constructor(
    parts: SessionParts,
    { id, peer, to, protocol, fallback, timeoutMs }: OpenAsk,
    listener: OpeningListener,
  ) {
    this.#parts = parts;
    this.#listener = listener;
    const { clock, dialler, streams, held } = parts;
    this.#owned = new OwnedStream({
      id,
      peer,
      protocol,
      fallback,
      clock,
      held,
      opened: () => this.#end(Result.succeed(this.#owned.handle)),
      closed: (how, detail) => {
        if (!this.#isEnded) this.#end(Result.fail(streamFailure(how, detail)));
        listener.closed(this.#owned);
      },
    });
    this.#timer = clock.after(timeoutMs, () => this.fail("timed-out", `no stream after ${timeoutMs} ms`));
    this.#giveUpDial = dialler.connect(peer, timeoutMs, (outcome) => {
      this.#giveUpDial = undefined;
      if (Result.isFailure(outcome)) return this.#end(Result.fail(outcome.failure));
      this.#owned.attach(streams.open(outcome.success, protocol, this.#owned, fallback));
    }, to ?? receiversOf(actOfStream(protocol)));
  }

  fail(code: TransportError["code"], detail: string): void {
    this.#end(failure(code, detail));
  }

  #end(outcome: Result.Result<StreamHandle, TransportError>): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#parts.clock.cancel(this.#timer);
    this.#giveUpDial?.();
    if (Result.isFailure(outcome)) this.#owned.abort(outcome.failure.detail);
    this.#listener.ended(outcome, this.#owned);
  }
}

function failure(code: TransportError["code"], detail: string): Result.Result<never, TransportError> {
  return Result.fail(new TransportError({ code, detail }));
}
