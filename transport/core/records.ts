/**
 * Records of the DHT: put to the peers closest to their key, got from them, and kept for others.
 *
 * The wire's library refuses this network's keys (they have no `/`) and drops a record's publisher and time to live, so the
 * core sends and answers these messages itself; the wire finds the peers.
 *
 * @module
 */
import { peerIdFromString } from "@libp2p/peer-id";
import { Result } from "effect";
import { base58btc } from "multiformats/bases/base58";
import { sameBytes } from "../../pki/bytes.ts";
import { type PeerText, type RecordAnswer, type TransportAsk, TransportError } from "../port.ts";
import { encodeKadMessage, type KadMessage, type KadRecord } from "../protocols/kad_record.ts";
import type { Timer } from "./clock.ts";
import type { AskStream } from "./ask_stream.ts";
import { askKad } from "./kad_ask.ts";
import type { KeepsRecords } from "./kad_streams.ts";
import { prefixLength } from "./length_prefixed.ts";
import type { SessionParts } from "./parts.ts";
import { ownerOf, RecordRefused, RecordStore, recordTtlMaxS, refused } from "./record_store.ts";
import type { GiveUp, WireConnection } from "./wire.ts";

/** Peers that are asked about one key (Kademlia's k). */
export const recordPeersMax = 20;
/** How long one peer may take to answer, in milliseconds. */
const peerTimeoutMs = 3_000;
/** Records that may be put and looked up at once. */
export const recordAsksMax = 1_024;

type PutAsk = Extract<TransportAsk, { type: "record.put" }>;
type GetAsk = Extract<TransportAsk, { type: "record.get" }>;

/** The records of a session. */
export class Records implements KeepsRecords {
  readonly #parts: SessionParts;
  readonly #store: RecordStore;
  readonly #running = new Set<RunningAsk>();
  /** Messages to peers that are under way, with those whose stream is not closed yet. */
  readonly #messages = new Set<AskStream<KadMessage>>();
  #isStopped = false;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#store = new RecordStore(() => parts.clock.now());
  }

  /** Asks and messages to peers that are under way. */
  get size(): number {
    return this.#running.size + this.#messages.size;
  }

  /** Publishes a record of ours. It is stored once a peer other than us has taken it. */
  put(ask: PutAsk): void {
    const running = this.#run(ask);
    if (running === undefined) return;
    const { self } = this.#parts;
    const key = new TextEncoder().encode(ask.key);
    const record: KadRecord = { key, value: ask.value, publisher: multihashOf(self), ttl: recordTtlMaxS };
    const kept = this.#store.put(record, self, self);
    if (Result.isFailure(kept)) return running.fail("failed", kept.failure.message);
    this.#askClosest(running, key, { type: "PUT_VALUE", key, record, closer: [], providers: [] }, (answers) => {
      if (answers.length === 0) return running.fail("not-connected", "no peer took the record");
      running.answer({ type: "record.stored", id: ask.id });
    });
  }

  /** Looks a record up. One whose publisher is not verified here, or revoked, does not count. */
  get(ask: GetAsk): void {
    const running = this.#run(ask);
    if (running === undefined) return;
    const key = new TextEncoder().encode(ask.key);
    this.#askClosest(running, key, { type: "GET_VALUE", key, closer: [], providers: [] }, (answers) => {
      const own = this.#store.get(key);
      if (answers.length === 0 && own === undefined) return running.fail("not-connected", "no peer to ask");
      const records = [own, ...answers.map(({ record }) => record)].filter((record) => record !== undefined);
      this.#firstVerified(running, byHolders(records.filter((record) => sameBytes(record.key, key))), (found) => {
        if (found === undefined) return running.answer({ type: "record.missing", id: ask.id });
        const { value, publisher } = found;
        running.answer({ type: "record", id: ask.id, key: ask.key, value: new Uint8Array(value), publisher });
      });
    });
  }

  /** Verifies publishers one after the other, until one counts. */
  #firstVerified(
    running: RunningAsk,
    records: readonly KadRecord[],
    then: (found: { readonly value: Uint8Array; readonly publisher: PeerText } | undefined) => void,
  ): void {
    const [first, ...rest] = records;
    if (first === undefined || running.isOver) return then(undefined);
    const publisher = peerOf(first.publisher);
    const next = (counts: boolean) => {
      if (counts && publisher !== undefined) return then({ value: first.value, publisher });
      this.#firstVerified(running, rest, then);
    };
    if (publisher === undefined || publisher === this.#parts.self) return next(publisher !== undefined);
    this.#parts.verified.verify(publisher, (identities) => next(identities.length > 0));
  }

  /** Begins an ask: from here on it is answered once, whatever happens. */
  #run(ask: PutAsk | GetAsk): RunningAsk | undefined {
    const running = new RunningAsk(this.#parts, ask, () => this.#running.delete(running));
    this.#running.add(running);
    if (this.#isStopped) running.fail("stopped", "the transport stops");
    else if (this.#running.size > recordAsksMax) running.fail("failed", `already ${recordAsksMax} records`);
    return running.isOver ? undefined : running;
  }

  /**
   * Sends a message to the peers closest to a key, all at once; `then` receives the answers that came. Connected gateways are
   * asked in any case: the search knows nothing of one that has just joined, before identify has named its protocols.
   */
  #askClosest(
    running: RunningAsk,
    key: Uint8Array,
    message: KadMessage,
    then: (answers: readonly KadMessage[]) => void,
  ): void {
    const { established, self, wire } = this.#parts;
    running.until(wire.closestPeers(key, (closest) => {
      const peers = new Set([...established.gateways(), ...closest]);
      peers.delete(self);
      this.#askAll(running, [...peers].slice(0, recordPeersMax), encodeKadMessage(message), then);
    }));
  }

  #askAll(
    running: RunningAsk,
    peers: readonly PeerText[],
    bytes: Uint8Array,
    then: (answers: readonly KadMessage[]) => void,
  ): void {
    const answers: KadMessage[] = [];
    const messages: AskStream<KadMessage>[] = [];
    let left = peers.length;
    running.until(() => messages.forEach((message) => message.giveUp("cancelled", "the ask is over")));
    if (left === 0) return then(answers);
    for (const peer of peers) {
      const message: AskStream<KadMessage> = askKad({
        parts: this.#parts,
        peer,
        framed: prefixLength(bytes),
        timeoutMs: peerTimeoutMs,
        answered: (answer) => {
          if (Result.isSuccess(answer)) answers.push(answer.success);
          left -= 1;
          if (left === 0) then(answers);
        },
        over: () => this.#messages.delete(message),
      });
      messages.push(message);
      this.#messages.add(message);
    }
  }

  keep(connection: WireConnection, { key, record }: KadMessage): Result.Result<void, RecordRefused> {
    if (key === undefined || record === undefined) return refused("malformed");
    const identity = this.#parts.established.identityOf(connection);
    if (identity === undefined) return refused("not-established");
    if (!sameBytes(record.key, key) || peerOf(record.publisher) !== identity.peer) return refused("not-its-publishers");
    if (!this.#parts.acts.allows("record.put", identity)) return refused("not-authorized");
    return this.#store.put(record, identity.peer, ownerOf(identity));
  }

  find(key: Uint8Array): KadRecord | undefined {
    return this.#store.get(key);
  }

  /** Ends everything that is under way, and takes nothing more. */
  stop(): void {
    this.#isStopped = true;
    for (const running of [...this.#running]) running.fail("stopped", "the transport stops");
    for (const message of [...this.#messages]) message.fail("stopped", "the transport stops");
  }
}

/** An ask until its answer. */
class RunningAsk {
  readonly #parts: SessionParts;
  readonly #ask: PutAsk | GetAsk;
  readonly #over: () => void;
  readonly #timer: Timer;
  #giveUp: GiveUp = () => {};
  /** Whether it was answered. */
  isOver = false;

  constructor(parts: SessionParts, ask: PutAsk | GetAsk, over: () => void) {
    this.#parts = parts;
    this.#ask = ask;
    this.#over = over;
    const { timeoutMs } = ask;
    this.#timer = parts.clock.after(timeoutMs, () => this.fail("timed-out", `not done after ${timeoutMs} ms`));
  }

  /** Sets what the end of this ask gives up, in place of the previous one. */
  until(giveUp: GiveUp): void {
    this.#giveUp = giveUp;
  }

  fail(code: TransportError["code"], detail: string): void {
    this.answer({ type: "record.failed", id: this.#ask.id, error: new TransportError({ code, detail }) });
  }

  answer(answer: RecordAnswer): void {
    if (this.isOver) return;
    this.isOver = true;
    this.#parts.clock.cancel(this.#timer);
    this.#giveUp();
    this.#over();
    this.#parts.outbox.answer(this.#ask.replyTo, answer);
  }
}

/** Distinct records, those that most peers hold first. */
function byHolders(records: readonly KadRecord[]): KadRecord[] {
  const groups: { readonly record: KadRecord; holders: number }[] = [];
  for (const record of records) {
    const same = groups.find((group) =>
      sameBytes(group.record.value, record.value) &&
      sameBytes(group.record.publisher ?? new Uint8Array(), record.publisher ?? new Uint8Array())
    );
    if (same === undefined) groups.push({ record, holders: 1 });
    else same.holders += 1;
  }
  return groups.sort((a, b) => b.holders - a.holders).map(({ record }) => record);
}

/** The multihash of a PeerID. */
function multihashOf(peer: PeerText): Uint8Array {
  return peerIdFromString(peer).toMultihash().bytes;
}

/** The PeerID of a multihash; undefined where there is none, or it is malformed. */
function peerOf(multihash: Uint8Array | undefined): PeerText | undefined {
  if (multihash === undefined) return undefined;
  try {
    const text = base58btc.baseEncode(multihash);
    return peerIdFromString(text).toString() === text ? text : undefined;
  } catch {
    return undefined;
  }
}
