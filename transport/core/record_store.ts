/**
 * The records that this node keeps for the DHT: in memory, bounded, each until its time is over.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { PeerIdentity } from "../../pki/path.ts";
import type { KadRecord } from "../protocols/kad_record.ts";

/** Bounds of the store (the existing nodes': 1,024 records of 64 KiB), and what one publisher may take of it. */
export const recordsMax = 1_024;
export const recordsPerPublisherMax = 128;
export const recordKeyMaxBytes = 1_024;
export const recordValueMaxBytes = 16_384;
/** Time to live of a record that names none, and of any record at most; in seconds (48 hours). */
export const recordTtlMaxS = 172_800;

interface Kept {
  readonly record: KadRecord;
  readonly publisher: string;
  readonly owner: string;
  readonly expiresAt: number;
}

/** Keeps records by key. */
export class RecordStore {
  readonly #kept = new Map<string, Kept>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** How many records there are. */
  get size(): number {
    return this.#kept.size;
  }

  /**
   * Keeps a record of a publisher. A newer one of the same key and publisher replaces it, and one of the same owner: a
   * node whose key was replaced is another publisher, and what its certificate proves of it is the same.
   *
   * @param owner What the publisher's certificate proves beside its key ({@linkcode ownerOf}).
   * @returns Why it is not kept; undefined when it is.
   */
  put(record: KadRecord, publisher: string, owner: string): string | undefined {
    if (record.key.byteLength > recordKeyMaxBytes) return `key of more than ${recordKeyMaxBytes} bytes`;
    if (record.value.byteLength > recordValueMaxBytes) return `value of more than ${recordValueMaxBytes} bytes`;
    const name = keyOf(record.key);
    this.#drop();
    const there = this.#kept.get(name);
    // The first publisher of a key keeps it for as long as it refreshes it: nobody takes a data set over.
    if (there !== undefined && there.publisher !== publisher && there.owner !== owner) {
      return "another peer publishes under this key";
    }
    if (there === undefined && this.#kept.size >= recordsMax) return `already ${recordsMax} records`;
    if (there === undefined && this.#countOf(publisher) >= recordsPerPublisherMax) {
      return `already ${recordsPerPublisherMax} records of this peer`;
    }
    const ttlS = Math.min(record.ttl ?? recordTtlMaxS, recordTtlMaxS);
    this.#kept.set(name, { record, publisher, owner, expiresAt: this.#now() + ttlS * 1_000 });
    return undefined;
  }

  /** The record of a key, with what is left of its time. */
  get(key: Uint8Array): KadRecord | undefined {
    const kept = this.#kept.get(keyOf(key));
    if (kept === undefined) return undefined;
    const leftS = Math.floor((kept.expiresAt - this.#now()) / 1_000);
    return leftS > 0 ? { ...kept.record, ttl: leftS } : undefined;
  }

  #countOf(publisher: string): number {
    let count = 0;
    for (const kept of this.#kept.values()) if (kept.publisher === publisher) count += 1;
    return count;
  }

  #drop(): void {
    const now = this.#now();
    for (const [key, { expiresAt }] of this.#kept) if (expiresAt <= now) this.#kept.delete(key);
  }
}

/**
 * Who a certificate says its holder is, whatever the key: its SPIFFE name, which the CAs of a trust domain vouch for; where
 * it has none, subject and issuer. Two of these that are equal are one node.
 */
export function ownerOf({ names, role, subject, issuer }: PeerIdentity): string {
  const spiffe = role === undefined ? undefined : names.find((name) => name.startsWith("URI:spiffe://"));
  return spiffe ?? JSON.stringify([subject, issuer]);
}

const keyOf = (key: Uint8Array) => Buffer.from(key).toString("latin1");
