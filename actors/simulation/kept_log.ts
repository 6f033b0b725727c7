/**
 * An audit log in memory, with real hashes and signatures: as its owner keeps it, or as one that truncates, rewrites or forks it shows it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { createPrivateKey, sign } from "node:crypto";
import { fileSigner } from "../../pki/issue/signer.ts";
import { type AuditKey, auditKeyOf, composeCheckpoint, formatAuditKey } from "../audit/checkpoint.ts";
import { consistencyRanges } from "../audit/consistency.ts";
import { leafHash, TreeEdge } from "../audit/merkle_tree.ts";
import type { WitnessedHead, WitnessedLog } from "../audit/witnessed_log.ts";

/** A log as a simulated node keeps it. */
export class KeptLog implements WitnessedLog {
  readonly #key: AuditKey;
  readonly #keyPem: string;
  #leaves: Buffer[];
  #newest: WitnessedHead | undefined;

  /** @param keyPem An Ed25519 key. */
  constructor(origin: string, keyPem: string, leaves: readonly Buffer[] = []) {
    const key = auditKeyOf(origin, fileSigner(keyPem));
    if (key === undefined) throw new Error("Cannot sign checkpoints: the key is no Ed25519 key");
    this.#key = key;
    this.#keyPem = keyPem;
    this.#leaves = [...leaves];
  }

  /** Records. */
  get size(): number {
    return this.#leaves.length;
  }

  append(record: string): void {
    this.#leaves.push(leafHash(Buffer.from(record)));
  }

  /** Signs a checkpoint. */
  cover(): void {
    const head = { origin: this.#key.name, size: this.#leaves.length, root: this.#rootOf(0, this.#leaves.length) };
    const note = composeCheckpoint(head, this.#key, (text) => sign(null, text, createPrivateKey(this.#keyPem)));
    this.#newest = { ...head, note, key: formatAuditKey(this.#key) };
  }

  /** A log with the same key that has all records but the last ones. */
  fork(records: number = this.#leaves.length, keyPem: string = this.#keyPem): KeptLog {
    return new KeptLog(this.#key.name, keyPem, this.#leaves.slice(0, records));
  }

  newest: WitnessedLog["newest"] = () => this.#newest;

  prove: WitnessedLog["prove"] = ({ old, size }) =>
    Promise.resolve(old === 0 ? [] : consistencyRanges(old, size).map(([start, end]) => this.#rootOf(start, end)));

  #rootOf(start: number, end: number): Buffer {
    const edge = new TreeEdge();
    for (const leaf of this.#leaves.slice(start, end)) edge.append(leaf);
    return edge.root();
  }
}
