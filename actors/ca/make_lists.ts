/**
 * Making an issuer's next revocation lists. The caller enters them in the transaction that revokes.
 *
 * Long ones are encoded in a thread, and their bytes are in the register before that transaction. Short ones are encoded here: a
 * thread that has to start makes a revocation wait for it.
 *
 * @module
 */
import { setImmediate } from "node:timers/promises";
import { Effect, Result } from "effect";
import { CaRefused } from "./ca_refused.ts";
import type { Issuer } from "../../pki/issue/issuer.ts";
import type { CertificateAuthority, ListSigner } from "./certificate_authority.ts";
import { composeLists, listedEntry, listLifetimeMs, type ListPlan } from "./compose_lists.ts";
import {
  type CrlKind,
  crlOf,
  type CrlRow,
  enterPiece,
  fewRevocations,
  lastNumber,
  type MadeCrl,
  pieceBytesMax,
  removePiece,
  type RevocationRow,
} from "./crl_rows.ts";
import type { ListMessage, ListWork, SignatureAnswer } from "./list_thread.ts";
import type { Register } from "./register.ts";
import { type RegisterFailure, registerFailureOf } from "./register_failure.ts";

/** The most entries that are encoded here. Each holds the event loop for 8 µs on Node and 24 µs on Deno. */
export const shortEntriesMax = 200;

/** Whose lists are made, and what is new in them. */
export interface ListsToMake {
  readonly signer: ListSigner;
  readonly added: readonly RevocationRow[];
  readonly at: Date;
  /** The number of a list that is not in the register. */
  readonly above?: bigint;
}

/**
 * Makes the next lists of an issuer, with the revocations of the register and those that are being added.
 *
 * Their numbers are above the last one: max(last + 1, seconds since 1970).
 */
export function makeLists(
  ca: Pick<CertificateAuthority, "register" | "url">,
  { signer, added, at, above = 0n }: ListsToMake,
): Effect.Effect<readonly MadeCrl[], CaRefused | RegisterFailure> {
  return Effect.gen(function* () {
    const { register, url } = ca;
    const { issuer, issuerId } = signer;
    const { last, base, known } = yield* Effect.fromResult(register.read((rows) => ({
      last: lastNumber(rows, issuerId),
      base: crlOf(rows, issuerId, "base"),
      known: fewRevocations(rows, issuerId, shortEntriesMax - added.length),
    })));
    const numbers = [last + 1n, above + 1n, BigInt(Math.floor(+at / 1_000))];
    const plan = {
      issuerId,
      number: numbers.reduce((most, each) => each > most ? each : most),
      at,
      base,
      deltaUrl: `${url}${crlPath(issuerId, "delta")}`,
    };
    const work = { type: "make", file: register.file, certificate: issuer.certificate.der, added, ...plan } as const;
    const lists = yield* known === undefined
      ? askThread(register, issuer, work)
      : composeHere({ ...plan, issuer, entries: [...known, ...added].map(listedEntry) });
    for (const list of lists) yield* preparePieces(register, list);
    return lists;
  });
}

/** When the lists in force are to be made again although nothing was revoked; also where the clock was ahead when they were made. */
export function listsDue(complete: Pick<CrlRow, "this_update"> | undefined, at: Date): boolean {
  if (complete === undefined || +at < complete.this_update) return true;
  return +at >= complete.this_update + listLifetimeMs / 3;
}

/** Where a list of an issuer is published. */
export function crlPath(issuer: string, kind: CrlKind): string {
  return `/crl/${issuer}${kind === "complete" ? "" : `-${kind}`}.crl`;
}

/** Removes pieces of lists that are no longer in force, one in a turn of the event loop. */
export function removePieces(register: Register): Effect.Effect<void, RegisterFailure> {
  return Effect.gen(function* () {
    while (yield* Effect.fromResult(register.read(removePiece))) yield* nextTurn;
  });
}

/** Lets the event loop do what waits. */
export const nextTurn: Effect.Effect<void> = Effect.promise(() => setImmediate());

/** A list of one piece is entered by the transaction that revokes; it needs no commit of its own. */
function preparePieces(register: Register, list: MadeCrl): Effect.Effect<void, RegisterFailure> {
  return Effect.gen(function* () {
    const count = Math.ceil(list.size / pieceBytesMax);
    for (let part = 0; count > 1 && part < count; part++) {
      yield* Effect.fromResult(
        register.transaction<void, never>((rows) => Result.succeed(enterPiece(rows, list, part))),
      );
      yield* nextTurn;
    }
  });
}

const unsigned = (error: unknown) =>
  new CaRefused({ code: "signer-unavailable", detail: error instanceof Error ? error.message : String(error) });

const composeHere = (plan: ListPlan) => Effect.tryPromise({ try: () => composeLists(plan), catch: unsigned });

function askThread(
  register: Register,
  issuer: Issuer,
  work: ListWork,
): Effect.Effect<readonly MadeCrl[], CaRefused | RegisterFailure> {
  let refused: CaRefused | undefined;
  const sign = (bytes: Uint8Array): Promise<SignatureAnswer> =>
    issuer.key.sign(bytes).then(
      (signature) => ({ type: "signature", bytes: signature }),
      (error) => ({ type: "unsigned", detail: (refused = unsigned(error)).detail }),
    );
  // Without a refusal of the key, the thread could not read the register, or has ended.
  const failed = (error: unknown) => refused ?? registerFailureOf(register.file, error);
  const answered = Effect.tryPromise({
    try: () =>
      register.lists.ask<Exclude<ListMessage, { type: "sign" }>>(work, (message, send) => {
        if (message.type !== "sign") return message;
        void sign(message.bytes).then(send);
        return undefined;
      }),
    catch: failed,
  });
  return Effect.flatMap(
    answered,
    (message) =>
      message.type === "made" ? Effect.succeed(message.lists) : Effect.fail(failed(new Error(message.detail))),
  );
}
