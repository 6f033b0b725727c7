/**
 * The exchange of revocation lists: announces the node's lists to its peers, pulls those that it lacks, fetches them by HTTP, and
 * puts them into the state directory. It decides nothing about trust: the trust store reads what lies there.
 *
 * ```
 *  clearing ─▶ exchanging
 *    arrivals: resting ── a list was given up ─▶ dropping (its bytes) ─▶ resting
 *              resting ── a list's bytes are there ─▶ taking (verified, moved into place) ─▶ resting
 *                 ▲                                     └── not stored ─▶ pausing ── 10 s ──┐
 *                 └─────────────────────────────────────────────────────────────────────────┘
 *    offering: resting ── a list in force ─▶ seeking ── its bytes are in their place ─▶ resting (announced)
 *                            ▲  └── waiting ◀────┘ (not yet)
 *    fetching: idle ── trust ─▶ asking ─▶ settling ─▶ waiting ── a minute ─▶ asking             (off without URLs)
 * ```
 *
 * Announcements, pulls (`pull.ts`) and answers go on beside that. A list is announced to each neighbour that has not told it, when
 * it was verified; all lists on each new connection and once an hour. Requests never dial: peers that cannot be asked are not asked.
 *
 * Tells its parent `crls.fetched` once: after the first round of fetching, or at once where there is nothing to fetch.
 *
 * @module
 */
import { assign, enqueueActions, sendTo } from "xstate";
import { CrlBook } from "./book.ts";
import {
  announceAll,
  closed,
  due,
  endArrival,
  endDrop,
  endPull,
  established,
  fetched,
  fetchInput,
  look,
  lookAgain,
  noteSeen,
  pause,
  takeInput,
  takeTransport,
  takeTrust,
  tellAgain,
  told,
  wantAgain,
  wantLost,
} from "./exchange_actions.ts";
import { answerRequest, respond, serveNext } from "./exchange_requests.ts";
import { type CrlsLost, exchangeSetup } from "./exchange_setup.ts";
import type { PullEvent } from "./pull.ts";

export type { CrlExchangeCommand, CrlExchangeEvent, CrlExchangeInput, CrlExchangeRef } from "./exchange_setup.ts";

const exchange = exchangeSetup.extend({
  actions: {
    takeTrust: enqueueActions(takeTrust),
    takeTransport: enqueueActions(takeTransport),
    established: enqueueActions(established),
    closed: enqueueActions(closed),
    answerRequest: enqueueActions(answerRequest),
    told: enqueueActions(told),
    tell: enqueueActions(tellAgain),
    announceAll: enqueueActions(announceAll),
    look: enqueueActions(look),
    lookAgain: enqueueActions(lookAgain),
    noteProgress: ({ context }, { sha256, offset }: Extract<PullEvent, { type: "pull.progressed" }>) =>
      context.book.wants.progressed(sha256, offset),
    endPull: enqueueActions(endPull),
    serveNext: enqueueActions(serveNext),
    respond: enqueueActions(respond),
    noteSeen: enqueueActions(noteSeen),
    countSeek: assign({ seeks: ({ context }) => context.seeks + 1 }),
    wantAgain: enqueueActions(wantAgain),
    wantLost: enqueueActions(wantLost),
    noteHurried: assign({ hurriedAt: ({ context: { ports } }) => ports.now() }),
    endArrival: enqueueActions(endArrival),
    postpone: ({ context }) => context.book.postponeArrival(),
    endDrop: enqueueActions(endDrop),
    pause: enqueueActions(pause),
    due: enqueueActions(due),
    fetched: enqueueActions(fetched),
    noteUnreached: assign({ isReached: false }),
    noteToldFetched: assign({ isToldFetched: true }),
    sendFetched: sendTo(({ context }) => context.parent, { type: "crls.fetched" }),
  },
});

const notStored = {
  type: "pause",
  params: ({ event }: { readonly event: { readonly error: Error } }) => ({ detail: event.error.message }),
} as const;

const lost = ({ event }: { readonly event: CrlsLost }) => event;

/** The exchange as a machine. */
export const crlExchangeMachine = exchange.createMachine({
  id: "crlExchange",
  context: ({ input }) => ({
    ...input,
    transport: undefined,
    book: new CrlBook({ now: input.ports.now, stateDir: input.stateDir }),
    pulls: new Map(),
    waiting: [],
    reading: 0,
    isLooking: false,
    seeks: 0,
    pausedUntil: 0,
    isUnstored: false,
    etags: new Map(),
    useless: new Map(),
    isReached: false,
    hurriedAt: 0,
    isToldFetched: false,
  }),
  on: {
    "trust.changed": { actions: { type: "takeTrust", params: ({ event }) => event } },
    "transport.changed": { actions: { type: "takeTransport", params: ({ event }) => event } },
    "peer.established": { actions: { type: "established", params: ({ event }) => event } },
    "peer.reconnected": { actions: { type: "established", params: ({ event }) => event } },
    "peer.closed": { actions: { type: "closed", params: ({ event }) => event } },
    "request.received": { actions: { type: "answerRequest", params: ({ event }) => event } },
    "crl.told": { actions: { type: "told", params: ({ event }) => event } },
    "crl.tell": { actions: { type: "tell", params: ({ event }) => event } },
    "crl.look": { actions: "look" },
    "crl.look.again": { actions: "lookAgain" },
    "crl.serve": { actions: "serveNext" },
    "crl.again": { actions: { type: "wantAgain", params: ({ event }) => event } },
    "crl.due": { actions: "due" },
    "crls.lost": { guard: { type: "isOffered", params: lost }, actions: { type: "wantLost", params: lost } },
    "pull.progressed": { actions: { type: "noteProgress", params: ({ event }) => event } },
    "pull.ended": { actions: { type: "endPull", params: ({ event }) => event } },
    "effect.done.serve": { actions: { type: "respond", params: ({ event }) => event.value } },
  },
  initial: "clearing",
  states: {
    clearing: {
      invoke: { src: "clear", input: ({ context: { ports, stateDir } }) => ({ ports, stateDir }) },
      on: {
        "effect.done.clear": "exchanging",
        "effect.failed.clear": { target: "exchanging", actions: notStored },
      },
    },
    exchanging: {
      type: "parallel",
      states: {
        announcing: {
          initial: "waiting",
          states: {
            waiting: { after: { announceAgain: { target: "waiting", reenter: true, actions: "announceAll" } } },
          },
        },
        offering: {
          initial: "resting",
          states: {
            resting: { always: { guard: "hasUnseen", target: "seeking" } },
            seeking: {
              invoke: { src: "seek", input: ({ context: { ports, book } }) => ({ ports, lists: book.unseen() }) },
              on: {
                "effect.done.seek": { target: "sought", actions: { type: "noteSeen", params: ({ event }) => event } },
                "effect.failed.seek": { target: "waiting", actions: "countSeek" },
              },
            },
            sought: {
              always: [{ guard: "hasUnseen", target: "waiting", actions: "countSeek" }, { target: "resting" }],
            },
            waiting: { on: { "crl.seek": "seeking" }, after: { seekAgain: "seeking" } },
          },
        },
        arrivals: {
          initial: "resting",
          states: {
            resting: {
              always: [
                { guard: "hasUnneeded", target: "dropping" },
                { guard: "hasArrival", target: "taking" },
              ],
              on: { "crl.arrived": { target: "resting", reenter: true } },
            },
            // Not while a list is taken, which may have the same file.
            dropping: {
              invoke: {
                src: "drop",
                input: ({ context: { ports, stateDir, book } }) => ({ ports, stateDir, lists: book.unneeded() }),
              },
              on: {
                "effect.done.drop": {
                  target: "resting",
                  actions: { type: "endDrop", params: ({ event }) => ({ lists: event.value }) },
                },
                "effect.failed.drop": { target: "pausing", actions: notStored },
              },
            },
            taking: {
              invoke: { src: "take", input: ({ context }) => takeInput(context) },
              on: {
                "effect.done.take": {
                  target: "resting",
                  actions: { type: "endArrival", params: ({ event }) => event.value },
                },
                "effect.failed.take": { target: "pausing", actions: ["postpone", notStored] },
              },
            },
            pausing: { after: { pause: "resting" } },
          },
        },
        fetching: {
          initial: "idle",
          states: {
            idle: { always: { guard: "isTrustKnown", target: "beginning" } },
            beginning: {
              always: [{ guard: "hasUrls", target: "asking" }, { target: "off", actions: "sendFetched" }],
            },
            off: {},
            asking: {
              invoke: { src: "fetchRound", input: ({ context }) => fetchInput(context) },
              on: {
                "effect.done.fetchRound": {
                  target: "settling",
                  actions: { type: "fetched", params: ({ event }) => event.value },
                },
                "effect.failed.fetchRound": { target: "settling", actions: [notStored, "noteUnreached"] },
              },
            },
            settling: {
              always: { guard: "isFirstOver", target: "waiting", actions: ["noteToldFetched", "sendFetched"] },
              after: { fetchAgain: "asking" },
            },
            waiting: {
              on: {
                "crls.lost": [
                  {
                    guard: { type: "mayHurry", params: lost },
                    target: "asking",
                    actions: [{ type: "wantLost", params: lost }, "noteHurried"],
                  },
                  {
                    guard: { type: "isOffered", params: lost },
                    target: "waiting",
                    reenter: true,
                    actions: [{ type: "wantLost", params: lost }, "noteUnreached"],
                  },
                ],
              },
              after: { fetchAgain: "asking" },
            },
          },
        },
      },
    },
  },
});
