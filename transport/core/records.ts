/**
 * Records of the DHT: put to the peers closest to their key, got from them, and kept for others.
 *
 * The library refuses this network's keys (they have no `/`) and drops a record's publisher and time to live, so its
 * two handlers are replaced and our own messages go to the peers that its search finds.
 *
 * @module
 */
import type { PeerId } from "@libp2p/interface";
import { peerIdFromMultihash, peerIdFromString } from "@libp2p/peer-id";
import { lpStream } from "@libp2p/utils";
import { Result } from "effect";
import * as Digest from "multiformats/hashes/digest";
import { sameBytes } from "../../pki/bytes.ts";
import type { KadHandler, KadInternals } from "../libp2p/node_internals.ts";
import { kadProtocol } from "../libp2p/node.ts";
import { type PeerText, type RecordAnswer, type TransportAsk, TransportError } from "../port.ts";
import {
  decodeKadMessage,
  decodeKadRecord,
  encodeKadMessage,
  encodeKadRecord,
  type KadMessage,
  kadMessageMaxBytes,
  type KadRecord,
} from "../protocols/kad_record.ts";
import { ownerOf, RecordStore, recordTtlMaxS } from "./record_store.ts";
import type { SessionParts } from "./requests.ts";
import type { VerifiedPeers } from "./verified_peers.ts";
import { transportError } from "./whole_message.ts";

/** Peers that are asked about one key (Kademlia's k). */
export const recordPeersMax = 20;
/** How long one peer may take to answer, in milliseconds. */
const peerTimeoutMs = 3_000;

type PutAsk = Extract<TransportAsk, { type: "record.put" }>;
type GetAsk = Extract<TransportAsk, { type: "record.get" }>;
type Found = Extract<RecordAnswer, { type: "record" | "record.missing" }>;

/** The records of a session. */
export class Records {
  readonly #parts: SessionParts;
  readonly #verified: VerifiedPeers;
  readonly #kad: KadInternals;
  readonly #store: RecordStore;
  readonly #self: PeerId;
  readonly #running = new Set<AbortController>();

  constructor(parts: SessionParts, verified: VerifiedPeers, kad: KadInternals, now: () => number) {
    this.#parts = parts;
    this.#verified = verified;
    this.#kad = kad;
    this.#store = new RecordStore(now);
    this.#self = parts.libp2p.peerId;
    kad.handlers["PUT_VALUE"] = this.#putHandler();
    kad.handlers["GET_VALUE"] = this.#getHandler();
  }

  /** Publishes a record of ours. It is stored once a peer other than us has taken it. */
  put(ask: PutAsk): void {
    this.#run(ask, async (signal) => {
      const key = new TextEncoder().encode(ask.key);
      const publisher = this.#self.toMultihash().bytes;
      const record: KadRecord = { key, value: ask.value, publisher, ttl: recordTtlMaxS };
      const refused = this.#store.put(record, this.#self.toString(), this.#self.toString());
      if (refused !== undefined) throw new TransportError({ code: "failed", detail: refused });
      const message: KadMessage = { type: "PUT_VALUE", key, record, closer: [], providers: [] };
      const answers = await this.#askClosest(key, message, signal);
      if (answers.length === 0) throw new TransportError({ code: "not-connected", detail: "no peer took the record" });
      return { type: "record.stored", id: ask.id } as const;
    });
  }

  /** Looks a record up. One whose publisher is not verified here, or revoked, does not count. */
  get(ask: GetAsk): void {
    this.#run(ask, (signal) => this.#find(ask, signal));
  }

  async #find({ id, key: text }: GetAsk, signal: AbortSignal): Promise<Found> {
    const key = new TextEncoder().encode(text);
    const message: KadMessage = { type: "GET_VALUE", key, closer: [], providers: [] };
    const answers = await this.#askClosest(key, message, signal);
    const own = this.#store.get(key);
    if (answers.length === 0 && own === undefined) {
      throw new TransportError({ code: "not-connected", detail: "no peer to ask" });
    }
    const records = [own, ...answers.map(({ record }) => record)];
    for (const record of byHolders(records.filter((record) => record !== undefined))) {
      const publisher = peerOf(record.publisher);
      if (publisher === undefined || !sameBytes(record.key, key)) continue;
      const counts = publisher === this.#self.toString() || (await this.#verified.verify(publisher));
      if (counts) return { type: "record", id, key: text, value: record.value.slice(), publisher };
    }
    return { type: "record.missing", id };
  }

  #run(ask: PutAsk | GetAsk, work: (signal: AbortSignal) => Promise<RecordAnswer>): void {
    const { id, timeoutMs, replyTo } = ask;
    const controller = new AbortController();
    this.#running.add(controller);
    const late = new TransportError({ code: "timed-out", detail: `not done after ${timeoutMs} ms` });
    const timer = setTimeout(() => controller.abort(late), timeoutMs);
    const answer = (said: RecordAnswer) => {
      clearTimeout(timer);
      this.#running.delete(controller);
      this.#parts.outbox.answer(replyTo, said);
    };
    const { signal } = controller;
    work(signal).then(
      answer,
      (error) => answer({ type: "record.failed", id, error: transportError(error, signal) }),
    );
  }

  /**
   * Sends a message to the peers closest to a key, all at once; the answers that came. Gateways that are connected are asked in
   * any case: the search knows nothing of one that has just joined, before it has told what it speaks.
   */
  async #askClosest(key: Uint8Array, message: KadMessage, signal: AbortSignal): Promise<KadMessage[]> {
    const peers = new Set(this.#parts.connections.gateways());
    for await (const event of this.#parts.libp2p.services.dht.getClosestPeers(key, { signal })) {
      if (event.name === "FINAL_PEER" && !event.peer.id.equals(this.#self)) peers.add(event.peer.id.toString());
    }
    const bytes = encodeKadMessage(message);
    const answers = await Promise.all(
      [...peers].slice(0, recordPeersMax).map((peer) => this.#exchange(peer, bytes, signal).catch(() => undefined)),
    );
    signal.throwIfAborted();
    return answers.filter((answer) => answer !== undefined);
  }

  async #exchange(peer: PeerText, bytes: Uint8Array, outer: AbortSignal): Promise<KadMessage | undefined> {
    const controller = new AbortController();
    const stop = () => controller.abort(outer.reason);
    const timer = setTimeout(() => controller.abort(new Error("no answer in time")), peerTimeoutMs);
    outer.addEventListener("abort", stop);
    const { signal } = controller;
    try {
      const connection = await this.#parts.dialler.connect(peer, signal);
      const stream = await connection.newStream(kadProtocol, { signal, runOnLimitedConnection: true });
      try {
        const framed = lpStream(stream, { maxDataLength: kadMessageMaxBytes });
        await framed.write(bytes, { signal });
        const answer = decodeKadMessage((await framed.read({ signal })).subarray());
        await stream.close({ signal });
        return Result.isSuccess(answer) ? answer.success : undefined;
      } catch (error) {
        stream.abort(error instanceof Error ? error : new Error(String(error)));
        throw error;
      }
    } finally {
      clearTimeout(timer);
      outer.removeEventListener("abort", stop);
    }
  }

  /** Keeps records that their publisher itself brings: nobody speaks for another, and a record of nobody is useless. */
  #putHandler(): KadHandler {
    return {
      handle: (peer, message) => {
        const { key, record: raw } = message;
        const decoded = raw === undefined ? undefined : decodeKadRecord(raw);
        if (key === undefined || decoded === undefined || Result.isFailure(decoded)) {
          return Promise.reject(new Error("a record that does not decode"));
        }
        const record = decoded.success;
        if (!sameBytes(record.key, key) || peerOf(record.publisher) !== peer.toString()) {
          return Promise.reject(new Error("a record that is not its publisher's"));
        }
        const identity = this.#parts.connections.identityOf(peer.toString());
        if (identity === undefined) return Promise.reject(new Error("its publisher is not established"));
        const refused = this.#store.put(record, peer.toString(), ownerOf(identity));
        return refused === undefined ? Promise.resolve(message) : Promise.reject(new Error(refused));
      },
    };
  }

  #getHandler(): KadHandler {
    return {
      handle: async (_peer, { clusterLevel, key }) => {
        if (key === undefined || key.byteLength === 0) throw new Error("a question without a key");
        const record = this.#store.get(key);
        const closer = await this.#kad.closestPeersOffline(key);
        return {
          type: "GET_VALUE",
          ...(clusterLevel === undefined ? {} : { clusterLevel }),
          key,
          ...(record === undefined ? {} : { record: encodeKadRecord(record) }),
          closer: closer.map(({ id, multiaddrs }) => ({
            id: id.toMultihash().bytes,
            multiaddrs: multiaddrs.map(({ bytes }) => bytes),
          })),
          providers: [],
        };
      },
    };
  }

  /** Gives up whatever is under way. */
  stop(): void {
    const stopped = new TransportError({ code: "stopped", detail: "the transport stops" });
    for (const controller of this.#running) controller.abort(stopped);
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

/** The PeerID of a multihash; undefined for none and for what is none. */
function peerOf(multihash: Uint8Array | undefined): PeerText | undefined {
  if (multihash === undefined) return undefined;
  try {
    return peerIdFromString(peerIdFromMultihash(Digest.decode(multihash) as never).toString()).toString();
  } catch {
    return undefined;
  }
}
