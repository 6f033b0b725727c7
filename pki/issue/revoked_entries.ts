/**
 * Reads a revocation list back entry by entry, for the CA that continues it. To look up one
 * certificate, use `findRevocation`.
 *
 * @module
 */
import { Result } from "effect";
import { readSerial } from "../certificate.ts";
import type { RevocationList } from "../crl.ts";
import { DerCursor, DerError, tags } from "../der.ts";
import { readExtensionList } from "../extensions.ts";
import { readTime } from "../time.ts";
import { extensionOids } from "./extensions.ts";
import { type RevocationReason, revocationReasons, type RevokedEntry } from "./issue_crl.ts";

/** The entries of a parsed list, in their order, an object each. A reason that is not known reads as `unspecified`. */
export function revokedEntries(list: RevocationList): Result.Result<readonly RevokedEntry[], DerError> {
  const cursor = new DerCursor(list.entries, 0, list.entries.length, 0);
  const revoked: RevokedEntry[] = [];
  try {
    while (!cursor.done) revoked.push(readEntry(cursor.enter(tags.sequence, "entry")));
    return Result.succeed(revoked);
  } catch (error) {
    if (error instanceof DerError) return Result.fail(error);
    throw error;
  }
}

function readEntry(entry: DerCursor): RevokedEntry {
  const serial = readSerial(entry);
  const date = readTime(entry, "revocation date");
  let reason: RevocationReason = "unspecified";
  for (const { oid, value } of entry.done ? [] : readExtensionList(entry)) {
    if (oid === extensionOids.reasonCode) reason = reasonOf(value.small("reason", tags.enumerated));
  }
  entry.finish("entry");
  return { serial, date, reason };
}

function reasonOf(code: number): RevocationReason {
  const names = Object.keys(revocationReasons) as RevocationReason[];
  return names.find((name) => revocationReasons[name] === code) ?? "unspecified";
}
