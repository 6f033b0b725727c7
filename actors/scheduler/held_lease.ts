/**
 * A lease as its holder keeps it: renewed when two thirds of what is left are over, until it is released or lost.
 *
 * ```
 *  ──▶ holding ── two thirds over ──▶ renewing ── Renewed ──▶ holding
 *         ▲                              │  │
 *         │                   no answer  │  └── Failed ──▶ lost
 *         └─────────── retrying ◀────────┘
 *                          └── life over ──▶ lost
 * ```
 *
 * `held.release` ends it from every state: nothing is sent, the giver lets it lapse. Says `held.lost` to its parent, once.
 *
 * @module
 */
import { assign, enqueueActions, sendParent, setup } from "xstate";
import type { PeerText, RequestAnswer } from "../../transport/port.ts";
import type { Instant, Uuid } from "../../transport/protocols/messages.ts";
import type { Ports } from "../runtime/ports.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import { leaseLifeMs } from "../worker/lease.ts";
import { msFromInstant } from "../runtime/instant.ts";

/** Between two tries of a renewal that got no answer, in milliseconds. */
export const renewalRetryMs = 500;
/** A renewal is answered within this, in milliseconds: several fit into what is left of a lease. */
export const renewalTimeoutMs = 2_000;
/** A giver's end of lease that is further away than this by our clock tells of a clock astray, in milliseconds. */
const leaseLeftMaxMs = 60_000;

/** What the holder's side of a lease is born with. */
export interface HeldLeaseInput {
  readonly id: Uuid;
  readonly giver: PeerText;
  /** The end of the lease, by the giver's clock. */
  readonly timeout: Instant;
  readonly transport: TransportRef;
  readonly ports: Ports;
}

export interface HeldLeaseContext extends HeldLeaseInput {
  /** The end of the lease, in milliseconds since the epoch by the clock here. */
  readonly endsAt: number;
  readonly tries: number;
}

/** What the holder's side of a lease hears. */
export type HeldLeaseEvent =
  | { readonly type: "renewal.answered"; readonly answer: RequestAnswer }
  | { readonly type: "held.release" };

/** What it says to its parent. */
export type HeldLeaseSaid = {
  readonly type: "held.lost";
  readonly id: Uuid;
  readonly giver: PeerText;
  readonly reason: string;
};

/**
 * What is left of a lease, in milliseconds. The giver's clock need not agree with ours: an end that is past, or further away
 * than any lease lives, is taken for a full life from now.
 */
export function leaseLeftMs(timeout: Instant, now: number): number {
  const left = msFromInstant(timeout) - now;
  return left > 0 && left <= leaseLeftMaxMs ? left : leaseLifeMs;
}

/** The end of the renewed lease, where the answer says so. */
function renewedUntil(answer: RequestAnswer): Instant | undefined {
  if (answer.type !== "response" || !("RenewLease" in answer.message)) return undefined;
  const renewal = answer.message.RenewLease;
  return typeof renewal === "object" && "Renewed" in renewal ? renewal.Renewed.timeout : undefined;
}

/** The holder's side of one lease. */
export const heldLeaseMachine = setup({
  types: {
    input: {} as HeldLeaseInput,
    context: {} as HeldLeaseContext,
    events: {} as HeldLeaseEvent,
  },
  guards: {
    isRenewed: (_, params: { readonly answer: RequestAnswer }) => renewedUntil(params.answer) !== undefined,
    isUnanswered: (_, params: { readonly answer: RequestAnswer }) => params.answer.type === "request.failed",
    isOver: ({ context }) => context.ports.now() >= context.endsAt,
  },
  delays: {
    untilRenewal: ({ context }) => Math.max(0, Math.round((context.endsAt - context.ports.now()) * (2 / 3))),
    untilEnd: ({ context }) => Math.max(0, context.endsAt - context.ports.now()),
    retry: renewalRetryMs,
  },
}).createMachine({
  id: "heldLease",
  context: ({ input }) => ({
    ...input,
    endsAt: input.ports.now() + leaseLeftMs(input.timeout, input.ports.now()),
    tries: 0,
  }),
  initial: "holding",
  on: { "held.release": ".released" },
  states: {
    holding: { after: { untilRenewal: "renewing" } },
    renewing: {
      entry: enqueueActions(({ context, self, enqueue }) => {
        const tries = context.tries + 1;
        enqueue(assign({ tries }));
        enqueue.sendTo(context.transport, {
          type: "request",
          id: `renew/${context.id}/${tries}`,
          peer: context.giver,
          protocol: "/hypha-api/0.0.1",
          message: { RenewLease: { id: context.id } },
          timeoutMs: renewalTimeoutMs,
          replyTo: answerAs(self, (answer: RequestAnswer): HeldLeaseEvent => ({ type: "renewal.answered", answer })),
        });
      }),
      after: { untilEnd: "lost" },
      on: {
        "renewal.answered": [
          {
            guard: { type: "isRenewed", params: ({ event }) => ({ answer: event.answer }) },
            target: "holding",
            actions: assign({
              endsAt: ({ context, event }) => {
                const timeout = renewedUntil(event.answer);
                const now = context.ports.now();
                return timeout === undefined ? context.endsAt : now + leaseLeftMs(timeout, now);
              },
            }),
          },
          { guard: { type: "isUnanswered", params: ({ event }) => ({ answer: event.answer }) }, target: "retrying" },
          { target: "lost" },
        ],
      },
    },
    retrying: {
      // The lease's own end is never outwaited: what is left may be less than the pause.
      after: {
        retry: [{ guard: "isOver", target: "lost" }, { target: "renewing" }],
        untilEnd: "lost",
      },
    },
    lost: {
      type: "final",
      entry: sendParent(({ context }) => ({
        type: "held.lost",
        id: context.id,
        giver: context.giver,
        reason: context.ports.now() >= context.endsAt ? "its renewals got no answer" : "its giver ended it",
      })),
    },
    released: { type: "final" },
  },
});
