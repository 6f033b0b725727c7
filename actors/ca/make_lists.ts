/**
 * Making an issuer's next revocation lists. The caller enters them in the transaction that revokes.
 *
 * A list up to 32 kB is made whole each time. Above that there are a base for 14 days, a cumulative delta on it, and a complete list
 * with the delta's number for those who read no deltas.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Effect } from "effect";
import { issueCrlDer } from "../../pki/issue/issue_crl.ts";
import { CaRefused } from "./ca_refused.ts";
import { backdateMs, type CertificateAuthority } from "./certificate_authority.ts";
import { type CrlKind, crlOf, type CrlRow, lastNumber, listedRevocations, type RevocationRow } from "./crl_rows.ts";
import type { RegisterFailure } from "./register_failure.ts";

const hourMs = 60 * 60_000;
/** How long complete lists and deltas are valid, in milliseconds; renewed at a third. */
export const listLifetimeMs = 72 * hourMs;
/** How long a base is valid, in milliseconds; renewed at a third. */
export const baseLifetimeMs = 14 * 24 * hourMs;
/** Bytes of a list above which there is a base with a delta; and of a delta above which there is a new base. */
export const wholeListBytesMax = 32_768;

/** Numbers and contents of lists that are to be made. */
interface ListPlan {
  readonly number: bigint;
  readonly entries: readonly RevocationRow[];
  readonly at: Date;
}

/**
 * Makes the next lists of the CA's issuer, with the revocations of the register and those that are being added.
 *
 * Their numbers are above the last one: max(last + 1, seconds since 1970).
 *
 * @param above The number of a list that is not in the register.
 */
export function makeLists(
  ca: CertificateAuthority,
  added: readonly RevocationRow[],
  at: Date,
  above = 0n,
): Effect.Effect<readonly CrlRow[], CaRefused | RegisterFailure> {
  return Effect.gen(function* () {
    const { last, base, known } = yield* Effect.fromResult(ca.register.read((rows) => ({
      last: lastNumber(rows, ca.issuerId),
      base: crlOf(rows, ca.issuerId, "base"),
      known: listedRevocations(rows, ca.issuerId, at),
    })));
    const numbers = [last + 1n, above + 1n, BigInt(Math.floor(+at / 1_000))];
    const number = numbers.reduce((most, each) => each > most ? each : most);
    const plan = { number, entries: [...known, ...added], at };
    const complete = yield* makeList(ca, plan, "complete");
    if (base === undefined && complete.der.length <= wholeListBytesMax) return [complete];
    if (base !== undefined && +at < base.this_update + baseLifetimeMs / 3) {
      const delta = yield* makeList(ca, plan, "delta", base);
      if (delta.der.length <= wholeListBytesMax) return [complete, delta];
    }
    const newBase = yield* makeList(ca, plan, "base");
    const after = { ...plan, number: number + 1n };
    return [newBase, yield* makeList(ca, after, "delta", newBase), yield* makeList(ca, after, "complete")];
  });
}

/** When the lists in force are to be made again although nothing was revoked. */
export function listsDue(complete: Pick<CrlRow, "this_update"> | undefined, at: Date): boolean {
  return complete === undefined || +at >= complete.this_update + listLifetimeMs / 3;
}

/** Where a list of an issuer is published. */
export function crlPath(issuer: string, kind: CrlKind): string {
  return `/crl/${issuer}${kind === "complete" ? "" : `-${kind}`}.crl`;
}

function makeList(
  ca: CertificateAuthority,
  { number, entries, at }: ListPlan,
  kind: CrlKind,
  base?: CrlRow,
): Effect.Effect<CrlRow, CaRefused> {
  const listed = kind === "delta" ? entries.filter(({ position }) => position > (base?.upto ?? 0)) : entries;
  const thisUpdate = new Date(+at - backdateMs);
  const nextUpdate = new Date(+at + (kind === "base" ? baseLifetimeMs : listLifetimeMs));
  const request = {
    issuer: ca.issuer,
    number,
    thisUpdate,
    nextUpdate,
    base: kind === "delta" && base !== undefined ? BigInt(base.number) : undefined,
    deltaUrl: kind === "base" ? `${ca.url}${crlPath(ca.issuerId, "delta")}` : undefined,
    revoked: listed.map(({ serial, revoked, reason }) => ({ serial, date: new Date(revoked), reason })),
  };
  return Effect.map(
    Effect.tryPromise({
      try: () => issueCrlDer(request),
      catch: (error) =>
        new CaRefused({ code: "signer-unavailable", detail: error instanceof Error ? error.message : String(error) }),
    }),
    (der) => {
      const upto = entries.reduce((last, { position }) => Math.max(last, position), base?.upto ?? 0);
      return crlRowOf(der, { issuer: ca.issuerId, kind, number, upto, thisUpdate, nextUpdate });
    },
  );
}

/** What a list's row says besides its bytes. */
export interface CrlTerms extends Pick<CrlRow, "issuer" | "kind" | "upto"> {
  readonly number: bigint;
  readonly thisUpdate: Date;
  readonly nextUpdate: Date;
}

/** The row of a list, from its DER. */
export function crlRowOf(der: Uint8Array, { issuer, kind, upto, number, thisUpdate, nextUpdate }: CrlTerms): CrlRow {
  return {
    ...{ issuer, kind, upto, der },
    number: String(number),
    sha256: createHash("sha256").update(der).digest("hex"),
    this_update: +thisUpdate,
    next_update: +nextUpdate,
  };
}
