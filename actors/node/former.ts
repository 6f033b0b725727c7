/**
 * What a node was under its former key: the transport and the role that speak as the former PeerID, until what they began
 * has ended.
 *
 * ```
 *  ──▶ working ── role over ──▶ settling ── drained ──▶ gone
 *         │                        ▲  (exchanges and circuits are let finish, idle connections end)
 *         └── time over ─▶ ending ─┘
 *                          (the role takes leave)
 * ```
 *
 * The time is `drainMs`, or what is left of the former certificate where that is less; `former.end` makes it over. Facts
 * of the former transport come here and go on to the former role; health is answered with yes, as the node works.
 * Refusals go on to the parent. `gone` says nothing: the parent hears that this actor is done.
 *
 * @module
 */
import { type ActorRef, assign, type EventObject, sendParent, sendTo, setup, type Snapshot } from "xstate";
import type { DrainAnswer, NodeIdentity, TransportFact } from "../../transport/port.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import { timerMaxMs } from "../gate/connection_gate.ts";
import type { Ports } from "../runtime/ports.ts";
import type { RoleEvent, TransportRef } from "../runtime/role.ts";

/** A role's actor, as its node sees it. */
export type RoleRef = ActorRef<Snapshot<unknown>, RoleEvent>;

/** What it is born with. */
export interface FormerInput {
  readonly ports: Ports;
  readonly transport: TransportRef;
  /** Undefined where the former key had no role yet. */
  readonly role: RoleRef | undefined;
  readonly identity: NodeIdentity;
  /** How long what was begun may go on, in milliseconds. */
  readonly drainMs: number;
  /** How long the role may take to take leave when the time is over, in milliseconds. */
  readonly leaveMs: number;
}

export interface FormerContext extends FormerInput {
  /** When the time is over, in milliseconds since the epoch. */
  readonly endsAt: number;
}

/** What it hears. */
export type FormerEvent =
  | TransportFact
  | DrainAnswer
  /** The former role ended. */
  | { readonly type: "role.over" }
  /** The time is over now. */
  | { readonly type: "former.end" }
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot };

/** The transport closes its connections within this once their time is over, in milliseconds. */
export const settleMs = 5_000;

const health = "/hypha-health/0.0.1";

const toRole = ({ role }: FormerContext): RoleRef => {
  if (role === undefined) throw new Error("Cannot tell the former role: there is none");
  return role;
};

const former = setup({
  types: { input: {} as FormerInput, context: {} as FormerContext, events: {} as FormerEvent },
  guards: {
    hasNoRole: ({ context }) => context.role === undefined,
    isHealth: (_, { protocol }: Extract<TransportFact, { type: "request.received" }>) => protocol === health,
  },
  actions: {
    passTrust: sendTo(
      ({ context }) => context.transport,
      (_, { snapshot }: { snapshot: TrustSnapshot }) => ({ type: "trust.changed", snapshot }),
    ),
    answerHealth: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: { exchange: string }) => ({ type: "respond", exchange, message: { healthy: true } }),
    ),
    declineRequest: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: { exchange: string }) => ({ type: "decline", exchange }),
    ),
    rejectStream: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: { exchange: string }) => ({ type: "stream.reject", exchange }),
    ),
    retireRole: sendTo(({ context }) => toRole(context), ({ context }) => ({
      type: "role.retire",
      withinMs: Math.max(0, context.endsAt - context.ports.now()),
    })),
    endRole: sendTo(({ context }) => toRole(context), { type: "role.drain", reason: "the node's key was replaced" }),
    settle: sendTo(({ context }) => context.transport, ({ context, self }) => ({
      type: "drain",
      graceMs: Math.max(0, context.endsAt - context.ports.now()),
      replyTo: self,
    })),
    hurry: assign({ endsAt: ({ context }) => Math.min(context.endsAt, context.ports.now()) }),
    cut: sendTo(({ context }) => context.transport, ({ self }) => ({ type: "drain", graceMs: 0, replyTo: self })),
    reportTimeOver: ({ context: { ports, identity } }) =>
      ports.report({
        level: "warn",
        event: "former.ending",
        message: `What was begun as ${identity.peer} ends now: the time for it is over`,
        fields: { formerPeer: identity.peer, name: identity.name },
      }),
    reportGone: ({ context: { ports, identity } }) =>
      ports.report({
        level: "info",
        event: "former.gone",
        message: `Nothing goes on as ${identity.peer} any more`,
        fields: { formerPeer: identity.peer, name: identity.name },
      }),
  },
  delays: {
    remaining: ({ context }) => Math.min(timerMaxMs, Math.max(0, context.endsAt - context.ports.now())),
    leaveMs: ({ context }) => context.leaveMs,
    lastMs: ({ context }) => Math.min(timerMaxMs, Math.max(0, context.endsAt - context.ports.now()) + settleMs),
  },
});

/** A fact goes on to the role; what only the role could answer gets no once it is over. */
const forward = former.enqueueActions(({ context, event, enqueue }) => {
  if (context.role?.getSnapshot().status === "active") enqueue.sendTo(context.role, event as RoleEvent & EventObject);
  else if (event.type === "request.received") enqueue({ type: "declineRequest", params: event });
  else if (event.type === "stream.received") enqueue({ type: "rejectStream", params: event });
});

/** The machine of a former key. */
export const formerMachine = former.createMachine({
  id: "former",
  context: ({ input }) => ({
    ...input,
    endsAt: Math.min(input.ports.now() + input.drainMs, input.identity.notAfter.getTime()),
  }),
  initial: "working",
  on: {
    "trust.changed": { actions: { type: "passTrust", params: ({ event }) => ({ snapshot: event.snapshot }) } },
    "peer.refused": { actions: sendParent(({ event }) => event) },
    "request.malformed": { actions: sendParent(({ event }) => event) },
    "request.received": [
      {
        guard: { type: "isHealth", params: ({ event }) => event },
        actions: { type: "answerHealth", params: ({ event }) => ({ exchange: event.exchange }) },
      },
      { actions: forward },
    ],
    "stream.received": { actions: forward },
    "peer.established": { actions: forward },
    "peer.closed": {
      actions: [
        forward,
        ({ context: { ports, identity }, event }) =>
          ports.report({
            level: event.reason.type === "trust.changed" || event.reason.type === "expired" ? "warn" : "info",
            event: "former.closed",
            message: `Connection with ${event.identity.name} (${event.peer}) as ${identity.peer} closed`,
            fields: {
              peer: event.peer,
              name: event.identity.name,
              reason: event.reason.type,
              formerPeer: identity.peer,
            },
          }),
      ],
    },
    published: { actions: forward },
    // It cannot go on: whatever was begun ends.
    "transport.failed": { target: ".ending" },
  },
  states: {
    working: {
      always: { guard: "hasNoRole", target: "settling" },
      entry: former.enqueueActions(({ context, enqueue }) => {
        if (context.role !== undefined) enqueue("retireRole");
      }),
      after: { remaining: { target: "ending", actions: "reportTimeOver" } },
      on: { "role.over": "settling", "former.end": { target: "ending", actions: "hurry" } },
    },
    ending: {
      always: { guard: "hasNoRole", target: "settling" },
      entry: former.enqueueActions(({ context, enqueue }) => {
        if (context.role !== undefined) enqueue("endRole");
      }),
      after: { leaveMs: "settling" },
      on: { "role.over": "settling" },
    },
    settling: {
      entry: "settle",
      after: { lastMs: "gone" },
      on: { drained: "gone", "former.end": { actions: "cut" } },
    },
    gone: { type: "final", entry: "reportGone" },
  },
});
