/**
 * The giver's side of a lease: one holder, ten seconds of life, renewed by the holder alone.
 *
 * ```
 *          lease.renew by the holder (another ten seconds)
 *            ┌──┐
 *            ▼  │
 *  ────────▶ held ──── life over ───▶ lapsed
 *            │  │
 *            │  └── lease.renew by another peer: refused, the lease stays as it is
 *            └───── lease.end ──────▶ ended
 * ```
 *
 * Sends its parent `lease.renewed` or `lease.refused` for each `lease.renew`, and `lease.over` once, before it ends.
 *
 * @module
 */
import { type ActorRef, enqueueActions, sendTo, setup, type Snapshot } from "xstate";
import type { Member } from "../../pki/member.ts";
import type { PeerText } from "../../transport/port.ts";
import type { Uuid } from "../../transport/protocols/messages.ts";
import type { HasParent } from "../runtime/parent.ts";

/** A lease lives this long unless it is renewed, in milliseconds (`docs/wire.md`, "Allocation"). */
export const leaseLifeMs = 10_000;

/** The input of the giver's side of a lease. */
export interface LeaseInput extends HasParent<LeaseEvent> {
  readonly id: Uuid;
  readonly holder: Member;
  readonly lifeMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface LeaseContext extends LeaseInput {
  readonly endsAt: number;
}

/** A renewal that a peer asked for, and the exchange that waits for the answer. */
export interface RenewalAsked {
  readonly peer: PeerText;
  /** What the certificate of the connection proved that the request came in on. */
  readonly member: Member;
  readonly exchange: string;
}

/** The events that a lease receives. */
export type LeaseCommand =
  | RenewalAsked & { readonly type: "lease.renew" }
  | { readonly type: "lease.end"; readonly reason: string };

/** The events that a lease sends to its parent. */
export type LeaseEvent =
  | { readonly type: "lease.renewed"; readonly id: Uuid; readonly exchange: string; readonly endsAt: number }
  | { readonly type: "lease.refused"; readonly id: Uuid; readonly exchange: string; readonly peer: PeerText }
  | { readonly type: "lease.over"; readonly id: Uuid; readonly how: "lapsed" | "ended"; readonly reason: string };

/** A lease as its parent sees it. */
export type LeaseRef = ActorRef<Snapshot<unknown>, LeaseCommand>;

/** The giver's side of one lease. */
export const leaseMachine = setup({
  types: {
    input: {} as LeaseInput,
    context: {} as LeaseContext,
    events: {} as LeaseCommand,
  },
  guards: {
    isHolder: ({ context }, { member }: RenewalAsked) => member === context.holder,
  },
  actions: {
    renew: enqueueActions(({ context, enqueue }, { exchange }: RenewalAsked) => {
      const endsAt = context.now() + context.lifeMs;
      enqueue.assign({ endsAt });
      enqueue.sendTo(context.parent, { type: "lease.renewed", id: context.id, exchange, endsAt });
    }),
    refuse: sendTo(
      ({ context }) => context.parent,
      ({ context }, { peer, exchange }: RenewalAsked) => ({ type: "lease.refused", id: context.id, exchange, peer }),
    ),
    sendOver: sendTo(
      ({ context }) => context.parent,
      ({ context }, { how, reason }: { readonly how: "lapsed" | "ended"; readonly reason: string }) => ({
        type: "lease.over",
        id: context.id,
        how,
        reason,
      }),
    ),
  },
  delays: { life: ({ context }) => context.lifeMs },
}).createMachine({
  id: "lease",
  context: ({ input }) => ({ ...input, endsAt: input.now() + input.lifeMs }),
  initial: "held",
  states: {
    held: {
      after: { life: "lapsed" },
      on: {
        "lease.renew": [
          {
            guard: { type: "isHolder", params: ({ event }) => event },
            target: "held",
            reenter: true,
            actions: { type: "renew", params: ({ event }) => event },
          },
          { actions: { type: "refuse", params: ({ event }) => event } },
        ],
        "lease.end": {
          target: "ended",
          actions: { type: "sendOver", params: ({ event }) => ({ how: "ended", reason: event.reason }) },
        },
      },
    },
    lapsed: {
      type: "final",
      entry: { type: "sendOver", params: { how: "lapsed", reason: "its holder did not renew it in time" } },
    },
    ended: { type: "final" },
  },
});
