/**
 * A register from its backup. All is done in a copy, which takes its place at the end.
 *
 * Tokens, requests and decisions of the backup are void. Nothing is issued before the newest lists are merged, or an operator says that
 * there are none and above which number the next one is: peers would refuse lower numbers, and forget revocations.
 *
 * @module
 */
import { chmodSync, constants, copyFileSync, existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { Data, Effect, Result } from "effect";
import type { ApprovalPolicy } from "../../pki/approval/approval_policy.ts";
import { isSignedBy } from "../../pki/crl.ts";
import { revokedEntries } from "../../pki/issue/revoked_entries.ts";
import { plainSerial } from "../certutil/revocation_record.ts";
import { lockFile } from "../files/file_lock.ts";
import { giveOwner } from "../files/give_owner.ts";
import { syncFolderNow } from "../files/sync_folder.ts";
import { lapseAll, policyOf } from "./approval_rows.ts";
import { endApprovedCas } from "./authorities_fact.ts";
import type { CaConfig, CaConfigError } from "./ca_config.ts";
import type { CaRefused } from "./ca_refused.ts";
import { type CertificateAuthority, type ListSigner, signersOf } from "./certificate_authority.ts";
import { madeCrl } from "./compose_lists.ts";
import {
  type CrlKind,
  enterLists,
  enterNumber,
  enterRevocations,
  isRevoked,
  lastNumber,
  lastPosition,
  type MadeCrl,
  type RevocationRow,
} from "./crl_rows.ts";
import { type FileList, type ListFileRefused, readLists } from "./list_files.ts";
import { makeLists } from "./make_lists.ts";
import { openAuthority, registerPath } from "./open_authority.ts";
import type { RegisterRows } from "./register.ts";
import { type RegisterFailure, registerFailureOf } from "./register_failure.ts";
import { enterRestored, gapOf } from "./restored_rows.ts";

/** What the newest lists are known by: files that have them, or a number that is not below theirs. */
export type NewestLists = { readonly files: readonly string[] } | { readonly above: bigint };

/** What is restored. */
export interface RestoreRequest {
  readonly config: CaConfig;
  /** The backup. */
  readonly backup: string;
  readonly newest: NewestLists;
}

/** What came of it. */
export interface Restored {
  /** Revocations that the backup did not have. */
  readonly merged: number;
  /** Number of the first list, decimal. */
  readonly number: string;
  /** From when on certificates are unknown. */
  readonly gapFrom: Date;
  /** The policy of the backup, which is in force; undefined where nothing waits for approvals. */
  readonly policy: ApprovalPolicy | undefined;
  /** The retired CAs whose keys made no new list. */
  readonly unsigned: readonly UnsignedLists[];
}

/** A retired CA whose key made no list: the newest list of the files stays in force. */
export interface UnsignedLists {
  readonly subject: string;
  /** Why. */
  readonly detail: string;
  /** When the list ends that stays in force; undefined where no file has one. */
  readonly ends: Date | undefined;
}

/** A register could not be restored. */
export class RestoreFailed extends Data.TaggedError("RestoreFailed")<{ readonly detail: string }> {
  override get message(): string {
    return `Cannot restore: ${this.detail}`;
  }
}

type Failure = RestoreFailed | ListFileRefused | CaConfigError | CaRefused | RegisterFailure;

/** Restores a register. The CA must not run, and have no register. Meanwhile no other process can open or restore one there. */
export function restore(request: RestoreRequest, at: Date): Effect.Effect<Restored, Failure> {
  const target = registerPath(request.config);
  return Effect.acquireUseRelease(
    Effect.try({
      try: () => {
        mkdirSync(dirname(target), { recursive: true, mode: 0o700 }); // on another machine there is none
        return lockFile(`${target}-lock`);
      },
      catch: (error) => registerFailureOf(target, error),
    }),
    () => restoreAt(target, request, at),
    (lock) => Effect.sync(() => lock.close()),
  );
}

function restoreAt(
  target: string,
  { config, backup, newest }: RestoreRequest,
  at: Date,
): Effect.Effect<Restored, Failure> {
  const aside = `${target}.restoring`;
  return Effect.gen(function* () {
    // A log that is left would be played into the restored file.
    const there = ["", "-wal", "-shm"].map((ending) => `${target}${ending}`).find((each) => existsSync(each));
    if (there !== undefined) {
      return yield* new RestoreFailed({
        detail: `${there} exists. Stop the CA and move its register away: ${target}*`,
      });
    }
    yield* Effect.try({
      try: () => {
        removeAside(aside);
        copyFileSync(backup, aside, constants.COPYFILE_EXCL);
        chmodSync(aside, 0o600);
        giveOwner(aside, statSync(dirname(target))); // also where root restores
      },
      catch: (error) => new RestoreFailed({ detail: (error as Error).message }),
    });
    const restored = yield* Effect.acquireUseRelease(
      openAuthority(config, () => {}, { file: aside }),
      (ca) => Effect.tap(mergeAndPublish(ca, newest, at), () => Effect.fromResult(ca.register.settle())),
      (ca) => Effect.sync(() => ca.register.close()),
    );
    yield* Effect.try({
      try: () => {
        // The file moves alone.
        if (existsSync(`${aside}-wal`)) throw new Error(`${aside}-wal is left`);
        renameSync(aside, target);
        syncFolderNow(dirname(target));
      },
      catch: (error) => new RestoreFailed({ detail: (error as Error).message }),
    });
    return restored;
  }).pipe(Effect.ensuring(Effect.sync(() => removeAside(aside))));
}

function removeAside(aside: string): void {
  for (const ending of ["", "-wal", "-shm", "-lock"]) rmSync(`${aside}${ending}`, { force: true });
}

function mergeAndPublish(ca: CertificateAuthority, newest: NewestLists, at: Date): Effect.Effect<Restored, Failure> {
  return Effect.gen(function* () {
    const lists: FileList[] = [];
    for (const file of "files" in newest ? newest.files : []) lists.push(...yield* Effect.fromResult(readLists(file)));
    let merged = 0;
    const unsigned: UnsignedLists[] = [];
    for (const signer of signersOf(ca)) {
      const { number, rows, inForce } = "above" in newest
        ? { number: newest.above, rows: [], inForce: [] }
        : yield* Effect.fromResult(newestOf(ca, signer, lists));
      merged += yield* Effect.fromResult(ca.register.transaction((register) => {
        const last = lastNumber(register, signer.issuerId);
        if (number < last) {
          const detail = `the newest list has number ${number}, the backup has ${last} already: give a newer one`;
          return Result.fail(new RestoreFailed({ detail }));
        }
        enterNumber(register, signer.issuerId, number);
        register.change("DELETE FROM crls WHERE issuer = ?", signer.issuerId);
        return Result.succeed(mergeRows(register, rows));
      }));
      const made = yield* Effect.catchTag(makeLists(ca, { signer, added: [], at }), "CaRefused", (refused) => {
        if (signer === ca || signer.keyFailure() === undefined) return Effect.fail(refused);
        const ends = inForce.map(({ next_update: end }) => end);
        unsigned.push({
          subject: signer.issuer.certificate.subject.text,
          detail: refused.detail,
          ends: ends.length === 0 ? undefined : new Date(Math.min(...ends)),
        });
        return Effect.succeed(inForce);
      });
      yield* Effect.fromResult(
        ca.register.transaction<void, never>((register) => Result.succeed(enterLists(register, made))),
      );
    }
    return yield* Effect.fromResult(ca.register.transaction<Restored, never>((register) => {
      register.change("UPDATE tokens SET void = 1");
      register.change("DELETE FROM requests");
      // What was executed since the backup must not be executed again.
      const reason = "restored";
      lapseAll(register, reason, at);
      endApprovedCas(register, { reason }, at);
      enterRestored(register, at);
      const number = String(lastNumber(register, ca.issuerId));
      const gapFrom = new Date(gapOf(register, at)?.from ?? 0);
      return Result.succeed({ merged, number, gapFrom, policy: policyOf(register), unsigned });
    }));
  });
}

/** Enters the revocations that are new; how many. */
function mergeRows(register: RegisterRows, rows: readonly Omit<RevocationRow, "position">[]): number {
  const before = lastPosition(register);
  const fresh = rows.filter((row) => !isRevoked(register, row));
  const endOf = ({ issuer, serial }: Omit<RevocationRow, "position">) =>
    register.first<{ readonly not_after: number }>(
      "SELECT not_after FROM certificates WHERE issuer = ? AND serial = ?",
      issuer,
      serial,
    )?.not_after ?? null;
  enterRevocations(
    register,
    fresh.map((row, index) => ({ ...row, position: before + 1 + index, not_after: endOf(row) })),
  );
  return fresh.length;
}

/** The entries of an issuer's newest list, and the lists of its number: a complete one, and a delta with its base. A delta's entries go with those of a complete list. */
function newestOf(ca: CertificateAuthority, { issuer, issuerId }: ListSigner, lists: readonly FileList[]) {
  const fail = (detail: string) => Result.fail(new RestoreFailed({ detail }));
  return Result.gen(function* () {
    const own = lists.filter(({ list }) => isSignedBy(list, issuer.certificate));
    const newest = own.reduce((most, { list }) => most > numberOf(list) ? most : numberOf(list), 0n);
    const named = issuer.certificate.subject.text;
    if (newest === 0n) {
      return yield* fail(`no list of ${named} is in the files: give the newest one of a member (${ca.domain})`);
    }
    const delta = own.find(({ list }) => numberOf(list) === newest && list.baseNumber !== undefined);
    const base = BigInt(delta?.list.baseNumber ?? newest);
    const completes = own.filter(({ list }) => list.baseNumber === undefined && numberOf(list) >= base)
      .toSorted((a, b) => Number(numberOf(b.list) - numberOf(a.list)));
    if (completes.length === 0) {
      return yield* fail(`the list ${newest} of ${named} is a delta: give its base ${base} too`);
    }
    const rows: Omit<RevocationRow, "position">[] = [];
    for (const { list } of own) {
      const entries = yield* Result.mapError(
        revokedEntries(list),
        ({ message }) => new RestoreFailed({ detail: message }),
      );
      for (const { serial, date, reason = "unspecified" } of entries) {
        rows.push({ issuer: issuerId, serial: plainSerial(serial), revoked: +date, reason, not_after: null });
      }
    }
    const complete = completes.find(({ list }) => numberOf(list) === newest);
    const below = completes.find(({ list }) => numberOf(list) === base) ?? completes[0];
    const inForce = complete === undefined ? [] : [inForceAs("complete", issuerId, complete)];
    if (delta !== undefined && below !== undefined && below !== complete) {
      inForce.push(inForceAs("base", issuerId, below), inForceAs("delta", issuerId, delta));
    }
    return { number: newest, rows: [...new Map(rows.map((row) => [row.serial, row])).values()], inForce };
  });
}

/** A list of a file as the register has it. The next delta on it has all revocations: which of them a base has is not known by position. */
function inForceAs(kind: CrlKind, issuer: string, { list, der }: FileList): MadeCrl {
  const { thisUpdate, nextUpdate = thisUpdate } = list;
  return madeCrl(der, { ...{ issuer, kind, upto: 0, number: numberOf(list), thisUpdate, nextUpdate } });
}

const numberOf = ({ number }: FileList["list"]) => BigInt(number ?? 0);
