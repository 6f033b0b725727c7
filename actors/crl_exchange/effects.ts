/**
 * The Effects of a list exchange as actors.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { Effect, Option } from "effect";
import { crlInlineBytesMax, crlPieceBytesMax } from "../../transport/protocols/mod.ts";
import {
  addPiece,
  clearIncoming,
  type CrlArrival,
  type CrlIssuer,
  type CrlPiece,
  dropIncoming,
  readPiece,
  takeCrl,
} from "../files/arriving_crls.ts";
import { type EffectInput, fromEffect } from "../runtime/effect_actor.ts";
import type { TransportRef } from "../runtime/role.ts";
import type { Arrival, SeenList } from "./book.ts";
import { type FetchInput, fetchLists } from "./fetch_lists.ts";
import type { OfferedList } from "./travelling_crls.ts";

/** Removes what an earlier run left aside. */
export const clear = fromEffect(
  "clear",
  ({ stateDir }: EffectInput & { readonly stateDir: string }) => clearIncoming(stateDir),
);

/** The input of {@linkcode take}. */
export interface TakeInput extends EffectInput {
  readonly stateDir: string;
  readonly arrival: Arrival;
  /** The key that must have signed it; undefined: the node takes no lists of that key any more. */
  readonly issuer: CrlIssuer | undefined;
  /** The node has this list. */
  readonly isHeld: boolean;
  readonly newest: (list: { readonly scope: string; readonly kind: "complete" | "delta" }) => string | undefined;
  /** The number of the delta that is in force on the complete list of a scope. */
  readonly effective: (scope: string) => string | undefined;
  readonly at: Date;
}

/** What became of an arrival, and its bytes where peers are told them along with the list. */
export interface Taken {
  readonly arrival: Arrival;
  readonly outcome: CrlArrival;
  readonly bytes: Uint8Array | undefined;
}

/** Verifies a list that has arrived and moves it into its place. */
export const take = fromEffect(
  "take",
  ({ stateDir, arrival, issuer, isHeld, newest, effective, at }: TakeInput) =>
    Effect.gen(function* () {
      const { sha256, sizeBytes, urls, bytes } = arrival;
      // The file may hold what was pulled of the list: nothing else may take its place.
      if (bytes !== undefined && createHash("sha256").update(bytes).digest("hex") !== sha256) {
        return {
          arrival,
          outcome: { type: "wrong", detail: "it has another SHA-256" },
          bytes: undefined,
        } satisfies Taken;
      }
      if (bytes !== undefined) yield* addPiece(stateDir, { sha256, offset: 0, bytes });
      if (issuer === undefined) {
        yield* dropIncoming(stateDir, sha256);
        return { arrival, outcome: { type: "old" }, bytes: undefined } satisfies Taken;
      }
      const outcome = yield* takeCrl({
        ...{ stateDir, sha256, sizeBytes, isFetched: urls !== undefined, isHeld },
        ...{ issuer, newest, effective, at },
      });
      if (outcome.type !== "taken" || sizeBytes > crlInlineBytesMax) return { arrival, outcome, bytes: undefined };
      const { path } = outcome.crl;
      const piece = yield* Effect.option(
        readPiece({ path, sha256, offset: 0, unchanged: undefined }, crlInlineBytesMax),
      );
      return { arrival, outcome, bytes: Option.getOrUndefined(piece)?.bytes } satisfies Taken;
    }),
);

/** Removes what arrived of lists that were given up. */
export const drop = fromEffect(
  "drop",
  ({ stateDir, lists }: EffectInput & { readonly stateDir: string; readonly lists: readonly string[] }) =>
    Effect.as(Effect.forEach(lists, (sha256) => dropIncoming(stateDir, sha256)), lists),
);

/** Looks which lists lie in their place. */
export const seek = fromEffect(
  "seek",
  ({ lists }: EffectInput & { readonly lists: readonly OfferedList[] }) =>
    Effect.map(
      Effect.forEach(lists, ({ path, notice: { sha256, size } }) =>
        Effect.map(
          Effect.option(
            readPiece({ path, sha256, offset: 0, unchanged: undefined, sizeBytes: size }, crlInlineBytesMax),
          ),
          (read) => {
            const piece = Option.getOrUndefined(read);
            if (piece === undefined) return [];
            const { signature, bytes } = piece;
            return [{ sha256, signature, bytes: size <= crlInlineBytesMax ? bytes : undefined } satisfies SeenList];
          },
        )),
      (seen) => seen.flat(),
    ),
);

/** The input of {@linkcode serve}. */
export interface ServeInput extends EffectInput {
  /** The actor's own id. */
  readonly id: string;
  readonly exchange: string;
  /** What received the request. */
  readonly transport: TransportRef;
  readonly path: string;
  readonly sha256: string;
  readonly offset: number;
  readonly unchanged: string | undefined;
}

/** A piece that was read; `another`: the file holds another list; `gone`: there is no file; `unread`: it could not be read. */
export type ServedPiece = CrlPiece | "another" | "gone" | "unread";

/** What became of a request for a piece. */
export interface Served extends Omit<ServeInput, keyof EffectInput> {
  readonly piece: ServedPiece;
}

/** Reads a piece of a list for a peer. */
export const serve = fromEffect(
  "serve",
  ({ id, exchange, transport, ...place }: ServeInput) =>
    Effect.match(readPiece(place, crlPieceBytesMax), {
      onSuccess: (piece): Served => ({ id, exchange, transport, ...place, piece: piece ?? "another" }),
      onFailure: ({ reason }): Served => ({
        ...{ id, exchange, transport, ...place },
        piece: reason._tag === "NotFound" ? "gone" : "unread",
      }),
    }),
);

/** Fetches what is new by HTTP. */
export const fetchRound = fromEffect("fetchRound", (input: EffectInput & FetchInput) => fetchLists(input));
