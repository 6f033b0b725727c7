/**
 * The thread that encodes revocation lists: 100,000 entries would hold the event loop for 0.8 to 2.4 s.
 *
 * It reads the revocations of the register by itself and keeps them encoded, so that the next list costs little. Signatures are made
 * where the key is: the thread asks for them.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { parentPort } from "node:worker_threads";
import * as Result from "effect/Result";
import { parseCertificate } from "../../pki/certificate.ts";
import { formatPem } from "../../pki/pem.ts";
import type { RevocationReason } from "../../pki/issue/issue_crl.ts";
import { issuerWith } from "../../pki/issue/issuer.ts";
import { composeLists, type ListedEntry, listedEntry, type ListPlan } from "./compose_lists.ts";
import type { MadeCrl, RevocationRow } from "./crl_rows.ts";

/** What the thread is asked: the next lists of an issuer. */
export interface ListWork extends Omit<ListPlan, "issuer" | "entries"> {
  readonly type: "make";
  /** Path of the register. */
  readonly file: string;
  /** DER of the issuer's certificate. */
  readonly certificate: Uint8Array;
  /** Revocations that are not in the register yet. */
  readonly added: readonly RevocationRow[];
}

/** What the thread says. */
export type ListMessage =
  /** Asks for a signature; the answer is a {@linkcode SignatureAnswer}. */
  | { readonly type: "sign"; readonly bytes: Uint8Array }
  | { readonly type: "made"; readonly lists: readonly MadeCrl[] }
  | { readonly type: "failed"; readonly detail: string };

/** A signature, or why there is none. */
export type SignatureAnswer = { readonly type: "signature"; readonly bytes: Uint8Array } | {
  readonly type: "unsigned";
  readonly detail: string;
};

/** Revocations that the register had, by file and issuer: rows are never changed or removed. */
const known = new Map<string, ListedEntry[]>();
let signed: ((answer: SignatureAnswer) => void) | undefined;

function tell(message: ListMessage, ...moved: readonly Uint8Array[]): void {
  parentPort?.postMessage(message, moved.map(({ buffer }) => buffer as ArrayBuffer));
}

/** Asks the main thread for a signature. */
function sign(bytes: Uint8Array): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    signed = (answer) => answer.type === "signature" ? resolve(answer.bytes) : reject(new Error(answer.detail));
    tell({ type: "sign", bytes });
  });
}

/** All revocations of an issuer. */
function entriesOf(file: string, issuerId: string): readonly ListedEntry[] {
  const key = `${issuerId} ${file}`;
  const entries = known.get(key) ?? [];
  known.set(key, entries);
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const sql = `
SELECT position, serial, revoked, reason, not_after FROM revocations
WHERE issuer = ? AND position > ? ORDER BY position`;
    type Row = Omit<RevocationRow, "issuer" | "reason"> & { readonly reason: RevocationReason };
    for (const row of database.prepare(sql).iterate(issuerId, entries.at(-1)?.position ?? 0)) {
      entries.push(listedEntry(row as unknown as Row));
    }
  } finally {
    database.close();
  }
  return entries;
}

async function make({ file, certificate, added, ...plan }: ListWork): Promise<void> {
  try {
    const certPem = formatPem("CERTIFICATE", certificate);
    const { spki } = Result.getOrThrow(parseCertificate(certificate)).publicKey;
    const issuer = issuerWith(certPem, { spki: () => spki, sign });
    const entries = [...entriesOf(file, plan.issuerId), ...added.map(listedEntry)];
    const lists = (await composeLists({ ...plan, issuer, entries })).map((list) => ({
      ...list,
      der: Uint8Array.from(list.der), // its own memory, which can be moved
    }));
    tell({ type: "made", lists }, ...lists.map(({ der }) => der));
  } catch (error) {
    tell({ type: "failed", detail: error instanceof Error ? error.message : String(error) });
  }
}

parentPort?.on("message", (message: ListWork | SignatureAnswer) => {
  if (message.type === "make") void make(message);
  else signed?.(message);
});
