/**
 * Revoking, and renewing the lists.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { RevocationReason } from "../../pki/issue/mod.ts";
import { CaRefused } from "./ca_refused.ts";
import type { CertificateAuthority } from "./certificate_authority.ts";
import { type CertificateRow, certificatesSince, lineOf } from "./certificate_rows.ts";
import {
  crlOf,
  enterLists,
  enterRevocations,
  lastNumber,
  lastPosition,
  listedAfterEndMs,
  type RevocationRow,
} from "./crl_rows.ts";
import { listsDue, makeLists } from "./make_lists.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** What is revoked: every certificate of a name (a SPIFFE ID, or its last part), or one certificate and those that renew it. */
export type RevocationTarget = { readonly name: string } | { readonly serial: string };

/** What was revoked. */
export interface Revoked {
  /** Empty where all of it was revoked before. */
  readonly certificates: readonly CertificateRow[];
  /** Those of them that another CA issued: no list that is made here has them. */
  readonly unlisted: readonly CertificateRow[];
  /** Number of the newest list, decimal. */
  readonly number: string;
}

/**
 * Revokes certificates. Revocations and the lists that carry them enter the register in one transaction.
 *
 * With a name, certificates that have ended but could be renewed late are revoked too, and its unused tokens are void: the name gets
 * no certificate until an operator makes a new token.
 */
export function revoke(
  ca: CertificateAuthority,
  target: RevocationTarget,
  reason: RevocationReason,
  at: Date,
): Effect.Effect<Revoked, CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.gen(function* () {
    const { found, position } = yield* Effect.fromResult(
      ca.register.transaction((rows) =>
        Result.map(targets(rows, target, at), (found) => ({ found, position: lastPosition(rows) }))
      ),
    );
    const fresh = found.filter(({ revoked }) => revoked === null);
    const added = fresh.map(({ issuer, serial, not_after }, index): RevocationRow => ({
      position: position + 1 + index,
      issuer,
      serial,
      revoked: +at,
      reason,
      not_after,
    }));
    const listed = added.filter(({ issuer }) => issuer === ca.issuerId);
    const lists = added.length === 0 ? [] : yield* makeLists(ca, listed, at);
    return yield* Effect.fromResult(ca.register.transaction<Revoked, never>((rows) => {
      enterRevocations(rows, added);
      enterLists(rows, lists);
      for (const identity of "name" in target ? new Set(found.map(({ identity }) => identity)) : []) {
        rows.change("UPDATE tokens SET void = 1 WHERE identity = ? AND used_key IS NULL", identity);
      }
      const unlisted = fresh.filter(({ issuer }) => issuer !== ca.issuerId);
      return Result.succeed({ certificates: fresh, unlisted, number: String(lastNumber(rows, ca.issuerId)) });
    }));
  }));
}

/** Makes the lists again where a third of their time has passed, or there are none. Says whether it did. */
export function renewLists(
  ca: CertificateAuthority,
  at: Date,
): Effect.Effect<"renewed" | "in-force", CaRefused | RegisterFailure> {
  return ca.inTurn(Effect.gen(function* () {
    const complete = yield* Effect.fromResult(ca.register.read((rows) => crlOf(rows, ca.issuerId, "complete")));
    if (!listsDue(complete, at)) return "in-force";
    const lists = yield* makeLists(ca, [], at);
    yield* Effect.fromResult(ca.register.transaction<void, never>((rows) => Result.succeed(enterLists(rows, lists))));
    return "renewed";
  }));
}

function targets(
  rows: RegisterRows,
  target: RevocationTarget,
  at: Date,
): Result.Result<readonly CertificateRow[], CaRefused> {
  const refuse = (detail: string) => Result.fail(new CaRefused({ code: "name-unknown", detail }));
  if ("serial" in target) {
    const found = lineOf(rows, target.serial);
    return found.length === 0 ? refuse(`no certificate has serial ${target.serial}`) : Result.succeed(found);
  }
  const { name } = target;
  const isNamed = ({ identity }: CertificateRow) =>
    identity === name || (identity.startsWith("spiffe://") && identity.endsWith(`/${name}`));
  const found = certificatesSince(rows, new Date(+at - listedAfterEndMs)).filter(isNamed);
  const identities = [...new Set(found.map(({ identity }) => identity))];
  if (identities.length === 0) return refuse(`no certificate is ${name}'s`);
  if (identities.length > 1) return refuse(`${name} is ambiguous: ${identities.join(", ")}`);
  return Result.succeed(found);
}
