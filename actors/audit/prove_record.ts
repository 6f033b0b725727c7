/**
 * Proofs that a record is in a log: they need neither the log nor the records before and behind it.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { sameBytes } from "../../pki/bytes.ts";
import { type AuditRecord, readLine } from "./audit_record.ts";
import { type AuditKey, openCheckpoint } from "./checkpoint.ts";
import { AuditFinding } from "./finding.ts";
import { hashBytes, inclusionPath, leafHash, rootOfInclusion } from "./merkle_tree.ts";
import { readCheckpoints } from "./read_checkpoints.ts";
import { RootChecks } from "./root_checks.ts";
import { checkpointsPath } from "./segments.ts";
import { walkLog } from "./walk_log.ts";

/** A record, and what leads from it to a signed root. */
export interface RecordProof {
  readonly seq: number;
  /** The record's line. */
  readonly line: string;
  /** Hashes from the leaf to the root, base64 (RFC 6962 §2.1.1). */
  readonly path: readonly string[];
  /** The signed note. */
  readonly checkpoint: string;
}

/** Why a record cannot be proven. */
export type NotProven = "no-record" | "no-checkpoint";

/** Which record is meant: its number, or what the last such record has. */
export type WantedRecord = number | ((record: AuditRecord) => boolean);

/** Proves a record by the newest checkpoint. Verifies the log on the way. */
export function proveRecord(dir: string, wanted: WantedRecord, key: AuditKey): RecordProof | NotProven | AuditFinding {
  const read = readCheckpoints(checkpointsPath(dir), key);
  if (read instanceof AuditFinding) return read;
  const checks = new RootChecks(read.checkpoints);
  const leaves: Buffer[] = [];
  const isWanted = typeof wanted === "number" ? ({ seq }: AuditRecord) => seq === wanted : wanted;
  let found: { readonly seq: number; readonly line: string } | undefined;
  const walked = walkLog(dir, {
    onRecord: ({ record, text }) => {
      if (isWanted(record)) found = { seq: record.seq, line: text };
    },
    onLeaf: (leaf, edge) => {
      leaves.push(leaf);
      return checks.at(edge);
    },
  });
  if (walked instanceof AuditFinding) return walked;
  const cut = checks.atEnd(leaves.length);
  if (cut !== undefined) return cut;
  const newest = read.checkpoints.at(-1);
  if (found === undefined) return "no-record";
  const { seq, line } = found;
  if (newest === undefined || newest.size <= seq) return "no-checkpoint";
  const path = inclusionPath(Buffer.concat(leaves), seq, newest.size);
  return { seq, line, path: path.map((each) => each.toString("base64")), checkpoint: newest.note };
}

/** Reads a proof; undefined where the text is none. */
export function parseProof(text: string): RecordProof | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  const { seq, line, path, checkpoint } = value as Readonly<Record<keyof RecordProof, unknown>>;
  const isProof = Number.isSafeInteger(seq) && typeof line === "string" && typeof checkpoint === "string" &&
    Array.isArray(path) && path.every((each) => typeof each === "string");
  return isProof ? { seq: seq as number, line, path, checkpoint } : undefined;
}

/** Checks a proof. Undefined where the key's owner signed a log that has the record at its place; else what is wrong. */
export function checkProof({ seq, line, path, checkpoint }: RecordProof, key: AuditKey): string | undefined {
  const head = openCheckpoint(checkpoint, key);
  if (head === "malformed") return "its checkpoint is no signed checkpoint";
  if (typeof head === "string") return `its checkpoint has no valid signature of ${key.name}`;
  if (readLine(line)?.seq !== seq) return `its line is no record ${seq}`;
  const hashes = path.map((each) => Buffer.from(each, "base64"));
  if (!hashes.every(({ length }) => length === hashBytes)) {
    return `its path has a hash that is not ${hashBytes} bytes long`;
  }
  const root = rootOfInclusion(leafHash(Buffer.from(line)), { index: seq, size: head.size, path: hashes });
  return root !== undefined && sameBytes(root, head.root) ? undefined : "its line is not in the signed log";
}
