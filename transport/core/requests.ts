/**
 * Requests and responses: one substream an exchange, one CBOR item each way, half-closed after it, no length prefix.
 *
 * @module
 */
import type { Connection, Stream } from "@libp2p/interface";
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Connections } from "./connections.ts";
import type { Dialler } from "./dialing.ts";
import { type Node, streamsPerProtocolMax } from "../libp2p/node.ts";
import { MalformedRequests } from "./malformed_requests.ts";
import type { Outbox } from "./outbox.ts";
import { type TransportAsk, TransportError } from "../port.ts";
import type { MessageProtocol } from "../protocols/messages.ts";
import { decodeMessage, encodeMessage, requestMaxBytes, responseMaxBytes } from "../protocols/mod.ts";
import { ReadBudget, readWhole, sendWhole, transportError } from "./whole_message.ts";

/** How long an exchange may take at the answering end, in milliseconds; the existing nodes reset after it. */
export const exchangeMaxMs = 10_000;
/** Requests of ours under way, and requests of others waiting for an answer of ours. */
export const requestsMax = 4_096;
/**
 * What unfinished requests of one peer may hold in memory together, over all its connections: an open stream may hold
 * 1 MiB, and a peer may open hundreds.
 */
export const unfinishedBytesMax = 33_554_432;

/** What is told of a request that does not decode, in characters. */
const malformedDetailMax = 300;

type RequestAsk = Extract<TransportAsk, { type: "request" }>;

interface Waiting {
  readonly protocol: MessageProtocol;
  readonly stream: Stream;
  readonly deadline: AbortController;
  readonly timer: ReturnType<typeof setTimeout>;
}

/** What the parts of a session share. */
export interface SessionParts {
  readonly libp2p: Node;
  readonly connections: Connections;
  readonly dialler: Dialler;
  readonly outbox: Outbox;
  readonly uuid: () => string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

/** The exchanges of a session, in both directions. */
export class Requests {
  readonly #parts: SessionParts;
  readonly #asked = new Map<string, AbortController>();
  readonly #waiting = new Map<string, Waiting>();
  /** Of peers whose requests are being read. */
  readonly #budgets = new Map<string, ReadBudget>();
  readonly #malformed: MalformedRequests;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#malformed = new MalformedRequests(parts.now);
  }

  /** Sends a request. Its answer goes to the asker: the response, or why there is none. */
  request(ask: RequestAsk): void {
    const { outbox } = this.#parts;
    const { id, replyTo } = ask;
    if (this.#asked.size >= requestsMax || this.#asked.has(id)) {
      const detail = this.#asked.has(id) ? "there is a request with this id" : `already ${requestsMax} requests`;
      return outbox.answer(replyTo, {
        type: "request.failed",
        id,
        error: new TransportError({ code: "failed", detail }),
      });
    }
    const controller = new AbortController();
    this.#asked.set(id, controller);
    const timer = setTimeout(
      () => controller.abort(new TransportError({ code: "timed-out", detail: `no answer after ${ask.timeoutMs} ms` })),
      ask.timeoutMs,
    );
    const { signal } = controller;
    const answer = (said: Parameters<RequestAsk["replyTo"]["send"]>[0]) => {
      clearTimeout(timer);
      this.#asked.delete(id);
      outbox.answer(replyTo, said);
    };
    this.#exchange(ask, signal).then(
      (message) => answer({ type: "response", id, message }),
      (error) => answer({ type: "request.failed", id, error: transportError(error, signal) }),
    );
  }

  /** Gives a request up; it is answered with `cancelled`. */
  cancel(id: string): void {
    this.#asked.get(id)?.abort(new TransportError({ code: "cancelled", detail: "the asker gave it up" }));
  }

  async #exchange({ peer, protocol, message }: RequestAsk, signal: AbortSignal) {
    const bytes = encodeMessage(protocol, "request", message as never);
    if (bytes.byteLength > requestMaxBytes) {
      throw new TransportError({ code: "too-large", detail: `a request of ${bytes.byteLength} bytes` });
    }
    const connection = await this.#parts.dialler.connect(peer, signal);
    const stream = await connection.newStream(protocol, {
      signal,
      runOnLimitedConnection: true,
      maxOutboundStreams: streamsPerProtocolMax,
    });
    try {
      const reading = readWhole(stream, responseMaxBytes, signal);
      reading.catch(() => {}); // its failure is awaited below, after the sending
      await sendWhole(stream, bytes, signal);
      const response = await reading;
      if (response.byteLength === 0) throw new TransportError({ code: "no-answer", detail: "the peer ended silently" });
      const decoded = decodeMessage(protocol, "response", response);
      if (Result.isSuccess(decoded)) return decoded.success;
      throw new TransportError({ code: "malformed", detail: decoded.failure.message });
    } catch (error) {
      stream.abort(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  }

  /** Lets others send requests of a protocol. */
  serve(protocol: MessageProtocol): Promise<void> {
    return this.#parts.libp2p.handle(protocol, (stream, connection) => this.#receive(protocol, stream, connection), {
      runOnLimitedConnection: true,
      maxInboundStreams: streamsPerProtocolMax,
      maxOutboundStreams: streamsPerProtocolMax,
      force: true,
    });
  }

  async #receive(protocol: MessageProtocol, stream: Stream, connection: Connection): Promise<void> {
    const { connections, outbox, uuid } = this.#parts;
    const peer = connection.remotePeer.toString();
    const identity = connections.identityOf(peer);
    if (identity === undefined || this.#waiting.size >= requestsMax) {
      return stream.abort(new Error(identity === undefined ? "not established" : "too many requests"));
    }
    const deadline = new AbortController();
    const exchange = uuid();
    const timer = setTimeout(() => {
      deadline.abort(new TransportError({ code: "timed-out", detail: `not answered after ${exchangeMaxMs} ms` }));
      this.decline(exchange);
    }, exchangeMaxMs);
    const { signal } = deadline;
    try {
      const bytes = await this.#readRequest(peer, stream, signal);
      const decoded = decodeMessage(protocol, "request", bytes);
      if (Result.isFailure(decoded)) {
        // What does not decode ends without a byte; the connection lives on.
        clearTimeout(timer);
        this.#tellMalformed(identity, protocol, decoded.failure.message);
        await stream.close({ signal });
        return;
      }
      this.#waiting.set(exchange, { protocol, stream, deadline, timer });
      stream.addEventListener("close", () => this.#forget(exchange), { once: true });
      outbox.tell({ type: "request.received", exchange, peer, identity, protocol, message: decoded.success });
    } catch (error) {
      clearTimeout(timer);
      if (error instanceof TransportError && error.code === "too-large") {
        this.#tellMalformed(identity, protocol, error.detail);
      }
      stream.abort(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #tellMalformed(identity: PeerIdentity, protocol: MessageProtocol, reason: string): void {
    const { peer } = identity;
    const untold = this.#malformed.note(peer, protocol);
    const detail = reason.slice(0, malformedDetailMax);
    if (untold === undefined) return;
    this.#parts.outbox.tell({ type: "request.malformed", peer, identity, protocol, detail, untold });
  }

  async #readRequest(peer: string, stream: Stream, signal: AbortSignal): Promise<Uint8Array> {
    const budget = this.#budgets.get(peer) ?? new ReadBudget(unfinishedBytesMax);
    this.#budgets.set(peer, budget);
    try {
      return await readWhole(stream, requestMaxBytes, signal, budget);
    } finally {
      if (budget.idle && this.#budgets.get(peer) === budget) this.#budgets.delete(peer);
    }
  }

  /** Answers an exchange. One that is over, or was answered, is left alone. */
  respond({ exchange, message }: Extract<TransportAsk, { type: "respond" }>): void {
    const waiting = this.#forget(exchange);
    if (waiting === undefined) return;
    const { protocol, stream, deadline: { signal } } = waiting;
    try {
      const bytes = encodeMessage(protocol, "response", message as never);
      sendWhole(stream, bytes, signal).catch((error) => stream.abort(error));
    } catch (error) {
      stream.abort(error as Error); // a message that has no encoding: the asker's mistake, and this exchange's end
    }
  }

  /** Ends an exchange without a byte. */
  decline(exchange: string): void {
    const waiting = this.#forget(exchange);
    if (waiting === undefined) return;
    const { stream, deadline: { signal } } = waiting;
    if (signal.aborted) stream.abort(new Error("not answered in time"));
    else stream.close({ signal }).catch((error) => stream.abort(error));
  }

  #forget(exchange: string): Waiting | undefined {
    const waiting = this.#waiting.get(exchange);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(exchange);
    clearTimeout(waiting.timer);
    return waiting;
  }

  /** Everything ends: nothing of it keeps the process alive. */
  stop(): void {
    const stopped = new TransportError({ code: "stopped", detail: "the transport stops" });
    for (const controller of this.#asked.values()) controller.abort(stopped);
    for (const exchange of [...this.#waiting.keys()]) {
      this.#waiting.get(exchange)?.deadline.abort(stopped);
      this.decline(exchange);
    }
  }
}
