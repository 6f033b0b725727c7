/**
 * Revoking some certificates at once, those of each CA with the lists that carry them.
 *
 * @module
 */
import { Effect, Result } from "effect";
import type { RevocationReason } from "../../pki/issue/mod.ts";
import { CaRefused } from "./ca_refused.ts";
import { type CertificateAuthority, type ListSigner, signersOf } from "./certificate_authority.ts";
import type { ListedRow } from "./certificate_rows.ts";
import { enterLists, enterRevocations, lastPosition, type RevocationRow } from "./crl_rows.ts";
import { makeLists, nextTurn, removePieces } from "./make_lists.ts";
import type { RegisterRows } from "./register.ts";
import type { RegisterFailure } from "./register_failure.ts";

/** Serials that a refusal shows. */
const shownSerialsMax = 20;

/** What of a certificate its revocation needs. */
export type Revocable = Pick<ListedRow, "issuer" | "serial" | "not_after">;

/** CAs whose key could not sign, by their ids, with the serials of a target that were not revoked. None signs again in the same act. */
export type Unsigned = Map<string, { readonly failure: CaRefused; readonly serials: Set<string> }>;

/** The same keys for the next target of an act. */
export function withoutSerials(unsigned: Unsigned): Unsigned {
  return new Map([...unsigned].map(([id, { failure }]) => [id, { failure, serials: new Set<string>() }]));
}

/** Whether anything of the target is not revoked, or whether this is not. */
export function isLeft(unsigned: Unsigned, row?: Pick<Revocable, "issuer" | "serial">): boolean {
  if (row !== undefined) return unsigned.get(row.issuer)?.serials.has(row.serial) === true;
  return [...unsigned.values()].some(({ serials }) => serials.size > 0);
}

/** What is revoked at once. */
export interface PageWork<A extends Revocable = Revocable> {
  readonly fresh: readonly A[];
  readonly reason: RevocationReason;
  /** Takes what could not be revoked. */
  readonly unsigned: Unsigned;
  /** Goes with the last transaction, where all was revoked. */
  readonly finish?: (rows: RegisterRows) => void;
}

interface Part<A> {
  /** Undefined: no list that is made here has them. */
  readonly signer: ListSigner | undefined;
  readonly rows: readonly A[];
}

/** Revokes certificates: those of the CA that issues first, each CA's in one transaction with its lists. Returns those that were revoked. */
export function revokePage<A extends Revocable>(
  ca: CertificateAuthority,
  { fresh, reason, unsigned, finish }: PageWork<A>,
  at: Date,
): Effect.Effect<readonly A[], CaRefused | RegisterFailure> {
  return Effect.gen(function* () {
    const revoked: A[] = [];
    const parts = partsOf(ca, fresh);
    for (const [index, { signer, rows: own }] of parts.entries()) {
      const position = yield* Effect.fromResult(ca.register.read(lastPosition));
      const added = own.map(({ issuer, serial, not_after }, index): RevocationRow => ({
        position: position + 1 + index,
        issuer,
        serial,
        revoked: +at,
        reason,
        not_after,
      }));
      const lists = signer === undefined ? [] : yield* listsOf(ca, { signer, added, unsigned }, at);
      if (lists === undefined) continue;
      const isLast = index === parts.length - 1 && !isLeft(unsigned);
      yield* Effect.fromResult(ca.register.transaction<void, never>((rows) => {
        enterRevocations(rows, added);
        enterLists(rows, lists);
        if (isLast) finish?.(rows);
        return Result.void;
      }));
      revoked.push(...own);
      // Not after the last page alone: the lists of many pages would fill the disk.
      yield* removePieces(ca.register);
      yield* nextTurn;
    }
    return revoked;
  });
}

/** By the CAs that list them. Without certificates there is one part, for the last transaction. */
function partsOf<A extends Revocable>(ca: CertificateAuthority, fresh: readonly A[]): readonly Part<A>[] {
  const signers = signersOf(ca);
  const parts: Part<A>[] = signers.map((signer) => ({
    signer,
    rows: fresh.filter(({ issuer }) => issuer === signer.issuerId),
  }));
  const others = fresh.filter(({ issuer }) => signers.every(({ issuerId }) => issuerId !== issuer));
  const listed = parts.filter(({ rows }) => rows.length > 0);
  return others.length > 0 || listed.length === 0 ? [...listed, { signer: undefined, rows: others }] : listed;
}

/** A CA's next lists; undefined where its key cannot sign. */
function listsOf(
  ca: CertificateAuthority,
  { signer, added, unsigned }: Pick<PageWork, "unsigned"> & {
    readonly signer: ListSigner;
    readonly added: readonly RevocationRow[];
  },
  at: Date,
) {
  return Effect.gen(function* () {
    const { issuerId } = signer;
    const before = unsigned.get(issuerId);
    const made = before === undefined ? yield* Effect.result(makeLists(ca, { signer, added, at })) : undefined;
    if (made !== undefined && Result.isSuccess(made)) return made.success;
    const failure = before?.failure ?? made!.failure;
    if (failure._tag !== "CaRefused") return yield* failure;
    const serials = before?.serials ?? new Set();
    for (const { serial } of added) serials.add(serial);
    unsigned.set(issuerId, { failure, serials });
    return undefined;
  });
}

/** What an operator learns where a key could not sign; undefined where all could. */
export function refusalOf(
  ca: CertificateAuthority,
  unsigned: Unsigned,
  revoked: readonly Revocable[],
): CaRefused | undefined {
  const away = signersOf(ca).flatMap(({ issuer, issuerId }) => {
    const { failure, serials } = unsigned.get(issuerId) ?? {};
    if (failure === undefined || serials === undefined || serials.size === 0) return [];
    const { text } = issuer.certificate.subject;
    return [`the lists of ${text} cannot be signed: ${failure.detail}. Not revoked: ${shown([...serials])}`];
  });
  if (away.length === 0) return undefined;
  const rest = revoked.length === 0 ? [] : [`revoked: ${shown(revoked.map(({ serial }) => serial))}`];
  return new CaRefused({ code: "signer-unavailable", detail: [...away, ...rest].join("; ") });
}

/** The refusal, with what became of the renewals and what helps. */
export function stoppedBy(refusal: CaRefused | undefined): CaRefused | undefined {
  if (refusal === undefined) return undefined;
  const { code, detail } = refusal;
  const help = "repeat the command when the key can sign again";
  return new CaRefused({ code, detail: `${detail}. What was not revoked is not renewed: ${help}` });
}

function shown(serials: readonly string[]): string {
  const more = serials.length - shownSerialsMax;
  return [...serials.slice(0, shownSerialsMax), ...(more > 0 ? [`${more} more`] : [])].join(", ");
}
