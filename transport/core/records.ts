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
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText, TransportAsk, TransportError } from "../port.ts";
import { encodeKadMessage, type KadMessage, type KadRecord } from "../protocols/kad_record.ts";
import type { RecordResponse } from "../protocols/record_message.ts";
import type { AskStream } from "./ask_stream.ts";
import { askKad } from "./kad_ask.ts";
import type { KeepsRecords } from "./kad_streams.ts";
import { prefixLength } from "./length_prefixed.ts";
import { Lookup } from "./lookup.ts";
import { OwnRecords } from "./own_records.ts";
import type { SessionParts } from "./parts.ts";
import { ownerOf, type RecordRefused, RecordStore, recordTtlMaxS, refused } from "./record_store.ts";
import { RunningAsk } from "./running_ask.ts";
import type { WireConnection } from "./wire.ts";

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
  /** Of other publishers. */
  readonly #store: RecordStore;
  readonly #own: OwnRecords;
  readonly #running = new Set<RunningAsk>();
  /** Messages to peers that are under way, with those whose stream is not closed yet. */
  readonly #messages = new Set<AskStream<KadMessage> | AskStream<RecordResponse>>();
  #isStopped = false;

  constructor(parts: SessionParts) {
    this.#parts = parts;
    this.#store = new RecordStore(
      () => parts.clock.now(),
      (publisher) => parts.verified.known(publisher).length === 0 && !parts.established.leftLately(publisher),
    );
    this.#own = new OwnRecords(parts);
  }

  /** Asks, messages to peers and questions of peers that are under way. */
  get size(): number {
    return this.#running.size + this.#messages.size + this.#own.size;
  }

  /** Publishes a record of ours. It is stored once a peer other than us has taken it. */
  put(ask: PutAsk): void {
    const running = this.#run(ask);
    if (running === undefined) return;
    const { self } = this.#parts;
    const key = new TextEncoder().encode(ask.key);
    const record: KadRecord = { key, value: ask.value, publisher: multihashOf(self), ttl: recordTtlMaxS };
    const kept = this.#own.put(record);
    if (Result.isFailure(kept)) return running.fail("failed", kept.failure.message);
    const message: KadMessage = { type: "PUT_VALUE", key, record, closer: [], providers: [] };
    this.#askClosest(running, { key, message }, () => {}, (answers) => {
      if (answers === 0) return running.fail("not-connected", "no peer took the record");
      running.answer({ type: "record.stored", id: ask.id });
    });
  }

  /**
   * Looks a record up. What peers answer are hints: the value counts that a publisher which may publish gives itself
   * (`lookup.ts`). At the end of the ask's time the publishers count that gave their value by then.
   */
  get(ask: GetAsk): void {
    const running = this.#run(ask);
    if (running === undefined) return;
    const key = new TextEncoder().encode(ask.key);
    const lookup: Lookup = new Lookup({
      parts: this.#parts,
      key: ask.key,
      own: () => this.#own.get(key)?.value,
      began: (stream) => this.#messages.add(stream),
      over: (stream) => this.#messages.delete(stream),
      done: (found) => {
        if (found === "missing") return running.answer({ type: "record.missing", id: ask.id });
        running.answer({ type: "record", id: ask.id, key: ask.key, ...found, value: new Uint8Array(found.value) });
      },
    });
    running.onOver(() => lookup.stop());
    running.onLate(() => lookup.late());
    const kept = this.find(key);
    if (kept !== undefined) hintOf(lookup, kept, true);
    const message: KadMessage = { type: "GET_VALUE", key, closer: [], providers: [] };
    this.#askClosest(running, { key, message }, ({ record }, isGateway) => {
      if (record !== undefined && sameBytes(record.key, key)) hintOf(lookup, record, isGateway);
    }, (answers) => {
      if (answers === 0 && kept === undefined) return running.fail("not-connected", "no peer to ask");
      lookup.hinted();
    });
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
   * Sends a message to the peers closest to a key, all at once; `each` receives the answers, `then` how many came. Connected
   * gateways are asked in any case: the search knows nothing of one that has just joined, before identify has named its
   * protocols. Where certificates must name a role, only gateways serve the DHT.
   */
  #askClosest(
    running: RunningAsk,
    { key, message }: { readonly key: Uint8Array; readonly message: KadMessage },
    each: (answer: KadMessage, isGateway: boolean) => void,
    then: (answers: number) => void,
  ): void {
    const { established, self, wire } = this.#parts;
    running.until(wire.closestPeers(key, (closest) => {
      const gateways = new Set(established.gateways());
      const peers = new Set([...gateways, ...closest]);
      peers.delete(self);
      const framed = prefixLength(encodeKadMessage(message));
      const messages: AskStream<KadMessage>[] = [];
      running.until(() => messages.forEach((sent) => sent.giveUp("cancelled", "the ask is over")));
      const asked = [...peers].filter((peer) => this.#mayServe(peer)).slice(0, recordPeersMax);
      let [left, answers] = [asked.length, 0];
      if (left === 0) return then(0);
      for (const peer of asked) {
        messages.push(this.#send(peer, framed, (answer, identity) => {
          left -= 1;
          if (Result.isSuccess(answer)) {
            answers += 1;
            each(answer.success, gateways.has(peer) || identity?.role === "gateway");
          }
          if (left === 0) then(answers);
        }));
      }
    }));
  }

  /** Whether a peer may serve the DHT, as far as is known without a dial. */
  #mayServe(peer: PeerText): boolean {
    const { areRolesRequired, identitiesOf } = this.#parts.established;
    if (!areRolesRequired) return true;
    const identities = identitiesOf(peer);
    return identities.length === 0 || identities.some(({ role }) => role === "gateway");
  }

  #send(
    peer: PeerText,
    framed: Uint8Array,
    answered: (answer: Result.Result<KadMessage, TransportError>, identity: PeerIdentity | undefined) => void,
  ): AskStream<KadMessage> {
    const { established } = this.#parts;
    const message: AskStream<KadMessage> = askKad({
      parts: this.#parts,
      peer,
      framed,
      timeoutMs: peerTimeoutMs,
      to: established.areRolesRequired ? { roles: ["gateway"] } : undefined,
      answered: (answer) => answered(answer, message.identity),
      over: () => this.#messages.delete(message),
    });
    this.#messages.add(message);
    return message;
  }

  keep(connection: WireConnection, { key, record }: KadMessage): Result.Result<void, RecordRefused> {
    if (key === undefined || record === undefined) return refused("malformed");
    const identity = this.#parts.established.identityOf(connection);
    if (identity === undefined) return refused("not-established");
    if (!sameBytes(record.key, key) || peerOf(record.publisher) !== identity.peer) return refused("not-its-publishers");
    if (!this.#parts.acts.allows("record.put", identity)) return refused("not-authorized");
    // Kept for another it would be found nowhere: this node answers with its own.
    if (this.#own.get(key) !== undefined) return refused("another-publisher");
    return this.#store.put(record, { publisher: identity.peer, owner: ownerOf(identity), identity });
  }

  find(key: Uint8Array): KadRecord | undefined {
    return this.#own.get(key) ?? this.#store.get(key);
  }

  /** A peer asks for a record of this node's own. */
  received(...args: Parameters<OwnRecords["received"]>): ReturnType<OwnRecords["received"]> {
    return this.#own.received(...args);
  }

  /** Drops the records of publishers that may not publish any more, and the questions of those that may not ask. */
  rulesChanged(): void {
    this.#store.dropOf((identity) => this.#parts.acts.refusalOf("record.put", identity) !== undefined);
    this.#own.rulesChanged();
  }

  /** Ends everything that is under way, and takes nothing more. */
  stop(): void {
    this.#isStopped = true;
    for (const running of [...this.#running]) running.fail("stopped", "the transport stops");
    for (const message of [...this.#messages]) message.fail("stopped", "the transport stops");
    this.#own.stop();
  }
}

/** Adds what an answer says of a publisher; a record without one, or of one that is no PeerID, says nothing. */
function hintOf(lookup: Lookup, { publisher: multihash, value }: KadRecord, isTrusted: boolean): void {
  const publisher = peerOf(multihash);
  if (publisher !== undefined) lookup.hint({ publisher, value, isTrusted });
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
