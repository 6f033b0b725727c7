/**
 * The records that this node keeps for the DHT: in memory, bounded, each until its time to live is over.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { Data, Result } from "effect";
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText } from "../port.ts";
import type { KadRecord } from "../protocols/kad_record.ts";
import { recordKeyMaxBytes, recordValueMaxBytes } from "../protocols/record_message.ts";

/** Bounds of the store (the existing nodes': 1,024 records of 64 KiB), and what one owner may take of it, with all its keys. */
export const recordsMax = 1_024;
export const recordsPerPublisherMax = 128;
/** How long after a look for publishers that are gone the next one takes place, in milliseconds: it takes time. */
export const goneLookMs = 10_000;
/** Time to live of a record that names none, and of any record at most; in seconds (48 hours). */
export const recordTtlMaxS = 172_800;

/** Why each refused record is not kept. */
const refusals = {
  "malformed": "it does not decode",
  "not-its-publishers": "its publisher did not send it",
  "not-established": "its publisher is not established",
  "not-authorized": "its publisher may not publish",
  "key-too-large": `its key has more than ${recordKeyMaxBytes} bytes`,
  "value-too-large": `its value has more than ${recordValueMaxBytes} bytes`,
  "another-publisher": "another peer publishes under this key",
  "store-full": `there are ${recordsMax} records`,
  "publisher-full": `there are ${recordsPerPublisherMax} records of this publisher`,
} as const;

/** A record is not kept. */
export class RecordRefused extends Data.TaggedError("RecordRefused")<{ readonly reason: keyof typeof refusals }> {
  readonly code = "record-refused";
  override get message(): string {
    return `Cannot keep record: ${refusals[this.reason]}`;
  }
}

/** Who publishes a record. */
export interface RecordPublisher {
  readonly publisher: PeerText;
  /** What the publisher's certificate proves in addition to its key ({@linkcode ownerOf}). */
  readonly owner: string;
  /** What its certificate proved; undefined: it is this node. */
  readonly identity?: PeerIdentity;
}

interface Kept extends RecordPublisher {
  readonly record: KadRecord;
  readonly expiresAt: number;
}

/** Keeps records by key. */
export class RecordStore {
  readonly #kept = new Map<string, Kept>();
  readonly #now: () => number;
  readonly #isGone: (publisher: PeerText) => boolean;
  #lookedAt = Number.NEGATIVE_INFINITY;

  /**
   * @param now Milliseconds since the epoch.
   * @param isGone Whether a publisher was away for so long that another may publish under its keys.
   */
  constructor(now: () => number, isGone: (publisher: PeerText) => boolean = () => false) {
    this.#now = now;
    this.#isGone = isGone;
  }

  /** How many records there are. */
  get size(): number {
    return this.#kept.size;
  }

  /**
   * Keeps a record of a publisher. A newer one of the same key and publisher replaces it, and one of the same owner: a
   * node whose key was replaced is another publisher with the same name in its certificate.
   *
   * @returns Whether it is kept, or why not.
   */
  put(record: KadRecord, by: RecordPublisher): Result.Result<void, RecordRefused> {
    const { publisher, owner } = by;
    if (record.key.byteLength > recordKeyMaxBytes) return refused("key-too-large");
    if (record.value.byteLength > recordValueMaxBytes) return refused("value-too-large");
    const name = keyOf(record.key);
    this.#drop();
    const there = this.#kept.get(name);
    // The first publisher of a key keeps it for as long as it is there: no other takes a data set over.
    if (
      there !== undefined && there.publisher !== publisher && there.owner !== owner && !this.#isGone(there.publisher)
    ) {
      return refused("another-publisher");
    }
    const full = there === undefined ? this.#fullFor(owner) : undefined;
    if (full !== undefined) return refused(full);
    const ttlS = Math.min(record.ttl ?? recordTtlMaxS, recordTtlMaxS);
    this.#kept.set(name, { ...by, record: copyOf(record), expiresAt: this.#now() + ttlS * 1_000 });
    return Result.succeed(undefined);
  }

  /** The record of a key, with what is left of its time to live. */
  get(key: Uint8Array): KadRecord | undefined {
    const kept = this.#kept.get(keyOf(key));
    if (kept === undefined) return undefined;
    const leftS = Math.floor((kept.expiresAt - this.#now()) / 1_000);
    return leftS > 0 ? { ...kept.record, ttl: leftS } : undefined;
  }

  /** Drops the records of publishers that may not publish any more. */
  dropOf(isDenied: (identity: PeerIdentity) => boolean): void {
    for (const [key, { identity }] of this.#kept) {
      if (identity !== undefined && isDenied(identity)) this.#kept.delete(key);
    }
  }

  /** Why there is no room for one more record of an owner. Records whose publishers are gone make room. */
  #fullFor(owner: string): "store-full" | "publisher-full" | undefined {
    const full = this.#boundOf(owner);
    return full !== undefined && this.#dropGone() ? this.#boundOf(owner) : full;
  }

  #boundOf(owner: string): "store-full" | "publisher-full" | undefined {
    if (this.#kept.size >= recordsMax) return "store-full";
    const count = this.#kept.values().filter((kept) => kept.owner === owner).toArray().length;
    return count >= recordsPerPublisherMax ? "publisher-full" : undefined;
  }

  /** Whether any was dropped. A wall clock that stepped back does not end the looks. */
  #dropGone(): boolean {
    const now = this.#now();
    if (Math.abs(now - this.#lookedAt) < goneLookMs) return false;
    this.#lookedAt = now;
    const before = this.#kept.size;
    const publishers = new Set(this.#kept.values().map(({ publisher }) => publisher));
    const gone = new Set([...publishers].filter((publisher) => this.#isGone(publisher)));
    for (const [key, { publisher }] of this.#kept) if (gone.has(publisher)) this.#kept.delete(key);
    return this.#kept.size < before;
  }

  #drop(): void {
    const now = this.#now();
    for (const [key, { expiresAt }] of this.#kept) if (expiresAt <= now) this.#kept.delete(key);
  }
}

/** The refusal of a record. */
export function refused(reason: RecordRefused["reason"]): Result.Result<never, RecordRefused> {
  return Result.fail(new RecordRefused({ reason }));
}

/**
 * The owner that a certificate proves: its trust domain, and its SPIFFE name, which the CAs of that domain vouch for; without
 * one, its key. Two of these that are equal are one node. Subject and issuer do not count: another organisation may use the
 * same texts.
 */
export function ownerOf({ peer, domain, names, role }: PeerIdentity): string {
  const spiffe = role === undefined ? undefined : names.find((name) => name.startsWith("URI:spiffe://"));
  return JSON.stringify([domain ?? "", spiffe ?? peer]);
}

/** A copy of its own: a record that arrived is a part of its message, which it would keep in memory. */
function copyOf({ key, value, timeReceived, publisher }: KadRecord): KadRecord {
  return {
    key: new Uint8Array(key),
    value: new Uint8Array(value),
    ...(timeReceived === undefined ? {} : { timeReceived }),
    ...(publisher === undefined ? {} : { publisher: new Uint8Array(publisher) }),
  };
}

const keyOf = (key: Uint8Array) => Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString("latin1");
