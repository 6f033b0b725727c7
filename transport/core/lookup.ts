/**
 * One look-up of a record: each publisher that an answer names is asked for the record itself, and what it says counts.
 *
 * @module
 */
import { Result } from "effect";
import { memberOf } from "../../pki/member.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { TransportError } from "../port.ts";
import {
  decodeRecordResponse,
  encodeRecordRequest,
  recordAnswerMaxBytes,
  recordProtocol,
  type RecordResponse,
  recordValueMaxBytes,
} from "../protocols/record_message.ts";
import { AskStream } from "./ask_stream.ts";
import { type Candidate, Candidates, type FoundRecord, type Hint } from "./candidates.ts";
import type { SessionParts } from "./parts.ts";
import { WholeMessage } from "./whole_message.ts";

/** How long a publisher may take, from the dial to its value, in milliseconds: as long as a peer that is asked in the DHT. */
export const publisherTimeoutMs = 3_000;
/** Publishers that one look-up asks at once. Answers may name strangers, and each of these costs a dial. */
export const publishersAtOnce = 8;

/** What a look-up is made with. */
export interface LookupInit {
  readonly parts: SessionParts;
  readonly key: string;
  /** The value that this node itself publishes. */
  readonly own: () => Uint8Array | undefined;
  /** Streams of the look-up: the first call when one begins, the second when nothing of it is left. */
  readonly began: (stream: AskStream<RecordResponse>) => void;
  readonly over: (stream: AskStream<RecordResponse>) => void;
  /** Receives what was found. Called once, unless it is stopped before. */
  readonly done: (found: FoundRecord | "missing") => void;
}

/** A look-up. */
export class Lookup {
  readonly #init: LookupInit;
  readonly #candidates = new Candidates();
  readonly #giveUps = new Set<() => void>();
  #hasAllHints = false;
  #isOver = false;

  constructor(init: LookupInit) {
    this.#init = init;
  }

  /** An answer came. Its publisher is asked at once where there is room. */
  hint(hint: Hint): void {
    if (this.#isOver) return;
    this.#candidates.add(hint);
    this.#next();
  }

  /** No more answers come. */
  hinted(): void {
    this.#hasAllHints = true;
    this.#next();
  }

  /** Its time is over: of the publishers that gave their value the first one counts. */
  late(): void {
    this.#review();
    const found = this.#candidates.decide(true);
    if (!this.#isOver && found !== "missing" && found !== "undecided") this.#finish(found);
  }

  /** Gives everything up. */
  stop(): void {
    this.#isOver = true;
    for (const giveUp of [...this.#giveUps]) giveUp();
    this.#giveUps.clear();
  }

  #next(): void {
    this.#review();
    for (const candidate of this.#candidates.ranked()) {
      if (this.#isOver || this.#candidates.asking >= publishersAtOnce) break;
      if (candidate.state.type === "waiting") this.#ask(candidate);
    }
    if (this.#isOver || !this.#hasAllHints) return;
    const found = this.#candidates.decide(false);
    if (found !== "undecided") this.#finish(found);
  }

  /** Checks the publishers that have answered again: one that has lost its certificate or its right since then is asked again, once. */
  #review(): void {
    for (const candidate of this.#candidates.ranked()) {
      const { state } = candidate;
      if (!("identity" in state) || state.identity === undefined || this.#counts(state.identity)) continue;
      candidate.state = candidate.isAskedAgain ? rejected : { type: "waiting" };
      candidate.isAskedAgain = true;
    }
  }

  #counts(identity: PeerIdentity): boolean {
    const { acts, verified } = this.#init.parts;
    const member = memberOf(identity);
    const isKnown = verified.known(identity.peer).some((each) => memberOf(each) === member);
    return isKnown && acts.refusalOf("record.put", identity) === undefined;
  }

  #finish(found: FoundRecord | "missing"): void {
    this.stop();
    this.#init.done(found);
  }

  #settle(candidate: Candidate, state: Candidate["state"]): void {
    if (this.#isOver || candidate.state.type !== "asking") return;
    candidate.state = state;
    this.#next();
  }

  #ask(candidate: Candidate): void {
    const { parts: { self, acts, clock, verified }, own } = this.#init;
    const { publisher } = candidate;
    if (publisher === self) {
      const value = own();
      candidate.state = value === undefined ? rejected : { type: "confirmed", value, identity: undefined };
      return;
    }
    candidate.state = { type: "asking" };
    const endsAt = clock.monotonic() + publisherTimeoutMs;
    const timer = clock.after(publisherTimeoutMs, () => end(rejected));
    const giveUp = () => clock.cancel(timer);
    const end = (state: Candidate["state"]) => {
      giveUp();
      this.#giveUps.delete(giveUp);
      this.#settle(candidate, state);
    };
    this.#giveUps.add(giveUp);
    verified.verify(publisher, (identities) => {
      if (this.#isOver || candidate.state.type !== "asking") return;
      // Of a peer that only answers name no refusal is reported: it did nothing.
      const identity = identities.find((each) => acts.refusalOf("record.put", each) === undefined);
      if (identity === undefined) return end(rejected);
      this.#askFor(identity, Math.max(0, endsAt - clock.monotonic()), end);
    });
  }

  #askFor(publisher: PeerIdentity, timeoutMs: number, end: (state: Candidate["state"]) => void): void {
    const { parts, key, began, over } = this.#init;
    const giveUp = () => stream.giveUp("cancelled", "the look-up is over");
    const stream = askRecord({
      parts,
      publisher,
      key,
      timeoutMs,
      answered: (outcome, identity) => {
        this.#giveUps.delete(giveUp);
        end(stateOf(outcome, identity));
      },
      over: () => over(stream),
    });
    this.#giveUps.add(giveUp);
    began(stream);
  }
}

const rejected = { type: "rejected" } as const;

function stateOf(
  outcome: Result.Result<RecordResponse, TransportError>,
  identity: PeerIdentity | undefined,
): Candidate["state"] {
  if (identity === undefined) return rejected;
  if (Result.isFailure(outcome)) {
    return outcome.failure.code === "unsupported" ? { type: "unsupported", identity } : rejected;
  }
  const { value } = outcome.success;
  if (value === null || value.byteLength > recordValueMaxBytes) return rejected;
  return { type: "confirmed", value: new Uint8Array(value), identity };
}

/** What a question to one publisher is made of. */
interface RecordAskInit {
  readonly parts: SessionParts;
  /** As whom it may publish. */
  readonly publisher: PeerIdentity;
  readonly key: string;
  readonly timeoutMs: number;
  /** `identity` is the one of the connection that was asked; undefined where there was none. */
  answered(outcome: Result.Result<RecordResponse, TransportError>, identity: PeerIdentity | undefined): void;
  over(): void;
}

/** Asks a member for its own record, on a connection that proved it to be this member. */
function askRecord(
  { parts, publisher, key, timeoutMs, answered, over }: RecordAskInit,
): AskStream<RecordResponse> {
  const message = new WholeMessage(recordAnswerMaxBytes);
  const stream: AskStream<RecordResponse> = new AskStream<RecordResponse>({
    parts,
    peer: publisher.peer,
    to: { member: memberOf(publisher) },
    protocol: recordProtocol,
    timeoutMs,
    send: (opened) => opened.end(encodeRecordRequest({ key })),
    data: (piece) => {
      const error = message.add(piece);
      if (error !== undefined) stream.fail(error.code, error.detail);
    },
    ended: () => {
      const bytes = message.take();
      if (bytes.byteLength === 0) return stream.fail("no-answer", "the peer ended the stream without an answer");
      const decoded = decodeRecordResponse(bytes);
      if (Result.isFailure(decoded)) return stream.fail("malformed", decoded.failure.message);
      stream.answer(decoded.success);
    },
    answered: (outcome) => answered(outcome, stream.identity),
    over: () => {
      message.drop();
      over();
    },
  });
  return stream;
}
