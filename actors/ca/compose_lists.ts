/**
 * Composing an issuer's next revocation lists: long ones in the thread for lists.
 *
 * A list up to 32 kB is made whole each time. Above that there are a base for 14 days, a cumulative delta on it, and a complete list
 * with the delta's number for those who read no deltas.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { issueCrlDer, type RevokedEntry } from "../../pki/issue/issue_crl.ts";
import type { Issuer } from "../../pki/issue/issuer.ts";
import { backdateMs } from "./backdate.ts";
import { type CrlKind, type CrlRow, listedAfterEndMs, type MadeCrl, type RevocationRow } from "./crl_rows.ts";

const hourMs = 60 * 60_000;
/** How long complete lists and deltas are valid, in milliseconds; renewed at a third. */
export const listLifetimeMs = 72 * hourMs;
/** How long a base is valid, in milliseconds; renewed at a third. */
export const baseLifetimeMs = 14 * 24 * hourMs;
/** Bytes of a list above which there is a base with a delta; and of a delta above which there is a new base. */
export const wholeListBytesMax = 32_768;

/** A revocation as lists have it. An entry is encoded once: hand over the same object each time. */
export interface ListedEntry extends RevokedEntry {
  readonly position: number;
  /** When the certificate ends; null where only its revocation is known. */
  readonly notAfter: number | null;
}

/** A row of the register as an entry. */
export const listedEntry = (
  { position, serial, revoked, reason, not_after: notAfter }: Omit<RevocationRow, "issuer">,
): ListedEntry => ({ position, serial, date: new Date(revoked), reason, notAfter });

/** What lists are composed of. */
export interface ListPlan {
  readonly issuer: Issuer;
  readonly issuerId: string;
  readonly number: bigint;
  readonly at: Date;
  /** The base in force. */
  readonly base: Pick<CrlRow, "number" | "upto" | "this_update"> | undefined;
  readonly deltaUrl: string;
  /** By position. */
  readonly entries: readonly ListedEntry[];
}

/** Composes and signs the lists that come next: one, or a delta and a complete one, or these with a new base. */
export async function composeLists(given: ListPlan): Promise<readonly MadeCrl[]> {
  const { base, at, number } = given;
  const isListed = ({ notAfter }: ListedEntry) => notAfter === null || notAfter >= +at - listedAfterEndMs;
  const plan = { ...given, entries: given.entries.filter(isListed) };
  const complete = await composeList(plan, "complete");
  if (base === undefined && complete.size <= wholeListBytesMax) return [complete];
  // No node uses a base that is dated ahead.
  const isInForce = base !== undefined && +at >= base.this_update && +at < base.this_update + baseLifetimeMs / 3;
  if (isInForce) {
    const delta = await composeList(plan, "delta", base);
    if (delta.size <= wholeListBytesMax) return [complete, delta];
  }
  const newBase = await composeList(plan, "base");
  const after = { ...plan, number: number + 1n };
  return [newBase, await composeList(after, "delta", newBase), await composeList(after, "complete")];
}

async function composeList(
  { issuer, issuerId, number, entries, at, deltaUrl }: ListPlan,
  kind: CrlKind,
  base?: ListPlan["base"],
): Promise<MadeCrl> {
  const thisUpdate = new Date(+at - backdateMs);
  const nextUpdate = new Date(+at + (kind === "base" ? baseLifetimeMs : listLifetimeMs));
  const der = await issueCrlDer({
    issuer,
    number,
    thisUpdate,
    nextUpdate,
    base: base === undefined ? undefined : BigInt(base.number),
    deltaUrl: kind === "base" ? deltaUrl : undefined,
    revoked: base === undefined ? entries : entries.filter(({ position }) => position > base.upto),
  });
  const upto = entries.reduce((last, { position }) => Math.max(last, position), base?.upto ?? 0);
  return madeCrl(der, { issuer: issuerId, kind, number, upto, thisUpdate, nextUpdate });
}

/** What a list's row says besides its bytes. */
export interface CrlTerms extends Pick<CrlRow, "issuer" | "kind" | "upto"> {
  readonly number: bigint;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
}

/** A list with its row, from its DER. */
export function madeCrl(der: Uint8Array, { issuer, kind, upto, number, thisUpdate, nextUpdate }: CrlTerms): MadeCrl {
  return {
    ...{ issuer, kind, upto, der },
    number: String(number),
    sha256: createHash("sha256").update(der).digest("hex"),
    this_update: +thisUpdate,
    next_update: +nextUpdate,
    size: der.length,
  };
}
