/**
 * Requests and responses: one stream an exchange, one CBOR item each way, ended after it, no length prefix.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { Act } from "../authorization/acts.ts";
import { actOfBytes, actOfRequest, receiversOf } from "../authorization/acts_of_protocols.ts";
import { type PeerText, type TransportAsk, TransportError } from "../port.ts";
import type { Message, MessageProtocol, ProtocolMessages } from "../protocols/messages.ts";
import {
  decodeMessage,
  encodeMessage,
  type MalformedMessage,
  type ReadCounts,
  requestMaxBytes,
} from "../protocols/mod.ts";
import { traceContextOf, withTraceContext } from "../protocols/traced_message.ts";
import type { AskStream } from "./ask_stream.ts";
import { askRequest } from "./asked_request.ts";
import { connectsEstablished } from "./connects_established.ts";
import type { SessionParts } from "./parts.ts";
import { priceOf, type Work } from "./prices.ts";
import { RareReports } from "./rare_reports.ts";
import { ReceivedRequest } from "./received_request.ts";
import type { OpenRequest } from "./request_traces.ts";
import type { StreamListener, WireConnection, WireStream } from "./wire.ts";

export { exchangeMaxMs } from "./received_request.ts";

/** Requests of ours under way, and requests of peers waiting for an answer of ours. */
export const requestsMax = 4_096;

/** How long an answer to {@linkcode Requests.keepUp} is waited for, in milliseconds. */
const keepUpTimeoutMs = 10_000;
/** How much is reported of why a request does not decode, in characters. */
const malformedDetailMax = 300;
/** How much is reported of why a request has no encoding, in characters. */
const failedDetailMax = 200;

/** Answers that cost more than the request did: pieces of revocation lists, whose size the asker chooses, and proofs. */
function answerWork(protocol: MessageProtocol, response: object): Work | undefined {
  if (protocol === "/hypha-crl/1") return "crl";
  if (protocol !== "/hypha-audit/1") return undefined;
  return "Noted" in response ? "audit.heads" : "audit";
}

/** A request of a peer that waits for an answer. */
interface WaitingRequest {
  readonly request: ReceivedRequest;
  readonly identity: PeerIdentity;
  readonly act: Act;
  readonly trace: OpenRequest | undefined;
}

type Ask<T extends TransportAsk["type"]> = Extract<TransportAsk, { type: T }>;

/** The exchanges of a session, in both directions. */
export class Requests {
  readonly #parts: SessionParts;
  /** The same for requests that never dial. */
  readonly #connected: SessionParts;
  /** Requests of ours that are not answered, by the asker's id. */
  readonly #asked = new Map<string, AskStream<Message>>();
  /** Those, and answered ones whose stream is not closed yet. */
  readonly #askedOpen = new Set<AskStream<Message>>();
  /** Requests of peers that wait for an answer, by exchange. */
  readonly #waiting = new Map<string, WaitingRequest>();
  /** Those, the ones that are being read and the ones whose answer is on its way. */
  readonly #received = new Set<ReceivedRequest>();
  readonly #malformed: RareReports;
  #isStopped = false;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#connected = { ...parts, dialler: connectsEstablished(parts) };
    this.#malformed = new RareReports(() => parts.clock.monotonic());
  }

  /** Exchanges that are open, in both directions. */
  get size(): number {
    return this.#askedOpen.size + this.#received.size;
  }

  /** Sends a request. Its answer goes to the asker: the response, or why there is none. */
  request(ask: Ask<"request">): void {
    const { id } = ask;
    if (this.#isStopped) return this.#fail(ask, "stopped", "the transport stops");
    if (this.#asked.has(id)) return this.#fail(ask, "failed", "there is a request with this id");
    if (this.#askedOpen.size >= requestsMax) return this.#fail(ask, "failed", `already ${requestsMax} requests`);
    const trace = this.#parts.traces?.asked(ask);
    const bytes = this.#encoded(ask, trace);
    if (bytes === undefined) return trace?.ended("failed");
    const act = actOfRequest(ask.protocol, ask.message);
    const request: AskStream<Message> = askRequest({
      parts: ask.dial === "never" ? this.#connected : this.#parts,
      ask,
      to: ask.to ?? (act === undefined ? undefined : receiversOf(act)),
      bytes,
      answered: (outcome) => {
        this.#asked.delete(id);
        trace?.ended(Result.isFailure(outcome) ? outcome.failure.code : undefined);
        this.#answer(ask, outcome);
      },
      over: () => this.#askedOpen.delete(request),
    });
    this.#asked.set(id, request);
    this.#askedOpen.add(request);
  }

  /** Asks a peer for its health, so that the link to it is used. */
  keepUp(peer: PeerText): void {
    const protocol = "/hypha-health/0.0.1";
    this.request({
      type: "request",
      id: this.#parts.uuid(),
      peer,
      protocol,
      message: {},
      timeoutMs: keepUpTimeoutMs,
      replyTo: { send: () => {} },
    });
  }

  #encoded(ask: Ask<"request">, trace: OpenRequest | undefined): Uint8Array | undefined {
    try {
      const traced = trace === undefined ? ask.message : withTraceContext(ask.protocol, ask.message, trace.context);
      const message = traced as ProtocolMessages[MessageProtocol]["request"];
      const bytes = encodeMessage(ask.protocol, "request", message);
      if (bytes.byteLength <= requestMaxBytes) return bytes;
      this.#fail(ask, "too-large", `a request of ${bytes.byteLength} bytes`);
    } catch (error) {
      // A message of the wrong shape: the asker's mistake.
      this.#fail(ask, "failed", (error instanceof Error ? error.message : String(error)).slice(0, failedDetailMax));
    }
    return undefined;
  }

  #fail(ask: Ask<"request">, code: TransportError["code"], detail: string): void {
    this.#answer(ask, Result.fail(new TransportError({ code, detail })));
  }

  #answer({ id, replyTo }: Ask<"request">, outcome: Result.Result<Message, TransportError>): void {
    const answer = Result.isSuccess(outcome)
      ? { type: "response", id, message: outcome.success } as const
      : { type: "request.failed", id, error: outcome.failure } as const;
    this.#parts.outbox.answer(replyTo, answer);
  }

  /** Gives a request up; it is answered with `cancelled`. */
  cancel(id: string): void {
    this.#asked.get(id)?.fail("cancelled", "the asker gave it up");
  }

  /** A peer opened a stream of a protocol that is served. */
  received(
    connection: WireConnection,
    identity: PeerIdentity,
    protocol: MessageProtocol,
    stream: WireStream,
  ): StreamListener | "refused" {
    if (this.#isStopped || this.#waiting.size >= requestsMax) return "refused";
    const { clock, uuid, work } = this.#parts;
    const { peer } = identity;
    const exchange = uuid();
    const request: ReceivedRequest = new ReceivedRequest({
      protocol,
      stream,
      clock,
      held: this.#parts.held.of(peer, (detail) => request.tooLarge(detail)),
      arrived: (bytes, take) => work.run(peer, request, priceOf("request", bytes), take),
      whole: (bytes) => {
        // Its certificate may have stopped to count while the request arrived.
        if (this.#parts.established.identityOf(connection) === undefined) return request.abort("not established");
        this.#whole({ exchange, identity, request }, bytes);
      },
      tooLarge: (detail) => this.#reportMalformed(identity, protocol, detail),
      over: () => {
        this.#received.delete(request);
        this.#take(exchange)?.trace?.ended("unanswered");
        work.leave(peer, request);
      },
    });
    this.#received.add(request);
    return request;
  }

  #whole(
    { exchange, identity, request }: {
      readonly exchange: string;
      readonly identity: PeerIdentity;
      readonly request: ReceivedRequest;
    },
    bytes: Uint8Array,
  ): void {
    const { protocol } = request;
    const { peer } = identity;
    const act = actOfBytes(protocol, bytes);
    // A malformed request ends without a byte; the connection lives on.
    const malformed = ({ message }: MalformedMessage) => {
      this.#reportMalformed(identity, protocol, message);
      request.answer();
    };
    if (Result.isFailure(act)) return malformed(act.failure);
    // A refused request ends as a declined one does: without a byte.
    if (!this.#parts.acts.allows(act.success, identity)) return request.answer();
    if (this.#waiting.size >= requestsMax) return request.abort("too many requests");
    const decoded = this.#decode(peer, protocol, bytes);
    if (Result.isFailure(decoded)) return malformed(decoded.failure);
    const message = decoded.success;
    const context = traceContextOf(protocol, message);
    const trace = this.#parts.traces?.received({ identity, protocol, message, context });
    this.#waiting.set(exchange, { request, identity, act: act.success, trace });
    this.#parts.outbox.tell({ type: "request.received", exchange, peer, identity, protocol, message });
  }

  /** Decodes a request, and charges for what is in it: how much that is, its bytes do not tell. */
  #decode(peer: PeerText, protocol: MessageProtocol, bytes: Uint8Array): ReturnType<typeof decodeMessage> {
    const counts: ReadCounts = { items: 0, peers: 0 };
    const decoded = decodeMessage(protocol, "request", bytes, counts);
    const us = counts.items * priceOf("request.item") + counts.peers * priceOf("request.peer");
    this.#parts.work.charge(peer, us);
    return decoded;
  }

  #reportMalformed(identity: PeerIdentity, protocol: MessageProtocol, reason: string): void {
    const { peer } = identity;
    const untold = this.#malformed.note(peer, protocol);
    if (untold === undefined) return;
    const detail = reason.slice(0, malformedDetailMax);
    this.#parts.outbox.tell({ type: "request.malformed", peer, identity, protocol, detail, untold });
  }

  /** Answers an exchange. One that is over, or was answered, is left alone. */
  respond({ exchange, message }: Ask<"respond">): void {
    const waiting = this.#take(exchange);
    if (waiting === undefined) return;
    const { request, identity, trace } = waiting;
    trace?.ended();
    try {
      const response = message as ProtocolMessages[MessageProtocol]["response"];
      const bytes = encodeMessage(request.protocol, "response", response);
      const answering = answerWork(request.protocol, response);
      if (answering !== undefined) this.#parts.work.charge(identity.peer, priceOf(answering, bytes.byteLength));
      request.answer(bytes);
    } catch (error) {
      request.abort(String(error)); // a message of the wrong shape: the answerer's mistake, and this exchange's end
    }
  }

  /** Ends an exchange without a byte. */
  decline(exchange: string): void {
    const waiting = this.#take(exchange);
    waiting?.trace?.ended("declined");
    waiting?.request.answer();
  }

  #take(exchange: string): WaitingRequest | undefined {
    const waiting = this.#waiting.get(exchange);
    this.#waiting.delete(exchange);
    return waiting;
  }

  /** Ends the exchanges that wait for an answer and may not have one any more. */
  rulesChanged(): void {
    for (const [exchange, { identity, act }] of [...this.#waiting]) {
      if (!this.#parts.acts.allows(act, identity)) this.decline(exchange);
    }
  }

  /** Ends everything, and takes nothing more. */
  stop(): void {
    this.#isStopped = true;
    for (const request of [...this.#askedOpen]) request.fail("stopped", "the transport stops");
    for (const request of [...this.#received]) request.abort("the transport stops");
  }
}
