/**
 * Finds workers for one kind of job: asks by gossip, collects offers and accepts the best, until enough are granted.
 *
 * ```
 *  ──▶ asking ──▶ collecting ── enough offers ──▶ accepting ── all granted ──▶ served
 *        ▲            │ repeat                        │
 *        └────────────┴──── fewer granted ◀───────────┘
 * ```
 *
 * A worker that granted nothing when its offer was accepted is unreliable: others come first, and it is accepted once a request, where they
 * are too few when the offers are in. It could hold up every allocation otherwise, because it may offer at once and for nothing.
 *
 * An offer lapses at its worker after half a second, so the offers of one request are accepted together or not at all. While
 * there are too few, the request is repeated each {@linkcode requestRepeatMs} (where fewer are enough, those that answer the second one are
 * accepted), and the shortage is reported each
 * {@linkcode allocationWindowMs}. The allocation continues until it is served or stopped. It sends `allocation.granted` for
 * each lease, and `allocation.served` at the end.
 *
 * @module
 */
import { enqueueActions, sendTo, setup } from "xstate";
import type { Member } from "../../pki/member.ts";
import type { PeerText, PublishAnswer, RequestAnswer, TransportError } from "../../transport/port.ts";
import {
  type Descriptor,
  type Instant,
  type Resources,
  type TrainingRun,
  type Uuid,
  type WorkerOffer,
  workerTopic,
} from "../../transport/protocols/messages.ts";
import type { HasParent } from "../runtime/parent.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import { allocationWindowMs, chooseOffers, offersMax, offersOfPeerMax, type ReceivedOffer } from "./offers.ts";
import { offerLifeMs } from "../worker/requests.ts";
import { instantFromMs } from "../runtime/instant.ts";

/** A request that found too few workers is repeated after this, in milliseconds. */
export const requestRepeatMs = 1_000;
/** An offer is accepted only while it has this much life left, in milliseconds: the acceptance has to travel. */
const acceptanceMarginMs = 100;
/** The offers to a request are in after this, in milliseconds: workers collect requests for 200 ms before they offer. */
export const offersInMs = 350;
/** Requests that all workers are waited for. */
const patientRequests = 1;
/** A worker answers an acceptance within this, in milliseconds. */
const acceptanceTimeoutMs = 2_000;
/** The allocation waits this long for answers, in milliseconds: longer than the timeout that it gives the transport. */
const acceptanceDeadlineMs = acceptanceTimeoutMs + 1_000;
/** Newest requests whose offers are answered. */
const requestsKept = 16;
/** Unreliable workers that a report of a shortage names. */
const refusingMax = 8;

/** The input of an allocation. */
export interface AllocationInput extends HasParent<AllocationEvent> {
  readonly descriptor: Descriptor;
  readonly count: number;
  /** So many are enough where a second request finds no more; all of them where undefined. */
  readonly least?: number | undefined;
  readonly resources: Resources;
  readonly price: { readonly bid: number; readonly max: number };
  /** Workers that must not be taken. */
  readonly excluded: readonly PeerText[];
  /** The run that the leases are for. */
  readonly training?: TrainingRun | undefined;
  readonly transport: TransportRef;
  readonly ports: Ports;
}

/** A lease that a worker granted. */
export interface GrantedLease {
  readonly id: Uuid;
  readonly peer: PeerText;
  /** What the certificate proved of the worker when it offered. */
  readonly member: Member;
  readonly timeout: Instant;
  readonly price: number;
  readonly resources: Resources;
}

export interface AllocationContext extends AllocationInput {
  /** Newest last. */
  readonly requests: readonly Uuid[];
  readonly offers: readonly ReceivedOffer[];
  readonly accepting: Readonly<Record<Uuid, ReceivedOffer>>;
  readonly granted: readonly PeerText[];
  /** When the newest offers were accepted, in milliseconds since the epoch. */
  readonly acceptedAt: number;
  /** Workers that granted nothing since the newest request. */
  readonly refusing: readonly PeerText[];
  /** Those that a report of the shortage names: since the last one. */
  readonly named: readonly PeerText[];
  readonly asked: number;
  /** When the shortage was last reported, in milliseconds since the epoch. */
  readonly reportedAt: number;
}

/** An offer that arrived as a request, which waits for its answer. */
export interface OfferedExchange {
  readonly exchange: string;
  readonly peer: PeerText;
  readonly member: Member;
  readonly offer: WorkerOffer;
  /** Whether the worker granted nothing when an offer of it was accepted last. */
  readonly isUnreliable: boolean;
}

/** The events that an allocation receives. */
export type AllocationCommand =
  | OfferedExchange & { readonly type: "offer.received" }
  | { readonly type: "publish.answered"; readonly answer: PublishAnswer }
  | { readonly type: "acceptance.answered"; readonly id: Uuid; readonly answer: RequestAnswer };

/** An acceptance got no lease. */
export interface Ungranted {
  readonly peer: PeerText;
  readonly member: Member;
  readonly leaseId: Uuid;
  /** Where it got no answer, or a late one, the worker may have granted the lease. */
  readonly how: "refused" | "unanswered";
}

/** The events that an allocation sends to its parent. */
export type AllocationEvent =
  | {
    readonly type: "allocation.granted";
    readonly class: Descriptor["class"];
    readonly lease: GrantedLease;
  }
  | Ungranted & { readonly type: "allocation.ungranted" }
  | { readonly type: "allocation.served"; readonly class: Descriptor["class"] };

/** Offers that can still be accepted, by workers that gave no lease yet. */
function freshOffers(context: AllocationContext): readonly ReceivedOffer[] {
  const now = monotonicNow(context.ports);
  return context.offers.filter(({ at }) => now - at < offerLifeMs - acceptanceMarginMs);
}

/** The offers to accept now; fewer than are needed when there are too few. */
function bestOffers(context: AllocationContext): readonly ReceivedOffer[] {
  return chooseOffers(freshOffers(context), {
    wanted: context.resources,
    priceMax: context.price.max,
    count: context.count - context.granted.length,
    excluded: new Set([...context.excluded, ...context.granted, ...context.refusing]),
  });
}

/** Whether as many workers offer as are still needed. */
function isFilled({ count, granted }: AllocationContext, best: readonly ReceivedOffer[]): boolean {
  return best.length >= count - granted.length;
}

/** Whether so many workers, fewer than are wanted, are enough now. */
function hasLeast({ asked, accepting, count, least = count }: AllocationContext, workers: number): boolean {
  return asked > patientRequests && Object.keys(accepting).length === 0 && workers >= least;
}

/** Whether a request failed before its worker could read it. */
function isUnsent({ code }: TransportError): boolean {
  return code === "not-connected" || code === "not-authorized" || code === "unsupported" || code === "stopped";
}

/** An acceptance that got no lease. An honest worker answers before the offer is over; one that takes longer holds the others up. */
function ungranted(
  context: AllocationContext,
  { from, member, offer }: ReceivedOffer,
  answer?: RequestAnswer,
): Ungranted {
  const isLate = monotonicNow(context.ports) - context.acceptedAt > offerLifeMs;
  const isAnswered = answer?.type === "response" || (answer !== undefined && isUnsent(answer.error));
  return { peer: from, member, leaseId: offer.id, how: isAnswered && !isLate ? "refused" : "unanswered" };
}

function grantOf(received: ReceivedOffer | undefined, answer: RequestAnswer): GrantedLease | undefined {
  if (received === undefined || answer.type !== "response" || !("RenewLease" in answer.message)) return undefined;
  const renewal = answer.message.RenewLease;
  if (typeof renewal !== "object" || !("Renewed" in renewal)) return undefined;
  const { id, price, resources } = received.offer;
  return { id, peer: received.from, member: received.member, timeout: renewal.Renewed.timeout, price, resources };
}

/** The workers that grant nothing, with these. */
function withRefusing({ refusing, named }: AllocationContext, peers: readonly PeerText[]) {
  return { refusing: [...refusing, ...peers], named: [...new Set([...named, ...peers])].slice(-refusingMax) };
}

/** A renewal, or the acceptance of an offer. */
export function renewalOf(id: Uuid, training: TrainingRun | undefined) {
  return training === undefined ? { id } : { id, training };
}

/** Allocation for one kind of job. */
export const allocationMachine = setup({
  types: {
    input: {} as AllocationInput,
    context: {} as AllocationContext,
    events: {} as AllocationCommand,
  },
  guards: {
    isServed: ({ context }) => context.granted.length >= context.count || hasLeast(context, context.granted.length),
    hasLeast: ({ context }) => hasLeast(context, context.granted.length + bestOffers(context).length),
    hasReliable: ({ context }) => {
      const reliable = bestOffers(context).filter(({ isUnreliable }) => !isUnreliable);
      return isFilled(context, reliable);
    },
    hasEnough: ({ context }) => isFilled(context, bestOffers(context)),
    isAllAnswered: ({ context }) => Object.keys(context.accepting).length === 0,
    isOwnRequest: ({ context }, { offer }: OfferedExchange) => context.requests.includes(offer.request_id),
  },
  actions: {
    ask: enqueueActions(({ context, self, enqueue }) => {
      const id = context.ports.uuid();
      enqueue.assign({
        requests: [...context.requests, id].slice(-requestsKept),
        asked: context.asked + 1,
        refusing: [],
      });
      enqueue.sendTo(context.transport, {
        type: "publish",
        id: `request/${id}`,
        topic: workerTopic,
        message: {
          id,
          spec: { resources: context.resources, executor: [context.descriptor] },
          timeout: instantFromMs(context.ports.now() + allocationWindowMs),
          bid: context.price.bid,
        },
        replyTo: answerAs(self, (answer: PublishAnswer): AllocationCommand => ({ type: "publish.answered", answer })),
      });
    }),
    keepOffer: enqueueActions(
      ({ context, enqueue }, { exchange, peer, member, offer, isUnreliable }: OfferedExchange) => {
        const received: ReceivedOffer = { from: peer, member, offer, at: monotonicNow(context.ports), isUnreliable };
        const fresh = freshOffers(context).filter(({ offer: other }) => other.id !== offer.id);
        const [own, others] = [fresh.filter(({ from }) => from === peer), fresh.filter(({ from }) => from !== peer)];
        enqueue.assign({ offers: [...others, ...own.slice(1 - offersOfPeerMax), received].slice(-offersMax) });
        enqueue.sendTo(context.transport, { type: "respond", exchange, message: { WorkerOffer: {} } });
      },
    ),
    declineOffer: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: OfferedExchange) => ({ type: "decline", exchange }),
    ),
    accept: enqueueActions(({ context, self, enqueue }) => {
      const chosen = bestOffers(context);
      enqueue.assign({
        accepting: Object.fromEntries(chosen.map((received) => [received.offer.id, received])),
        acceptedAt: monotonicNow(context.ports),
      });
      for (const { from, member, offer: { id } } of chosen) {
        enqueue.sendTo(context.transport, {
          type: "request",
          id: `accept/${id}`,
          peer: from,
          to: { member },
          protocol: "/hypha-api/0.0.1",
          message: { RenewLease: renewalOf(id, context.training) },
          timeoutMs: acceptanceTimeoutMs,
          replyTo: answerAs(
            self,
            (answer: RequestAnswer): AllocationCommand => ({ type: "acceptance.answered", id, answer }),
          ),
        });
      }
    }),
    takeAnswer: enqueueActions(
      ({ context, enqueue }, { id, answer }: { readonly id: Uuid; readonly answer: RequestAnswer }) => {
        const { [id]: received, ...accepting } = context.accepting;
        const lease = grantOf(received, answer);
        enqueue.assign({
          accepting,
          offers: context.offers.filter(({ offer }) => offer.id !== id),
          granted: lease === undefined ? context.granted : [...context.granted, lease.peer],
        });
        if (lease !== undefined) {
          enqueue.sendTo(context.parent, { type: "allocation.granted", class: context.descriptor.class, lease });
        } else if (received !== undefined) {
          enqueue.assign(withRefusing(context, [received.from]));
          enqueue.sendTo(context.parent, { type: "allocation.ungranted", ...ungranted(context, received, answer) });
        }
      },
    ),
    giveUpAnswers: enqueueActions(({ context, enqueue }) => {
      const waited = Object.values(context.accepting);
      enqueue.assign({ accepting: {}, ...withRefusing(context, waited.map(({ from }) => from)) });
      for (const received of waited) {
        enqueue.sendTo(context.parent, { type: "allocation.ungranted", ...ungranted(context, received) });
      }
    }),
    sendServed: sendTo(
      ({ context }) => context.parent,
      ({ context }) => ({ type: "allocation.served", class: context.descriptor.class }),
    ),
    reportUnpublished: ({ context }, { answer }: { readonly answer: PublishAnswer }) => {
      if (answer.type === "publish.done") return;
      context.ports.report({
        level: "debug",
        event: "allocation.unheard",
        message: `Cannot ask for workers yet: ${answer.error.message}`,
        fields: { class: context.descriptor.class },
      });
    },
    reportShortage: enqueueActions(({ context, enqueue }) => {
      const now = monotonicNow(context.ports);
      if (now - context.reportedAt < allocationWindowMs) return;
      const have = context.granted.length + bestOffers(context).length;
      const { named, count, offers, descriptor } = context;
      const refusing = named.length === 0 ? "" : `; ${named.join(", ")} offered and granted no lease`;
      enqueue.assign({ reportedAt: now, named: [] });
      enqueue(() =>
        context.ports.report({
          level: "warn",
          event: "allocation.short",
          message: `Cannot find enough workers for ${descriptor.class}: ${have} of ${count} offer${refusing}`,
          fields: { class: descriptor.class, have, needed: count, offers: offers.length, refusing: named },
        })
      );
    }),
  },
}).createMachine({
  id: "allocation",
  context: ({ input }) => ({
    ...input,
    requests: [],
    offers: [],
    accepting: {},
    granted: [],
    acceptedAt: 0,
    refusing: [],
    named: [],
    asked: 0,
    reportedAt: monotonicNow(input.ports),
  }),
  initial: "asking",
  on: {
    // Offers to own requests are answered `{}`, taken or not. Other offers are declined.
    "offer.received": [
      {
        guard: { type: "isOwnRequest", params: ({ event }) => event },
        actions: { type: "keepOffer", params: ({ event }) => event },
      },
      { actions: { type: "declineOffer", params: ({ event }) => event } },
    ],
  },
  states: {
    asking: { entry: "ask", always: "collecting" },
    collecting: {
      always: { guard: "hasReliable", target: "accepting" },
      initial: "arriving",
      states: {
        arriving: {
          after: { [offersInMs]: [{ guard: "hasLeast", target: "#allocation.accepting" }, { target: "arrived" }] },
        },
        // Most offers are in: those of unreliable workers count too.
        arrived: { always: { guard: "hasEnough", target: "#allocation.accepting" } },
      },
      after: { [requestRepeatMs]: { target: "asking", actions: "reportShortage" } },
      on: {
        "publish.answered": { actions: { type: "reportUnpublished", params: ({ event }) => event } },
      },
    },
    accepting: {
      entry: "accept",
      on: { "acceptance.answered": { actions: { type: "takeAnswer", params: ({ event }) => event } } },
      always: [
        { guard: "isServed", target: "served" },
        { guard: "isAllAnswered", target: "collecting" },
      ],
      after: { [acceptanceDeadlineMs]: { target: "collecting", actions: "giveUpAnswers" } },
    },
    served: { type: "final", entry: "sendServed" },
  },
});
