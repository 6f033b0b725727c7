/**
 * The records that this node publishes itself, and `/hypha-record/1`, by which others ask it for them.
 *
 * @module
 */
import { Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { KadRecord } from "../protocols/kad_record.ts";
import {
  decodeRecordRequest,
  encodeRecordResponse,
  recordProtocol,
  recordRequestMaxBytes,
} from "../protocols/record_message.ts";
import type { Clock } from "./clock.ts";
import type { SessionParts } from "./parts.ts";
import { type RecordRefused, RecordStore } from "./record_store.ts";
import { WholeMessage } from "./whole_message.ts";
import type { StreamListener, WireConnection, WireStream } from "./wire.ts";

/** How long a question may take from the stream's opening to the answer's end, in milliseconds: as long as a request. */
export const recordQuestionMaxMs = 10_000;
/** Questions that may be open at once, over all connections. */
export const recordQuestionsMax = 1_024;

/** The own records of a session. */
export class OwnRecords {
  readonly #parts: Pick<SessionParts, "self" | "clock" | "established" | "acts">;
  readonly #store: RecordStore;
  readonly #open = new Set<Question>();
  #isStopped = false;

  /**
   * Serves the protocol from the first connection on, whether this node publishes or not: of a publisher that does not support it, others
   * believe what most answers say.
   */
  constructor(parts: Pick<SessionParts, "self" | "clock" | "wire" | "established" | "acts">) {
    this.#parts = parts;
    this.#store = new RecordStore(() => parts.clock.now());
    parts.wire.serve(recordProtocol);
  }

  /** Questions that are open. */
  get size(): number {
    return this.#open.size;
  }

  /** Keeps a record that this node publishes. */
  put(record: KadRecord): Result.Result<void, RecordRefused> {
    const { self } = this.#parts;
    return this.#store.put(record, { publisher: self, owner: self });
  }

  /** The record of a key that this node publishes. */
  get(key: Uint8Array): KadRecord | undefined {
    return this.#store.get(key);
  }

  /** A peer opened a stream. */
  received(
    connection: WireConnection,
    identity: PeerIdentity,
    stream: WireStream,
  ): StreamListener | "refused" {
    if (this.#isStopped || this.#open.size >= recordQuestionsMax) return "refused";
    const { acts, clock, established } = this.#parts;
    if (!acts.allows("kad.query", identity)) return "refused";
    const question: Question = new Question({
      stream,
      identity,
      clock,
      // Its certificate may have stopped to count while the question arrived.
      answer: (bytes) => established.identityOf(connection) === undefined ? undefined : this.#answer(bytes),
      over: () => this.#open.delete(question),
    });
    this.#open.add(question);
    return question;
  }

  #answer(bytes: Uint8Array): Uint8Array | undefined {
    const request = decodeRecordRequest(bytes);
    if (Result.isFailure(request)) return undefined;
    const value = this.get(new TextEncoder().encode(request.success.key))?.value ?? null;
    return encodeRecordResponse({ value });
  }

  /** Resets the questions of peers that may not ask any more. */
  rulesChanged(): void {
    for (const question of [...this.#open]) {
      if (!this.#parts.acts.allows("kad.query", question.identity)) question.abort("not authorized any more");
    }
  }

  /** Resets every question, and takes no more. */
  stop(): void {
    this.#isStopped = true;
    for (const question of [...this.#open]) question.abort("the transport stops");
  }
}

interface QuestionInit {
  readonly stream: WireStream;
  readonly identity: PeerIdentity;
  readonly clock: Clock;
  /** The answer to a question; undefined: it gets none. */
  answer(bytes: Uint8Array): Uint8Array | undefined;
  /** Nothing of it is left. Called once. */
  over(): void;
}

/** One question of a peer. */
class Question implements StreamListener {
  readonly #init: QuestionInit;
  readonly #message = new WholeMessage(recordRequestMaxBytes);
  readonly #timer: ReturnType<Clock["after"]>;
  #state: "reading" | "answering" | "over" = "reading";

  constructor(init: QuestionInit) {
    this.#init = init;
    this.#timer = init.clock.after(recordQuestionMaxMs, () => this.abort("not answered in time"));
  }

  /** Of the connection that it came in on. */
  get identity(): PeerIdentity {
    return this.#init.identity;
  }

  data(bytes: Uint8Array): void {
    if (this.#state !== "reading") return;
    const error = this.#message.add(bytes);
    if (error !== undefined) this.abort(error.detail);
  }

  ended(): void {
    if (this.#state !== "reading") return;
    this.#state = "answering";
    this.#init.stream.end(this.#init.answer(this.#message.take()));
  }

  closed(): void {
    this.#end();
  }

  /** Resets the stream. */
  abort(detail: string): void {
    if (this.#state === "over") return;
    this.#init.stream.abort(detail);
    this.#end();
  }

  #end(): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#message.drop();
    this.#init.clock.cancel(this.#timer);
    this.#init.over();
  }
}
