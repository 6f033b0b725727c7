/**
 * What is revoked, and renewing the lists.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { RevocationReason } from "../../pki/issue/mod.ts";
import { plainSerial } from "../certutil/revocation_record.ts";
import { CaRefused } from "./ca_refused.ts";
import { type CertificateAuthority, type ListSigner, signersAt, signersOf } from "./certificate_authority.ts";
import {
  certificatesBefore,
  certificatesWithSerial,
  identitiesOf,
  lineOf,
  type ListedRow,
  pageRows,
  roleOf,
} from "./certificate_rows.ts";
import { crlOf, enterLists, isRevoked, lastNumber, listedAfterEndMs } from "./crl_rows.ts";
import { listsDue, makeLists, nextTurn, removePieces } from "./make_lists.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";
import {
  isLeft,
  type PageWork,
  refusalOf,
  type Revocable,
  revokePage,
  stoppedBy,
  type Unsigned,
} from "./revoke_page.ts";
import { allowRenewals, settleRenewals, stopRenewals } from "./stopped_renewals.ts";
import { identitiesWithTokens, voidTokens } from "./token_rows.ts";
import { enrolledBy, isHardwareIdentity, linkedIdentities } from "./hardware_rows.ts";
import { endToBeRevoked, enterRevokedName, enterToBeRevoked, type Gap, gapLifetimeMs, gapOf } from "./restored_rows.ts";

/** What is revoked: every certificate of a name (a SPIFFE ID, or its last part), or one certificate and those that renew it. */
export type RevocationTarget = { readonly name: string } | { readonly serial: string };

/** What was revoked. */
export interface Revoked {
  /** Empty where all of it was revoked before. */
  readonly certificates: readonly ListedRow[];
  /** Those of them that another CA issued: no list that is made here has them. */
  readonly unlisted: readonly ListedRow[];
  /** Number of the newest list, decimal. */
  readonly number: string;
  /** Where the register is a backup's: when certificates were issued that it does not know. They are revoked when they renew. */
  readonly gap: Gap | undefined;
  /** Where the key of a CA could not sign: what was revoked, and what was not. */
  readonly refusal: CaRefused | undefined;
}

/**
 * Revokes certificates. Revocations and the lists that carry them enter the register in one transaction, for some hundred certificates
 * of one CA at once, the newest first. Refused where the keys of all their CAs could not sign.
 *
 * With a name, certificates that have ended but could be renewed late are revoked too, and its unused tokens are void: the name gets
 * no certificate until an operator makes a new token.
 */
export function revoke(
  ca: CertificateAuthority,
  target: RevocationTarget,
  reason: RevocationReason,
  at: Date,
  unsigned: Unsigned = new Map(),
): Effect.Effect<Revoked, CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.gen(function* () {
    const certificates = yield* "name" in target
      ? revokeName(ca, { name: target.name, reason, unsigned }, at)
      : revokeSerial(ca, { serial: target.serial, reason, unsigned }, at);
    const refusal = stoppedBy(refusalOf(ca, unsigned, certificates));
    if (refusal !== undefined && certificates.length === 0) return yield* refusal;
    const listers = new Set(signersOf(ca).map(({ issuerId }) => issuerId));
    const unlisted = certificates.filter(({ issuer }) => !listers.has(issuer));
    return yield* Effect.fromResult(ca.register.read((rows) => {
      const number = String(lastNumber(rows, ca.issuerId));
      return { certificates, unlisted, number, gap: gapOf(rows, at), refusal };
    }));
  }));
}

type Failure = CaRefused | RegisterFailure;
const changed = (
  ca: CertificateAuthority,
  change: (rows: RegisterRows) => void,
): Result.Result<void, RegisterFailure> => ca.register.transaction<void, never>((rows) => Result.succeed(change(rows)));
type Terms = Pick<PageWork, "reason" | "unsigned">;

function revokeName(
  ca: CertificateAuthority,
  { name, ...terms }: Terms & { readonly name: string },
  at: Date,
): Effect.Effect<readonly ListedRow[], Failure> {
  return Effect.gen(function* () {
    const since = +at - listedAfterEndMs;
    const identities = yield* Effect.fromResult(
      ca.register.transaction((rows) => identitiesNamed(ca, rows, { name, since: new Date(since) }, at)),
    );
    yield* Effect.fromResult(changed(ca, (rows) => {
      voidAndEnter(ca, rows, identities, at);
    }));
    const revoked: ListedRow[] = [];
    for (const identity of identities) {
      for (let before = Number.MAX_SAFE_INTEGER;;) {
        const page = yield* Effect.fromResult(ca.register.read((rows) => certificatesBefore(rows, identity, before)));
        const oldest = page.at(-1);
        if (oldest === undefined) break;
        before = oldest.rowid;
        const fresh = page.filter((row) => row.revoked === null && row.not_after >= since);
        if (fresh.length > 0) revoked.push(...yield* revokePage(ca, { fresh, ...terms }, at));
        // Of one in hardware, also what it got for a name that a later token took over.
        for (const row of isHardwareIdentity(identity) ? page : []) {
          revoked.push(...yield* revokeEnrolled(ca, { row, ...terms }, at));
        }
      }
    }
    yield* Effect.fromResult(changed(ca, (rows) => {
      for (const identity of identities) {
        if (isLeft(terms.unsigned)) stopRenewals(rows, identity, at);
        else allowRenewals(rows, identity);
      }
    }));
    return revoked;
  });
}

/**
 * Before anything is signed: the unused tokens of names become void. Of a restored register, what the names got in its gap is revoked when
 * it comes.
 */
function voidAndEnter(ca: CertificateAuthority, rows: RegisterRows, identities: readonly string[], at: Date): void {
  const isRestored = gapOf(rows, at) !== undefined;
  for (const identity of identities) {
    voidTokens(rows, ca.domain, identity, at);
    if (isRestored) enterRevokedName(rows, identity, at);
  }
}

/** Revokes the certificates for TLS that an identity's certificate got and that are in force. */
function revokeEnrolled(
  ca: CertificateAuthority,
  { row, ...terms }: Terms & { readonly row: ListedRow },
  at: Date,
): Effect.Effect<readonly ListedRow[], Failure> {
  return Effect.gen(function* () {
    const revoked: ListedRow[] = [];
    for (;;) {
      const fresh = yield* Effect.fromResult(ca.register.read((rows) => enrolledBy(rows, row, at)));
      if (fresh.length === 0) return revoked;
      const done = yield* revokePage(ca, { fresh, ...terms }, at);
      if (done.length === 0) return revoked;
      revoked.push(...done);
    }
  });
}

/** The identity that a name stands for, by its certificates, else by its unused tokens; with one in hardware, those that it gets certificates for. The one in hardware comes first. */
function identitiesNamed(
  ca: CertificateAuthority,
  rows: RegisterRows,
  { name, since }: { readonly name: string; readonly since: Date },
  at: Date,
): Result.Result<readonly string[], CaRefused> {
  const isInGap = gapOf(rows, at) !== undefined && roleOf(name, ca.domain) !== undefined;
  const certified = identitiesOf(rows, name, since);
  const found = certified.length > 0 ? certified : identitiesWithTokens(ca, rows, name, at);
  const identity = found[0] ?? (isInGap ? name : undefined);
  if (identity === undefined) return unknown(`no certificate and no unused token is ${name}'s`);
  const linked = linkedIdentities(rows, identity);
  if (found.every((each) => each === identity || linked.includes(each))) return Result.succeed(linked);
  return unknown(`${name} is ambiguous: ${found.join(", ")}`);
}

/** Refuses targets of which a name is unknown, before any is revoked. */
export function checkTargets(
  ca: CertificateAuthority,
  targets: readonly RevocationTarget[],
  at: Date,
): Result.Result<void, Failure> {
  const since = new Date(+at - listedAfterEndMs);
  return ca.register.transaction((rows) =>
    Result.gen(function* () {
      for (const target of targets) {
        if ("name" in target) yield* identitiesNamed(ca, rows, { name: target.name, since }, at);
      }
    })
  );
}

const unknown = (detail: string) => Result.fail(new CaRefused({ code: "name-unknown", detail }));

function revokeSerial(
  ca: CertificateAuthority,
  { serial, ...terms }: Terms & { readonly serial: string },
  at: Date,
): Effect.Effect<readonly ListedRow[], Failure> {
  return Effect.gen(function* () {
    const found = yield* Effect.fromResult(ca.register.read((rows) => certificatesWithSerial(rows, serial)));
    if (found.length === 0) return yield* revokeUnknown(ca, { serial, ...terms }, at);
    const revoked: ListedRow[] = [], lines: ListedRow[] = [];
    for (const { fingerprint } of found) {
      for (let from = fingerprint;;) {
        const page = yield* Effect.fromResult(ca.register.read((rows) => lineOf(rows, from)));
        const fresh = page.filter((row) => row.revoked === null);
        lines.push(...page);
        revoked.push(...yield* revokePage(ca, { fresh, ...terms }, at));
        if (page.length < pageRows) break;
        from = page.at(-1)!.fingerprint;
      }
    }
    for (const row of found) revoked.push(...yield* revokeEnrolled(ca, { row, ...terms }, at));
    yield* Effect.fromResult(changed(ca, (rows) => {
      settleRenewals(rows, lines, (row) => isLeft(terms.unsigned, row), at);
    }));
    return revoked;
  });
}

/** A positive number of 20 octets at most: no list can have another. */
const serialPattern = /^(?:[0-7][0-9a-f]{39}|[0-9a-f]{1,39})$/;

/** A serial of the gap: it is listed, although its certificate is not known. */
function revokeUnknown(
  ca: CertificateAuthority,
  { serial, ...terms }: Terms & { readonly serial: string },
  at: Date,
): Effect.Effect<readonly [], Failure> {
  return Effect.gen(function* () {
    const gap = yield* Effect.fromResult(ca.register.read((rows) => gapOf(rows, at)));
    const plain = plainSerial(serial);
    if (gap === undefined || !serialPattern.test(plain)) {
      return yield* Effect.fromResult(unknown(`no certificate has serial ${serial}`));
    }
    const all = signersOf(ca).map((by) => ({ issuer: by.issuerId, serial: plain, not_after: gap.to + gapLifetimeMs }));
    // What is listed already would take a position in the lists that no row has.
    const fresh = yield* Effect.fromResult(ca.register.read((rows) => all.filter((each) => !isRevoked(rows, each))));
    if (fresh.length > 0) {
      yield* Effect.fromResult(changed(ca, (rows) => enterToBeRevoked(rows, plain, at)));
      yield* revokePage(ca, { fresh, ...terms }, at);
    }
    if (!isLeft(terms.unsigned)) yield* Effect.fromResult(changed(ca, (rows) => endToBeRevoked(rows, plain)));
    return [];
  });
}

/** Revokes certificates of names that were revoked. For callers whose turn it is. */
export function revokeRows(
  ca: CertificateAuthority,
  fresh: readonly Revocable[],
  at: Date,
): Effect.Effect<void, CaRefused | RegisterFailure> {
  const unsigned: Unsigned = new Map();
  return Effect.flatMap(
    revokePage(ca, { fresh, reason: "unspecified", unsigned }, at),
    (revoked) => failIf(refusalOf(ca, unsigned, revoked)),
  );
}

const failIf = (refusal: CaRefused | undefined) => refusal === undefined ? Effect.void : Effect.fail(refusal);

/** What was approved to be revoked. */
export interface ApprovedRevocations {
  readonly certificates: readonly { readonly issuer: string; readonly serial: string }[];
  /** Identities that are revoked as a whole: what they got since is revoked too, and their unused tokens are void. */
  readonly identities: readonly string[];
  readonly reason: RevocationReason;
  /** Goes with the last transaction, where all was revoked. */
  readonly finish: (rows: RegisterRows) => void;
}

/**
 * Revokes certificates, those that renew them, all that whole identities have, and of identities in hardware those for TLS that they got, for callers
 * whose turn it is. Called again after it was broken off, it revokes what is left.
 */
export function revokeListed(
  ca: CertificateAuthority,
  { certificates, identities, reason, finish }: ApprovedRevocations,
  at: Date,
): Effect.Effect<void, Failure> {
  return Effect.gen(function* () {
    const seen = new Map<string, ListedRow>();
    // The newest come first: from the oldest on, a line is walked once.
    for (const { issuer, serial } of certificates.toReversed()) {
      const found = yield* Effect.fromResult(ca.register.read((rows) => certificatesWithSerial(rows, serial)));
      let from = found.find((row) => row.issuer === issuer)?.fingerprint;
      while (from !== undefined && !seen.has(from)) {
        const begin: string = from;
        const line = yield* Effect.fromResult(ca.register.read((rows) => lineOf(rows, begin)));
        for (const row of line) seen.set(row.fingerprint, row);
        // A page begins with the last of the page before.
        from = line.length < pageRows ? undefined : line.at(-1)?.fingerprint;
        if (from !== undefined) seen.delete(from);
        yield* nextTurn;
      }
    }
    // What a name got after the request, with a token that was unused then, is no renewal of what is listed.
    for (const identity of identities) {
      for (let before = Number.MAX_SAFE_INTEGER; before > 0;) {
        const page = yield* Effect.fromResult(ca.register.read((rows) => certificatesBefore(rows, identity, before)));
        for (const row of page) if (row.not_after >= +at - listedAfterEndMs) seen.set(row.fingerprint, row);
        before = page.length < pageRows ? 0 : page.at(-1)!.rowid;
        yield* nextTurn;
      }
    }
    yield* Effect.fromResult(changed(ca, (rows) => {
      voidAndEnter(ca, rows, identities, at);
    }));
    const unsigned: Unsigned = new Map();
    const enrolled = new Set<string>();
    for (const row of [...seen.values()].filter(({ identity }) => isHardwareIdentity(identity))) {
      for (const { fingerprint } of yield* revokeEnrolled(ca, { row, reason, unsigned }, at)) enrolled.add(fingerprint);
    }
    const fresh = [...seen.values()].filter((row) => row.revoked === null && !enrolled.has(row.fingerprint));
    const revoked: Revocable[] = [];
    let from = 0;
    for (; fresh.length - from > pageRows; from += pageRows) {
      const page = fresh.slice(from, from + pageRows);
      revoked.push(...yield* revokePage(ca, { fresh: page, reason, unsigned }, at));
    }
    const last = (rows: RegisterRows) => {
      for (const identity of identities) allowRenewals(rows, identity);
      for (const { identity, serial } of seen.values()) allowRenewals(rows, identity, serial);
      finish(rows);
    };
    revoked.push(...yield* revokePage(ca, { fresh: fresh.slice(from), reason, unsigned, finish: last }, at));
    if (!isLeft(unsigned)) return;
    yield* Effect.fromResult(changed(ca, (rows) => {
      for (const identity of identities) stopRenewals(rows, identity, at);
      settleRenewals(rows, fresh, (row) => isLeft(unsigned, row), at);
    }));
    yield* failIf(stoppedBy(refusalOf(ca, unsigned, revoked)));
  });
}

/** The certificates that revoking a target would revoke now, for callers whose turn it is; at most a number of them. */
export function revocableOf(
  ca: CertificateAuthority,
  target: RevocationTarget,
  countMax: number,
  at: Date,
): Result.Result<
  { readonly rows: readonly ListedRow[]; readonly identities: readonly string[] },
  CaRefused | RegisterFailure
> {
  const since = new Date(+at - listedAfterEndMs);
  return ca.register.transaction((rows) =>
    Result.gen(function* () {
      const isFresh = (row: ListedRow) => row.revoked === null && ("serial" in target || row.not_after >= +since);
      if ("serial" in target) {
        const named = certificatesWithSerial(rows, target.serial);
        const all = [...named.filter(isFresh), ...named.flatMap((each) => enrolledBy(rows, each, at))];
        return { rows: all, identities: [] };
      }
      const identities = yield* identitiesNamed(ca, rows, { name: target.name, since }, at);
      const found: ListedRow[] = [];
      for (const identity of identities) {
        for (let before = Number.MAX_SAFE_INTEGER; found.length <= countMax;) {
          const page = certificatesBefore(rows, identity, before);
          if (page.length === 0) break;
          before = page.at(-1)!.rowid;
          found.push(...page.filter(isFresh));
        }
      }
      if (found.length > countMax) {
        const detail = `${target.name} has more than ${countMax} certificates to revoke`;
        return yield* Result.fail(new CaRefused({ code: "too-many-certificates", detail }));
      }
      return { rows: found, identities };
    })
  );
}

/** Makes the lists of CAs again where a third of their time has passed, or there are none. Says whether it did. */
export function renewLists(
  ca: CertificateAuthority,
  at: Date,
  signers: readonly ListSigner[] = signersAt(ca, at),
): Effect.Effect<"renewed" | "in-force", CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.gen(function* () {
    let outcome: "renewed" | "in-force" = "in-force";
    for (const signer of signers) {
      const complete = yield* Effect.fromResult(ca.register.read((rows) => crlOf(rows, signer.issuerId, "complete")));
      if (!listsDue(complete, at)) continue;
      yield* renewListsOf(ca, signer, at);
      outcome = "renewed";
    }
    yield* removePieces(ca.register);
    return outcome;
  }));
}

function renewListsOf(ca: CertificateAuthority, signer: ListSigner, at: Date): Effect.Effect<void, Failure> {
  return Effect.flatMap(
    makeLists(ca, { signer, added: [], at }),
    (lists) =>
      Effect.fromResult(ca.register.transaction<void, never>((rows) => Result.succeed(enterLists(rows, lists)))),
  );
}
