/**
 * A node's own log as witnesses ask about it.
 *
 * @module
 */
import type { AuditInbox } from "./audit_inbox.ts";
import { formatAuditKey, type SignedHead } from "./checkpoint.ts";
import { LogProver } from "./log_prover.ts";

/** The newest checkpoint of a log, and the verifier key. */
export interface WitnessedHead extends SignedHead {
  readonly key: string;
}

/** A log that answers witnesses. */
export interface WitnessedLog {
  /** The newest checkpoint; undefined where the log is not open, or has none yet. */
  readonly newest: () => WitnessedHead | undefined;
  /** The proof from `old` to `size` records (RFC 6962 §2.1.2). Rejects where the log's files cannot be read, or were changed. */
  readonly prove: (range: { readonly old: number; readonly size: number }) => Promise<readonly Uint8Array[]>;
}

/** The log that an inbox passes its records to. */
export function witnessedLog(dir: string, inbox: Pick<AuditInbox, "log">): WitnessedLog {
  const prover = new LogProver(dir);
  return {
    newest: () => {
      const { log } = inbox;
      return log?.newest === undefined ? undefined : { ...log.newest, key: formatAuditKey(log.key) };
    },
    prove: (range) => {
      const newest = inbox.log?.newest;
      return newest === undefined ? Promise.resolve([]) : prover.prove(range, newest);
    },
  };
}
