/**
 * Input, context, events and children of the exchange of revocation lists.
 *
 * @module
 */
import { type ActorRef, setup, type Snapshot } from "xstate";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { RequestAnswer, TransportFact } from "../../transport/port.ts";
import type { CrlNotice } from "../../transport/protocols/messages.ts";
import { backoffMs } from "../runtime/backoff.ts";
import type { EventsOf } from "../runtime/effect_actor.ts";
import type { HasParent } from "../runtime/parent.ts";
import type { Ports } from "../runtime/ports.ts";
import type { ReceivedRequest, WaitingRequest } from "../runtime/requests.ts";
import type { TransportRef } from "../runtime/role.ts";
import { CrlBook } from "./book.ts";
import { clear, drop, fetchRound, seek, serve, take } from "./effects.ts";
import { pullMachine } from "./pull.ts";

/** How often all lists are announced again, in milliseconds. */
export const announceEveryMs = 3_600_000;
/** How often lists are fetched, and how soon again where no server answered, in milliseconds. */
export const fetchEveryMs = 60_000;
export const refetchMs = 10_000;
/** Pieces that are read at once, and requests for pieces that wait. */
export const readingMax = 8;
export const waitingMax = 1_024;
/** How often pulls are looked at while others wait, in milliseconds. */
export const lookMs = 250;
/** How often lists that are kept aside are looked at, in milliseconds: the node's clock may have been set. */
export const aheadLookMs = 10_000;
/** The wait until lists in force are looked for again in their places. */
const seekBackoff = { firstMs: 50, maxMs: 1_000 };
/** How long nothing is pulled or taken where the state directory could not be written, in milliseconds. */
export const pauseMs = 10_000;

/** The input of an exchange. */
export interface CrlExchangeInput extends HasParent<CrlExchangeEvent> {
  readonly ports: Ports;
  readonly stateDir: string;
  /** Origins from which lists are fetched. */
  readonly urls: readonly string[];
}

/** What an exchange tells its parent. */
export interface CrlExchangeEvent {
  /** The lists were fetched for the first time, or could not be: the node may dial. */
  readonly type: "crls.fetched";
}

/** What an exchange is told. */
export type CrlExchangeCommand =
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  /** The node has another transport: another key. */
  | { readonly type: "transport.changed"; readonly transport: TransportRef }
  | Extract<TransportFact, { type: "peer.established" | "peer.reconnected" | "peer.closed" }>
  | CrlsLost
  | ReceivedRequest;

/** Lists whose files were torn, or are gone: they are requested again. */
export interface CrlsLost {
  readonly type: "crls.lost";
  /** Of lists in force. */
  readonly sha256: readonly string[];
  /** Files that hold no list that can be used. */
  readonly torn: readonly string[];
}

/** An exchange as its node sees it. */
export type CrlExchangeRef = ActorRef<Snapshot<unknown>, CrlExchangeCommand>;

/** Its events to itself. */
export type OwnEvent =
  | {
    readonly type: "crl.told";
    readonly peer: string;
    readonly lists: readonly CrlNotice[];
    readonly answer: RequestAnswer;
  }
  | { readonly type: "crl.tell"; readonly peer: string }
  /** Something arrived. */
  | { readonly type: "crl.arrived" }
  /** Other lists are in force. */
  | { readonly type: "crl.seek" }
  /** Waiting lists may have a place now. */
  | { readonly type: "crl.look" }
  | { readonly type: "crl.look.again" }
  /** Peers wait for pieces. */
  | { readonly type: "crl.serve" }
  /** A list that no peer could send is requested again. */
  | { readonly type: "crl.again"; readonly peer: string; readonly sha256: string }
  /** The time of a list that was kept aside may have come. */
  | { readonly type: "crl.due" };

export interface CrlExchangeContext extends CrlExchangeInput {
  readonly transport: TransportRef | undefined;
  readonly book: CrlBook;
  /** Pulls that run: the ids of their actors, by the SHA-256 of their lists. */
  readonly pulls: ReadonlyMap<string, string>;
  /** Requests for pieces that wait for their turn, and how many are being read. */
  readonly waiting: readonly WaitingRequest[];
  readonly reading: number;
  readonly isLooking: boolean;
  /** Looks in a row that did not find all lists in their places. */
  readonly seeks: number;
  /** Before this nothing is pulled: the state directory could not be written. In milliseconds since the epoch. */
  readonly pausedUntil: number;
  /** The state directory could not be written: that was reported. */
  readonly isUnstored: boolean;
  /** ETags that servers gave, by URL. */
  readonly etags: Map<string, string>;
  /** Why what servers gave is no list, by URL: that was reported. */
  readonly useless: Map<string, string>;
  /** Whether the last round of fetching reached a server for each issuer. */
  readonly isReached: boolean;
  /** When lists were fetched because files were lost, in milliseconds since the epoch: a disk that tears each file must not hurry it. */
  readonly hurriedAt: number;
  /** Whether the parent was told of the first round. */
  readonly isToldFetched: boolean;
}

const actors = { clear, drop, seek, take, serve, fetchRound, pull: pullMachine };

/** Types and children of the exchange. */
export const exchangeSetup = setup({
  types: {
    input: {} as CrlExchangeInput,
    context: {} as CrlExchangeContext,
    events: {} as CrlExchangeCommand | OwnEvent | EventsOf<typeof actors>,
  },
  actors,
  guards: {
    hasUnseen: ({ context }) => context.book.unseen().length > 0,
    hasUnneeded: ({ context }) => context.book.unneeded().length > 0,
    hasArrival: ({ context }) => context.book.nextArrival !== undefined,
    isTrustKnown: ({ context }) => context.book.isTrustKnown,
    isOffered: ({ context: { book } }, lost: CrlsLost) => book.areOffered(lost),
    mayHurry: ({ context: { book, ports, hurriedAt } }, lost: CrlsLost) =>
      book.areOffered(lost) && Math.abs(ports.now() - hurriedAt) >= refetchMs,
    hasUrls: ({ context }) => context.urls.length > 0,
    /** The first round is over, and what it brought is in its place. */
    isFirstOver: ({ context: { book, isToldFetched } }) => !isToldFetched && book.nextArrival === undefined,
  },
  delays: {
    announceAgain: ({ context: { ports } }) => announceEveryMs * (0.9 + ports.random() / 5),
    pause: pauseMs,
    seekAgain: ({ context: { ports, seeks } }) => backoffMs(seeks, ports.random(), seekBackoff),
    fetchAgain: ({ context: { book, ports, isReached } }) =>
      (isReached && !book.isLacking ? fetchEveryMs : refetchMs) * (0.75 + ports.random() / 2),
  },
});

/** Arguments of an action. */
export type ExchangeArgs = Omit<Parameters<Parameters<typeof exchangeSetup.enqueueActions>[0]>[0], "event">;
