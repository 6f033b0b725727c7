/**
 * Files of audit logs, written at once: no lock is taken, and nothing is synced.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { appendFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AuditEvent, type AuditRecord, sha256Text } from "../../actors/audit/audit_record.ts";
import {
  type AuditKey,
  composeCheckpoint,
  formatAuditKey,
  originOf,
  type SignedHead,
  type TreeHead,
} from "../../actors/audit/checkpoint.ts";
import { LogChain } from "../../actors/audit/log_chain.ts";
import { checkpointsPath, segmentFile, verifierKeyPath } from "../../actors/audit/segments.ts";
import { logNode, logStart } from "./audit_logs.ts";

/** A log that is written, and the key of its checkpoints. */
export class WrittenLog {
  readonly dir: string;
  readonly key: AuditKey;
  readonly chain: LogChain;
  readonly #private: KeyObject;

  /** Begins a log of one record, which is not written yet. Makes the folder, and the file of the verifier key. */
  constructor(dir: string, at: number = logStart) {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    this.dir = dir;
    this.#private = privateKey;
    this.key = {
      name: originOf(logNode),
      raw: publicKey.export({ format: "der", type: "spki" }).subarray(12),
    };
    this.chain = LogChain.begin(logNode, { random: "5eed", key: formatAuditKey(this.key), at: new Date(at) });
    mkdirSync(dir, { recursive: true });
    writeFileSync(verifierKeyPath(dir), `${formatAuditKey(this.key)}\n`);
  }

  /** Records so many refusals, a second apart. */
  record(count: number, at: number = logStart, event: Partial<AuditEvent> = {}): void {
    for (let index = 0; index < count; index++) {
      const usual = { type: "refusal", outcome: "unknown-issuer", peer: `worker-${index}`, detail: { index } };
      this.chain.append({ ...usual, ...event }, new Date(at + index * 1_000));
    }
  }

  /** Writes what waits. */
  write(): void {
    for (const { segment, lines } of this.chain.take()) {
      appendFileSync(join(this.dir, segmentFile(segment)), Buffer.concat(lines));
    }
  }

  /** The present state with a signature. */
  head(parts: Partial<TreeHead> = {}): SignedHead {
    const { edge } = this.chain.state;
    const head = { origin: this.key.name, size: edge.size, root: edge.root(), ...parts };
    return { ...head, note: composeCheckpoint(head, this.key, (text) => sign(null, text, this.#private)) };
  }

  /** Writes what waits, and a checkpoint of it. */
  cover(): SignedHead {
    this.write();
    const head = this.head();
    appendFileSync(checkpointsPath(this.dir), `${head.note}\n`);
    return head;
  }
}

/** Runs a test with an empty folder, which is removed then. */
export async function inLogFolder(work: (dir: string) => void | Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "hypha-audit-"));
  try {
    await work(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Composes records' lines as a log with these fields has them, each with the hash of the line before. */
export function chainedLines(records: readonly Partial<AuditRecord>[], prev: string): string[] {
  const lines: string[] = [];
  for (const [seq, record] of records.entries()) {
    const last = lines.at(-1);
    const line = {
      ...{
        detail: {},
        node: logNode,
        outcome: "done",
        prev: last === undefined ? prev : sha256Text(Buffer.from(last)),
      },
      ...{ seq, ts: "2026-01-31T12:00:00.000Z", type: "test", v: 1 },
      ...record,
    };
    const sorted = Object.entries(line).toSorted(([one], [other]) => one < other ? -1 : 1);
    lines.push(JSON.stringify(Object.fromEntries(sorted)));
  }
  return lines;
}
