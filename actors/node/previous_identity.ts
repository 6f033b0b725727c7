/**
 * A node's previous identity: the transport and the role that continue under the previous PeerID after the node's key was
 * replaced, until the work that was running at that time has ended.
 *
 * ```
 *  ──▶ working ── role over ──▶ settling ── drained ──▶ gone
 *         │                        ▲  (exchanges and circuits finish, idle connections are closed)
 *         └── time over ─▶ ending ─┘
 *                          (the role drains)
 * ```
 *
 * The time is `drainMs`, or the rest of the previous certificate's life where that is less; `previous.end` ends it at once.
 * Facts of the previous transport arrive here and are passed on to the previous role. Health is answered with yes, because
 * the node works. Refusals, refused acts and malformed requests are passed on to the parent.
 *
 * @module
 */
import { type ActorRef, assign, enqueueActions, sendTo, setup, type Snapshot } from "xstate";
import type { Rule } from "../../transport/authorization/authorize.ts";
import type { DrainAnswer, NodeIdentity, TransportFact } from "../../transport/port.ts";
import type { TrustSnapshot } from "../../pki/trust.ts";
import type { HasParent } from "../runtime/parent.ts";
import { type Ports, timerMaxMs } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import type { MemberConnected, RoleEvent, TransportRef } from "../runtime/role.ts";

/** A role's actor as its node sees it. */
export type RoleRef = ActorRef<Snapshot<unknown>, RoleEvent>;

/** The events that a previous identity sends to its parent. */
export type PreviousIdentityEvent = Extract<
  TransportFact,
  { type: "peer.refused" | "act.refused" | "request.malformed" }
>;

/** The input of a previous identity. */
export interface PreviousIdentityInput extends HasParent<PreviousIdentityEvent> {
  readonly ports: Ports;
  readonly transport: TransportRef;
  /** Undefined where the previous key had no role yet. */
  readonly role: RoleRef | undefined;
  readonly identity: NodeIdentity;
  /** How long running work may continue, in milliseconds. */
  readonly drainMs: number;
  /** How long the role may take to drain when the time is over, in milliseconds. */
  readonly leaveMs: number;
}

export interface PreviousIdentityContext extends PreviousIdentityInput {
  /** When the time is over, in milliseconds since the epoch. */
  readonly endsAt: number;
}

/** The events that a previous identity receives. */
export type PreviousIdentityCommand =
  | TransportFact
  | DrainAnswer
  | MemberConnected
  /** The previous role ended. */
  | { readonly type: "role.over" }
  /** The time is over now. */
  | { readonly type: "previous.end" }
  | { readonly type: "trust.changed"; readonly snapshot: TrustSnapshot }
  | { readonly type: "rules.changed"; readonly rules: readonly Rule[] };

/** A previous identity as its parent sees it. */
export type PreviousIdentityRef = ActorRef<Snapshot<unknown>, PreviousIdentityCommand>;

/** The transport closes its connections within this once their time is over, in milliseconds. */
export const settleMs = 5_000;

const health = "/hypha-health/0.0.1";
/** Revocation lists and checkpoints of audit logs are exchanged under the new key. */
const underNewKey: ReadonlySet<string> = new Set(["/hypha-crl/1", "/hypha-audit/1"]);

type Received = Extract<TransportFact, { type: "request.received" | "stream.received" }>;
type Passed =
  | MemberConnected
  | Extract<TransportFact, { type: "peer.established" | "peer.closed" | "authorization.changed" | "published" }>;
type PeerClosed = Extract<TransportFact, { type: "peer.closed" }>;

const remainingMs = ({ endsAt, ports }: PreviousIdentityContext): number => Math.max(0, endsAt - ports.now());
const isRoleActive = ({ role }: PreviousIdentityContext): boolean => role?.getSnapshot().status === "active";

/** The machine of a previous identity. */
export const previousIdentityMachine = setup({
  types: {
    input: {} as PreviousIdentityInput,
    context: {} as PreviousIdentityContext,
    events: {} as PreviousIdentityCommand,
  },
  guards: {
    hasNoRole: ({ context }) => context.role === undefined,
    isHealth: (_, { protocol }: Received) => protocol === health,
    isRoleActive: ({ context }) => isRoleActive(context),
    isUnderNewKey: (_, { protocol }: Received) => underNewKey.has(protocol),
  },
  actions: {
    passTrust: sendTo(
      ({ context }) => context.transport,
      (_, { snapshot }: { readonly snapshot: TrustSnapshot }) => ({ type: "trust.changed", snapshot }),
    ),
    passRules: sendTo(
      ({ context }) => context.transport,
      (_, { rules }: { readonly rules: readonly Rule[] }) => ({ type: "rules.changed", rules }),
    ),
    passToParent: sendTo(({ context }) => context.parent, (_, fact: PreviousIdentityEvent) => fact),
    passToRole: enqueueActions(({ context, enqueue }, fact: Passed) => {
      if (context.role !== undefined && isRoleActive(context)) enqueue.sendTo(context.role, fact);
    }),
    passRequest: sendTo(({ context }) => present(context.role, "the role"), (_, fact: Received) => fact),
    answerHealth: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: Received) => ({ type: "respond", exchange, message: { healthy: true } }),
    ),
    declineRequest: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: Received) => ({ type: "decline", exchange }),
    ),
    rejectStream: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: Received) => ({ type: "stream.reject", exchange }),
    ),
    retireRole: enqueueActions(({ context, enqueue }) => {
      if (context.role === undefined) return;
      enqueue.sendTo(context.role, { type: "role.retire", withinMs: remainingMs(context) });
    }),
    drainRole: enqueueActions(({ context: { role }, enqueue }) => {
      if (role !== undefined) enqueue.sendTo(role, { type: "role.drain", reason: "the node's key was replaced" });
    }),
    drainTransport: sendTo(({ context }) => context.transport, ({ context, self }) => ({
      type: "drain",
      graceMs: remainingMs(context),
      replyTo: self,
    })),
    endNow: assign({ endsAt: ({ context }) => Math.min(context.endsAt, context.ports.now()) }),
    cut: sendTo(({ context }) => context.transport, ({ self }) => ({ type: "drain", graceMs: 0, replyTo: self })),
    reportEnding: ({ context: { ports, identity } }) =>
      ports.report({
        level: "warn",
        event: "previous_identity.ending",
        message: `Work that was started as ${identity.peer} ends now: its time is over`,
        fields: { formerPeer: identity.peer, name: identity.name },
      }),
    reportClosed: ({ context: { ports, identity } }, { peer, identity: { name }, reason }: PeerClosed) =>
      ports.report({
        level: reason.type === "trust.changed" || reason.type === "expired" ? "warn" : "info",
        event: "previous_identity.closed",
        message: `Connection with ${name} (${peer}) as ${identity.peer} closed`,
        fields: { peer, name, reason: reason.type, formerPeer: identity.peer },
      }),
    reportGone: ({ context: { ports, identity } }) =>
      ports.report({
        level: "info",
        event: "previous_identity.gone",
        message: `All work that was started as ${identity.peer} has ended`,
        fields: { formerPeer: identity.peer, name: identity.name },
      }),
  },
  delays: {
    remaining: ({ context }) => Math.min(timerMaxMs, remainingMs(context)),
    leaveMs: ({ context }) => context.leaveMs,
    lastMs: ({ context }) => Math.min(timerMaxMs, remainingMs(context) + settleMs),
  },
}).createMachine({
  id: "previousIdentity",
  context: ({ input }) => ({
    ...input,
    endsAt: Math.min(input.ports.now() + input.drainMs, input.identity.notAfter.getTime()),
  }),
  initial: "working",
  on: {
    "trust.changed": { actions: { type: "passTrust", params: ({ event }) => event } },
    "rules.changed": { actions: { type: "passRules", params: ({ event }) => event } },
    "peer.refused": { actions: { type: "passToParent", params: ({ event }) => event } },
    "act.refused": { actions: { type: "passToParent", params: ({ event }) => event } },
    "request.malformed": { actions: { type: "passToParent", params: ({ event }) => event } },
    "request.received": [
      {
        guard: { type: "isHealth", params: ({ event }) => event },
        actions: { type: "answerHealth", params: ({ event }) => event },
      },
      {
        guard: { type: "isUnderNewKey", params: ({ event }) => event },
        actions: { type: "declineRequest", params: ({ event }) => event },
      },
      { guard: "isRoleActive", actions: { type: "passRequest", params: ({ event }) => event } },
      { actions: { type: "declineRequest", params: ({ event }) => event } },
    ],
    "stream.received": [
      { guard: "isRoleActive", actions: { type: "passRequest", params: ({ event }) => event } },
      { actions: { type: "rejectStream", params: ({ event }) => event } },
    ],
    "peer.established": { actions: { type: "passToRole", params: ({ event }) => event } },
    "peer.closed": {
      actions: [
        { type: "passToRole", params: ({ event }) => event },
        { type: "reportClosed", params: ({ event }) => event },
      ],
    },
    "authorization.changed": { actions: { type: "passToRole", params: ({ event }) => event } },
    published: { actions: { type: "passToRole", params: ({ event }) => event } },
    "member.connected": { actions: { type: "passToRole", params: ({ event }) => event } },
    // The transport cannot continue: all running work ends.
    "transport.failed": { target: ".ending" },
  },
  states: {
    working: {
      always: { guard: "hasNoRole", target: "settling" },
      entry: "retireRole",
      after: { remaining: { target: "ending", actions: "reportEnding" } },
      on: { "role.over": "settling", "previous.end": { target: "ending", actions: "endNow" } },
    },
    ending: {
      always: { guard: "hasNoRole", target: "settling" },
      entry: "drainRole",
      after: { leaveMs: "settling" },
      on: { "role.over": "settling" },
    },
    settling: {
      entry: "drainTransport",
      after: { lastMs: "gone" },
      on: { drained: "gone", "previous.end": { actions: "cut" } },
    },
    gone: { type: "final", entry: "reportGone" },
  },
});
