/**
 * What an operator sees of a CA: its state and its certificates, read in pieces.
 *
 * @module
 */
import { Effect } from "effect";
import { waitingRequests } from "./approval_ceremony.ts";
import { approverNamesOf, policyOf } from "./approval_rows.ts";
import type { CaRefused } from "./ca_refused.ts";
import { type CertificateAuthority, signersOf } from "./certificate_authority.ts";
import { certificatesAfter, identitiesOf, type ListedRow, type PageMark, pageRows } from "./certificate_rows.ts";
import { crlOf } from "./crl_rows.ts";
import { lapsedShownMs, lapsedSince } from "./lapsed_rows.ts";
import { nextTurn } from "./make_lists.ts";
import { isRevokedByRoot, rootListState } from "./published_cas.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import { type Gap, gapOf, toBeRevoked } from "./restored_rows.ts";
import type { KnownFork } from "../witness/known_forks.ts";
import { whyNotIssuing } from "./why_not_issuing.ts";

/** Index rows that are counted in a turn of the event loop: about two milliseconds. */
const countedAtOnce = 20_000;
/** Locked names, and serials whose revocation is not signed, that are shown. */
const lockedMax = 1_000;

type View<A> = Effect.Effect<A, CaRefused | RegisterFailure>;

/** A CA at one moment; times are RFC 3339. */
export interface ShownCa {
  readonly domain: string;
  readonly url: string;
  /** Why it cannot issue, or revoke, now. */
  readonly problem: string | null;
  /** Why the file of approvers would prevent the next start. */
  readonly next_start: string | null;
  readonly issuer_ends: string;
  readonly issuers: readonly ShownIssuer[];
  /** Certificates that have not ended and are not revoked. */
  readonly certificates: number;
  /**
   * When certificates were issued that the register does not know, because a backup was restored; `from` is null where the backup was a mere
   * copy. Null where no such certificate is in force any more.
   */
  readonly gap: { readonly from: string | null; readonly to: string } | null;
  /** The newest complete revocation list of the CA that issues. */
  readonly crl: { readonly number: string; readonly next_update: string } | null;
  readonly root_list: string;
  readonly root_list_ends: string | null;
  readonly root_list_days: number | null;
  /** Who approves what; null where nothing waits for approvals. */
  readonly approvals: {
    readonly approvers: readonly string[];
    readonly threshold: number;
    readonly operations: readonly string[];
  } | null;
  /** Requests that wait for approvals, the oldest first. */
  readonly requests: readonly {
    readonly id: string;
    readonly operation: string;
    readonly approvers: readonly string[];
    readonly expires: string;
  }[];
  /** Requests that enough persons approved and that lapsed without being done within {@linkcode lapsedShownMs}, the newest first. */
  readonly lapsed: readonly {
    readonly id: string;
    readonly operation: string;
    readonly approvers: readonly string[];
    readonly at: string;
    readonly reason: string;
  }[];
  /** Names that get no certificate: their renewal was forked, or their revocation is not signed; at most {@linkcode lockedMax}. */
  readonly locked: readonly { readonly identity: string; readonly reason: string }[];
  /**
   * Serials that a restored register does not know and that an operator revoked without the lists being signed, the oldest first; at most
   * {@linkcode lockedMax}. They are not renewed; the same `revoke --serial` finishes the revocation.
   */
  readonly unsigned_serials: readonly { readonly serial: string; readonly since: string }[];
  /** Audit logs that were rewritten or are kept twice, as the CA's witness found them; the newest first. */
  readonly forks: readonly KnownFork[];
}

/** A CA's key and certificate. */
export interface ShownIssuer {
  /** SHA-256 of its public key, hexadecimal. */
  readonly id: string;
  readonly subject: string;
  readonly ends: string;
  readonly state: "issuing" | "retired";
  /** Certificates below it that have not ended. */
  readonly certificates: number;
  /** Whether the root has revoked it. */
  readonly revoked: boolean;
}

/** What a program knows of a CA at one moment. */
interface KnownToProgram {
  readonly forks?: readonly KnownFork[];
  /** Why its port is not open. */
  readonly problem?: string | undefined;
  /** Why the file of approvers would prevent the next start. */
  readonly nextStart?: string | undefined;
}

/** How a CA stands, with what its program knows. */
export function operatorStatus(
  ca: CertificateAuthority,
  at: Date,
  { forks = [], problem, nextStart }: KnownToProgram = {},
): View<ShownCa> {
  return Effect.gen(function* () {
    const unexpired = yield* countInPieces(ca, { table: "certificates" }, at);
    const revoked = yield* countInPieces(ca, revokedOf(at), at);
    const issuers: ShownIssuer[] = [];
    for (const { issuer: { certificate }, issuerId } of signersOf(ca)) {
      const certificates = yield* countInPieces(
        ca,
        { table: "certificates", only: "issuer = ?", value: issuerId },
        at,
      );
      const isRevoked = yield* Effect.fromResult(ca.register.read((rows) => isRevokedByRoot(ca, rows, certificate)));
      issuers.push({
        ...{ id: issuerId, subject: certificate.subject.text, ends: certificate.period.notAfter.toISOString() },
        ...{
          state: issuerId === ca.issuerId ? "issuing" as const : "retired" as const,
          certificates,
          revoked: isRevoked,
        },
      });
    }
    return yield* Effect.fromResult(ca.register.read((rows) => {
      const list = crlOf(rows, ca.issuerId, "complete");
      const root = rootListState(ca, rows, at);
      const policy = policyOf(rows);
      const sql = `SELECT identity, reason FROM locked_identities LIMIT ${lockedMax}`;
      return {
        domain: ca.domain,
        url: ca.url,
        problem: [whyNotIssuing(ca, list, at), problem].filter((each) => each !== undefined).join("; ") || null,
        next_start: nextStart ?? null,
        issuer_ends: ca.issuer.certificate.period.notAfter.toISOString(),
        issuers,
        certificates: unexpired - revoked,
        gap: shownGap(gapOf(rows, at)),
        crl: list === undefined ? null : { number: list.number, next_update: new Date(list.next_update).toISOString() },
        root_list: root.warning?.message ?? "in force",
        root_list_ends: root.ends?.toISOString() ?? null,
        root_list_days: root.days ?? null,
        approvals: policy === undefined ? null : {
          approvers: policy.approvers.map(({ name }) => name),
          threshold: policy.threshold,
          operations: policy.operations,
        },
        requests: waitingRequests(rows, at).map(({ id, operation, approvers, expires }) => ({
          ...{ id, operation, approvers, expires: new Date(expires).toISOString() },
        })),
        lapsed: lapsedSince(rows, new Date(+at - lapsedShownMs)).map((each) => ({
          ...each,
          approvers: approverNamesOf(rows, each.id),
          at: new Date(each.at).toISOString(),
        })),
        locked: rows.all<{ identity: string; reason: string }>(sql),
        unsigned_serials: toBeRevoked(rows, lockedMax, at).map(({ serial, at: since }) => ({
          serial,
          since: new Date(since).toISOString(),
        })),
        forks,
      };
    }));
  });
}

function shownGap(gap: Gap | undefined): ShownCa["gap"] {
  if (gap === undefined) return null;
  return { from: gap.from === 0 ? null : new Date(gap.from).toISOString(), to: new Date(gap.to).toISOString() };
}

/** What is counted. */
interface Counted {
  readonly table: "certificates" | "revocations";
  /** A condition with one parameter, and its value. */
  readonly only?: string;
  readonly value?: string | number;
  /** Rows that are counted in a turn of the event loop. */
  readonly atOnce?: number;
}

/** Revocations of the register's certificates: of the gap of a restored one, serials without a certificate are revoked too. */
const revokedOf = (at: Date): Counted => ({
  table: "revocations",
  only: `EXISTS (SELECT 1 FROM certificates c
WHERE c.issuer = revocations.issuer AND c.serial = revocations.serial AND c.not_after >= ?)`,
  value: +at,
  // Each is a step in another index.
  atOnce: countedAtOnce / 20,
});

/** How many rows of a table end at or after a time. */
function countInPieces(
  { register }: CertificateAuthority,
  { table, only, value, atOnce = countedAtOnce }: Counted,
  at: Date,
): Effect.Effect<number, RegisterFailure> {
  return Effect.gen(function* () {
    let [count, mark] = [0, beginAt(at)];
    const of = value === undefined ? [] : [value];
    const whose = only === undefined ? "" : `${only} AND `;
    const behind = `FROM ${table} WHERE ${whose}(not_after, rowid) > (?, ?)`;
    const order = `ORDER BY not_after, rowid LIMIT 1 OFFSET ${atOnce - 1}`;
    for (;;) {
      const { not_after: end, rowid } = mark;
      const next = yield* Effect.fromResult(
        register.read((rows) => rows.first<PageMark>(`SELECT not_after, rowid ${behind} ${order}`, ...of, end, rowid)),
      );
      if (next === undefined) break;
      count += atOnce;
      mark = next;
      yield* nextTurn;
    }
    const { not_after: end, rowid } = mark;
    return count + (yield* Effect.fromResult(
      register.read((rows) =>
        rows.first<{ count: number }>(`SELECT count(*) AS count ${behind}`, ...of, end, rowid)!.count
      ),
    ));
  });
}

/** Before the first certificate that ends at or after a time. */
const beginAt = (at: Date): PageMark => ({ not_after: +at - 1, rowid: Number.MAX_SAFE_INTEGER });

/** Which certificates are asked for. */
export interface NodesPage {
  /** A SPIFFE ID or its last part; all where undefined. */
  readonly name?: string;
  /** Where the page before ended. */
  readonly after?: PageMark;
}

/** Certificates that have not ended, by their end: a page, and the mark of the next. */
export function pageOfNodes(ca: CertificateAuthority, { name, after }: NodesPage, at: Date): View<unknown> {
  const mark = after ?? beginAt(at);
  return Effect.fromResult(ca.register.read((rows) => {
    const found = name === undefined ? certificatesAfter(rows, mark) : certificatesNamed(rows, name, mark, at);
    const page = found.slice(0, pageRows);
    const last = page.at(-1);
    const nodes = page.map(({ identity, serial, not_after: end, revoked }) => ({
      identity,
      serial,
      not_after: new Date(end).toISOString(),
      ...(revoked === null ? {} : { revoked: new Date(revoked).toISOString() }),
    }));
    const isWhole = last === undefined || found.length < pageRows;
    return { nodes, ...(isWhole ? {} : { after: { not_after: last.not_after, rowid: last.rowid } }) };
  }));
}

/** Of all identities of a name, in one order. */
function certificatesNamed(rows: RegisterRows, name: string, mark: PageMark, at: Date): readonly ListedRow[] {
  return identitiesOf(rows, name, at)
    .flatMap((identity) => certificatesAfter(rows, mark, identity))
    .toSorted((a, b) => a.not_after - b.not_after || a.rowid - b.rowid);
}
