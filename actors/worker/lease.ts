/**
 * A lease as its giver keeps it: one holder, ten seconds of life, renewed by the holder alone.
 *
 * ```
 *          lease.renew by the holder (ten seconds anew)
 *            ┌──┐
 *            ▼  │
 *  ────────▶ held ──── life over ───▶ lapsed
 *            │  │
 *            │  └── lease.renew by another: refused, nothing changes
 *            └───── lease.end ──────▶ ended
 * ```
 *
 * Says to its parent `lease.renewed` or `lease.refused` for each `lease.renew`, and `lease.over` once, before it ends.
 *
 * @module
 */
import { assign, enqueueActions, sendParent, setup } from "xstate";
import type { PeerText } from "../../transport/port.ts";
import type { Uuid } from "../../transport/protocols/messages.ts";

/** A lease lives this long unless it is renewed, in milliseconds (`docs/wire.md`, "Allocation"). */
export const leaseLifeMs = 10_000;

/** What a lease is born with. */
export interface LeaseInput {
  readonly id: Uuid;
  readonly holder: PeerText;
  readonly lifeMs: number;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
}

export interface LeaseContext extends LeaseInput {
  readonly endsAt: number;
}

/** What a lease hears. */
export type LeaseEvent =
  | { readonly type: "lease.renew"; readonly peer: PeerText; readonly exchange: string }
  | { readonly type: "lease.end"; readonly reason: string };

/** What a lease says to its parent. */
export type LeaseSaid =
  | { readonly type: "lease.renewed"; readonly id: Uuid; readonly exchange: string; readonly endsAt: number }
  | { readonly type: "lease.refused"; readonly id: Uuid; readonly exchange: string; readonly peer: PeerText }
  | { readonly type: "lease.over"; readonly id: Uuid; readonly how: "lapsed" | "ended"; readonly reason: string };

/** The giver's side of one lease. */
export const leaseMachine = setup({
  types: {
    input: {} as LeaseInput,
    context: {} as LeaseContext,
    events: {} as LeaseEvent,
  },
  guards: {
    isHolder: ({ context }, params: { readonly peer: PeerText }) => params.peer === context.holder,
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
            guard: { type: "isHolder", params: ({ event }) => ({ peer: event.peer }) },
            target: "held",
            reenter: true,
            actions: enqueueActions(({ context, event, enqueue }) => {
              const endsAt = context.now() + context.lifeMs;
              enqueue(assign({ endsAt }));
              enqueue.sendParent({ type: "lease.renewed", id: context.id, exchange: event.exchange, endsAt });
            }),
          },
          {
            actions: sendParent(({ context, event }) => ({
              type: "lease.refused",
              id: context.id,
              exchange: event.exchange,
              peer: event.peer,
            })),
          },
        ],
        "lease.end": {
          target: "ended",
          actions: sendParent(({ context, event }) => ({
            type: "lease.over",
            id: context.id,
            how: "ended",
            reason: event.reason,
          })),
        },
      },
    },
    lapsed: {
      type: "final",
      entry: sendParent(({ context }) => ({
        type: "lease.over",
        id: context.id,
        how: "lapsed",
        reason: "its holder did not renew it in time",
      })),
    },
    ended: { type: "final" },
  },
});
