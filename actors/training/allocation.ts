/**
 * Finds workers for one kind of job: asks by gossip, collects offers and accepts the best, until enough are granted.
 *
 * ```
 *  ──▶ asking ──▶ collecting ── enough offers ──▶ accepting ── all granted ──▶ served
 *        ▲            │ repeat                        │
 *        └────────────┴──── fewer granted ◀───────────┘
 * ```
 *
 * An offer lapses at its worker after half a second, so the offers of one request are accepted together or not at all. While
 * there are too few, the request is repeated each {@linkcode requestRepeatMs} (where fewer are enough, those that answer the second one are
 * accepted), and the shortage is reported each
 * {@linkcode allocationWindowMs}. The allocation continues until it is served or stopped. It sends `allocation.granted` for
 * each lease, and `allocation.served` at the end.
 *
 * @module
 */
import { assign, enqueueActions, sendTo, setup } from "xstate";
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
}

/** The events that an allocation receives. */
export type AllocationCommand =
  | OfferedExchange & { readonly type: "offer.received" }
  | { readonly type: "publish.answered"; readonly answer: PublishAnswer }
  | { readonly type: "acceptance.answered"; readonly id: Uuid; readonly answer: RequestAnswer };

/** The events that an allocation sends to its parent. */
export type AllocationEvent =
  | {
    readonly type: "allocation.granted";
    readonly class: Descriptor["class"];
    readonly lease: GrantedLease;
  }
  /** An acceptance got no answer: its worker may have granted the lease. */
  | { readonly type: "allocation.unanswered"; readonly peer: PeerText; readonly leaseId: Uuid }
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
    excluded: new Set([...context.excluded, ...context.granted]),
  });
}

/** Whether so many workers, fewer than are wanted, are enough now. */
function hasLeast({ asked, accepting, count, least = count }: AllocationContext, workers: number): boolean {
  return asked > patientRequests && Object.keys(accepting).length === 0 && workers >= least;
}

/** Whether a request failed before its worker could read it. */
function isUnsent({ code }: TransportError): boolean {
  return code === "not-connected" || code === "not-authorized" || code === "unsupported" || code === "stopped";
}

function grantOf(received: ReceivedOffer | undefined, answer: RequestAnswer): GrantedLease | undefined {
  if (received === undefined || answer.type !== "response" || !("RenewLease" in answer.message)) return undefined;
  const renewal = answer.message.RenewLease;
  if (typeof renewal !== "object" || !("Renewed" in renewal)) return undefined;
  const { id, price, resources } = received.offer;
  return { id, peer: received.from, member: received.member, timeout: renewal.Renewed.timeout, price, resources };
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
    hasEnough: ({ context }) => bestOffers(context).length >= context.count - context.granted.length,
    isAllAnswered: ({ context }) => Object.keys(context.accepting).length === 0,
    isOwnRequest: ({ context }, { offer }: OfferedExchange) => context.requests.includes(offer.request_id),
  },
  actions: {
    ask: enqueueActions(({ context, self, enqueue }) => {
      const id = context.ports.uuid();
      enqueue.assign({ requests: [...context.requests, id].slice(-requestsKept), asked: context.asked + 1 });
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
    keepOffer: enqueueActions(({ context, enqueue }, { exchange, peer, member, offer }: OfferedExchange) => {
      const received: ReceivedOffer = { from: peer, member, offer, at: monotonicNow(context.ports) };
      const fresh = freshOffers(context).filter(({ offer: other }) => other.id !== offer.id);
      const [own, others] = [fresh.filter(({ from }) => from === peer), fresh.filter(({ from }) => from !== peer)];
      enqueue.assign({ offers: [...others, ...own.slice(1 - offersOfPeerMax), received].slice(-offersMax) });
      enqueue.sendTo(context.transport, { type: "respond", exchange, message: { WorkerOffer: {} } });
    }),
    declineOffer: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: OfferedExchange) => ({ type: "decline", exchange }),
    ),
    accept: enqueueActions(({ context, self, enqueue }) => {
      const chosen = bestOffers(context);
      enqueue.assign({ accepting: Object.fromEntries(chosen.map((received) => [received.offer.id, received])) });
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
        const [peer, isSent] = [received?.from, answer.type === "request.failed" && !isUnsent(answer.error)];
        if (peer !== undefined && isSent) {
          enqueue.sendTo(context.parent, { type: "allocation.unanswered", peer, leaseId: id });
        }
        if (lease === undefined) return;
        enqueue.sendTo(context.parent, { type: "allocation.granted", class: context.descriptor.class, lease });
      },
    ),
    giveUpAnswers: assign({ accepting: {} }),
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
      enqueue.assign({ reportedAt: now });
      enqueue(() =>
        context.ports.report({
          level: "warn",
          event: "allocation.short",
          message: `Cannot find enough workers for ${context.descriptor.class}: ${have} of ${context.count} offer`,
          fields: { class: context.descriptor.class, have, needed: context.count, offers: context.offers.length },
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
      always: { guard: "hasEnough", target: "accepting" },
      after: {
        [offersInMs]: { guard: "hasLeast", target: "accepting" },
        [requestRepeatMs]: { target: "asking", actions: "reportShortage" },
      },
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
