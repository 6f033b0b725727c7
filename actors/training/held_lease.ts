/**
 * The holder's side of a lease: renews it after two thirds of its remaining life, until it is released or lost.
 *
 * ```
 *  ──▶ holding ── two thirds over ──▶ renewing ── Renewed ──▶ holding
 *         ▲                              │  │
 *         │                   no answer  │  └── Failed ──▶ lost
 *         └─────────── retrying ◀────────┘
 *                          └── life over ──▶ lost
 * ```
 *
 * `held.release` ends it from every state; the scheduler sends the giver a message of its own (`releasing.ts`). Sends `held.lost` to
 * its parent, once.
 *
 * @module
 */
import { assign, enqueueActions, sendTo, setup } from "xstate";
import type { Member } from "../../pki/member.ts";
import type { PeerText, RequestAnswer } from "../../transport/port.ts";
import type { Instant, RenewedLease, TrainingRun, Uuid } from "../../transport/protocols/messages.ts";
import type { HasParent } from "../runtime/parent.ts";
import { monotonicNow, type Ports } from "../runtime/ports.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import { leaseLifeMs } from "../worker/lease.ts";
import { renewalOf } from "./allocation.ts";
import { msFromInstant } from "../runtime/instant.ts";

/** Pause after a renewal without an answer, in milliseconds. */
export const renewalRetryMs = 500;
/** A renewal is answered within this, in milliseconds: several tries fit into the remaining life of a lease. */
export const renewalTimeoutMs = 2_000;
/** A lease that was given or renewed a moment ago lives between these, in milliseconds: else the clocks differ. */
const leaseLeftMinMs = 2_000, leaseLeftMaxMs = 12_000;

/** The input of the holder's side of a lease. */
export interface HeldLeaseInput extends HasParent<HeldLeaseEvent> {
  readonly id: Uuid;
  readonly giver: PeerText;
  /** What the giver's certificate proved when it offered. */
  readonly member: Member;
  /** The end of the lease, by the giver's clock. */
  readonly timeout: Instant;
  /** The run that it is for. */
  readonly training?: TrainingRun | undefined;
  readonly transport: TransportRef;
  readonly ports: Ports;
}

export interface HeldLeaseContext extends HeldLeaseInput {
  /** The end of the lease, by the monotonic clock here (`monotonicNow`). */
  readonly endsAt: number;
  /**
   * When the executor of its job last used its bridge, as the giver claims with each renewal, by the monotonic
   * clock here. Undefined where no giver named one.
   */
  readonly usedAt: number | undefined;
  readonly tries: number;
}

/** The events that the holder's side of a lease receives. */
export type HeldLeaseCommand =
  | { readonly type: "renewal.answered"; readonly answer: RequestAnswer }
  | { readonly type: "held.release" };

/** The event that it sends to its parent. */
export type HeldLeaseEvent = {
  readonly type: "held.lost";
  readonly id: Uuid;
  readonly giver: PeerText;
  readonly reason: string;
};

/**
 * The remaining life of a lease that was given or renewed a moment ago, in milliseconds. The clocks of giver and holder may differ: an
 * end that is nearer or further away than that of any such lease counts as a full life from now.
 */
export function leaseLeftMs(timeout: Instant, now: number): number {
  const left = msFromInstant(timeout) - now;
  return left >= leaseLeftMinMs && left <= leaseLeftMaxMs ? left : leaseLifeMs;
}

/** The renewed lease; undefined where the answer is no renewal. */
function renewedOf(answer: RequestAnswer): RenewedLease | undefined {
  if (answer.type !== "response" || !("RenewLease" in answer.message)) return undefined;
  const renewal = answer.message.RenewLease;
  return typeof renewal === "object" && "Renewed" in renewal ? renewal.Renewed : undefined;
}

export interface Answered {
  readonly answer: RequestAnswer;
}

/** The holder's side of one lease. */
export const heldLeaseMachine = setup({
  types: {
    input: {} as HeldLeaseInput,
    context: {} as HeldLeaseContext,
    events: {} as HeldLeaseCommand,
  },
  guards: {
    isRenewed: (_, { answer }: Answered) => renewedOf(answer) !== undefined,
    isUnanswered: (_, { answer }: Answered) => answer.type === "request.failed",
    isOver: ({ context }) => monotonicNow(context.ports) >= context.endsAt,
  },
  actions: {
    renew: enqueueActions(({ context, self, enqueue }) => {
      const tries = context.tries + 1;
      enqueue.assign({ tries });
      enqueue.sendTo(context.transport, {
        type: "request",
        id: `renew/${context.id}/${tries}`,
        peer: context.giver,
        to: { member: context.member },
        protocol: "/hypha-api/0.0.1",
        message: { RenewLease: renewalOf(context.id, context.training) },
        timeoutMs: renewalTimeoutMs,
        replyTo: answerAs(self, (answer: RequestAnswer): HeldLeaseCommand => ({ type: "renewal.answered", answer })),
      });
    }),
    takeRenewal: assign(({ context: { ports, usedAt } }, { answer }: Answered) => {
      const renewed = renewedOf(answer);
      if (renewed === undefined) return {};
      const now = monotonicNow(ports), { timeout, idle } = renewed;
      return {
        endsAt: now + leaseLeftMs(timeout, ports.now()),
        usedAt: idle === undefined ? usedAt : now - idle * 1_000,
      };
    }),
    sendLost: sendTo(({ context }) => context.parent, ({ context }) => ({
      type: "held.lost",
      id: context.id,
      giver: context.giver,
      reason: monotonicNow(context.ports) >= context.endsAt ? "its renewals got no answer" : "its giver ended it",
    })),
  },
  delays: {
    untilRenewal: ({ context }) => Math.max(0, Math.round((context.endsAt - monotonicNow(context.ports)) * (2 / 3))),
    untilEnd: ({ context }) => Math.max(0, context.endsAt - monotonicNow(context.ports)),
    retry: renewalRetryMs,
  },
}).createMachine({
  id: "heldLease",
  context: ({ input }) => ({
    ...input,
    endsAt: monotonicNow(input.ports) + leaseLeftMs(input.timeout, input.ports.now()),
    usedAt: undefined,
    tries: 0,
  }),
  initial: "holding",
  on: { "held.release": ".released" },
  states: {
    holding: { after: { untilRenewal: "renewing" } },
    renewing: {
      entry: "renew",
      after: { untilEnd: "lost" },
      on: {
        "renewal.answered": [
          {
            guard: { type: "isRenewed", params: ({ event }) => event },
            target: "holding",
            actions: { type: "takeRenewal", params: ({ event }) => event },
          },
          { guard: { type: "isUnanswered", params: ({ event }) => event }, target: "retrying" },
          { target: "lost" },
        ],
      },
    },
    retrying: {
      // The remaining life may be shorter than the pause: the lease's own end counts.
      after: {
        retry: [{ guard: "isOver", target: "lost" }, { target: "renewing" }],
        untilEnd: "lost",
      },
    },
    lost: { type: "final", entry: "sendLost" },
    released: { type: "final" },
  },
});
