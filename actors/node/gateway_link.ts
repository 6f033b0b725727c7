/**
 * A node's link to one gateway. It dials until it is connected, and again after each loss, for as long as the node runs.
 *
 * ```
 *  ──▶ dialling ── dial.done ──▶ linked
 *        ▲  │                      │ peer.closed
 *        │  └── dial.failed ─▶ waiting ◀┘
 *        └──── backoff over ──────┘
 * ```
 *
 * A gateway whose key was replaced has another PeerID than the configuration names (`peer-id-mismatch`). The link reports
 * this and dials again at once by the address alone, where it takes any gateway that the gate accepts.
 *
 * Sends `link.up` and `link.down` to its parent. Gives up a dial that the transport does not answer in time
 * ({@linkcode dialTimeoutMs}), and ignores its late answer, whose number is not the newest.
 *
 * @module
 */
import { type ActorRef, assign, enqueueActions, sendTo, setup, type Snapshot } from "xstate";
import type { AddressText, CloseReason, DialAnswer, PeerText } from "../../transport/port.ts";
import type { Refusal } from "../../pki/refusal.ts";
import type { HasParent } from "../runtime/parent.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import { withoutPeer } from "../../transport/core/addresses.ts";
import { backoffMs } from "../runtime/backoff.ts";

/** A dial without an answer is given up after this, in milliseconds, or after the transport's own deadline, with a long limit for handshakes. */
export const dialTimeoutMs = 30_000;
/** The transport answers a dial within the limit for handshakes and some seconds; in milliseconds. */
const answerSlackMs = 10_000;
/** A link that lasts so long, in milliseconds, was not refused: its loss is the first failure again. */
export const steadyMs = 10_000;

/** The input of a link. */
export interface GatewayLinkInput extends HasParent<GatewayLinkEvent> {
  readonly address: AddressText;
  readonly transport: TransportRef;
  readonly ports: Ports;
  /** The transport's limit for handshakes, in milliseconds. */
  readonly handshakeTimeoutMs: number;
}

export interface GatewayLinkContext extends GatewayLinkInput {
  readonly dials: number;
  readonly failures: number;
  /** Links that ended before they were steady, since the last one that was. */
  readonly losses: number;
  readonly peer: PeerText | undefined;
  /** The address to dial: the configured one, or that without its PeerID. */
  readonly target: AddressText;
}

/** The events that a link receives. */
export type GatewayLinkCommand =
  | Dialled & { readonly type: "dial.done" }
  | DialFailed & { readonly type: "dial.failed" }
  | { readonly type: "peer.closed"; readonly peer: PeerText; readonly reason: CloseReason };

/** A gateway link as its parent sees it. */
export type GatewayLinkRef = ActorRef<Snapshot<unknown>, GatewayLinkCommand>;

/** The events that a link sends to its parent. */
export type GatewayLinkEvent =
  | { readonly type: "link.up"; readonly address: AddressText; readonly peer: PeerText }
  | { readonly type: "link.down"; readonly address: AddressText };

export interface Dialled {
  /** Number of the dial that this answers. */
  readonly dial: number;
  readonly peer: PeerText;
}
export interface DialFailed {
  readonly dial: number;
  readonly refusal: Refusal;
}

/** One gateway's link. */
export const gatewayLinkMachine = setup({
  types: {
    input: {} as GatewayLinkInput,
    context: {} as GatewayLinkContext,
    events: {} as GatewayLinkCommand,
  },
  guards: {
    isStale: ({ context }, { dial }: { readonly dial: number }) => dial !== context.dials,
    /** The address led to another key than it names. Without the PeerID the dial accepts that key. */
    isRekeyed: ({ context }, { refusal }: DialFailed) =>
      refusal.code === "peer-id-mismatch" && context.target !== withoutPeer(context.address),
    isOurGateway: ({ context }, { peer }: { readonly peer: PeerText }) => peer === context.peer,
  },
  delays: {
    backoff: ({ context }) => backoffMs(context.failures, context.ports.random()),
    dialTimeout: ({ context }) => Math.max(dialTimeoutMs, context.handshakeTimeoutMs + answerSlackMs),
  },
  actions: {
    dial: enqueueActions(({ context, self, enqueue }) => {
      const dial = context.dials + 1;
      enqueue.assign({ dials: dial });
      enqueue.sendTo(context.transport, {
        type: "dial",
        id: `gateway/${context.address}/${dial}`,
        target: { address: context.target },
        replyTo: answerAs(
          self,
          (answer: DialAnswer): GatewayLinkCommand =>
            answer.type === "dial.done"
              ? { type: "dial.done", dial, peer: answer.peer }
              : { type: "dial.failed", dial, refusal: answer.refusal },
        ),
      });
    }),
    dialAddressAlone: assign({ target: ({ context }) => withoutPeer(context.address) }),
    dialConfigured: assign({ target: ({ context }) => context.address }),
    takePeer: assign((_, { peer }: Dialled) => ({ failures: 0, peer })),
    countFailure: assign({ failures: ({ context }) => context.failures + 1 }),
    countLoss: assign(({ context: { losses } }) => ({ losses: losses + 1, failures: losses + 1 })),
    forgetLosses: assign({ losses: 0 }),
    sendUp: sendTo(({ context }) => context.parent, ({ context }) => ({
      type: "link.up",
      address: context.address,
      peer: present(context.peer, "the gateway's PeerID"),
    })),
    sendDown: sendTo(
      ({ context }) => context.parent,
      ({ context }) => ({ type: "link.down", address: context.address }),
    ),
    reportRekeyed: ({ context }, { refusal }: DialFailed) =>
      context.ports.report({
        level: "warn",
        event: "gateway.rekeyed",
        message: `Gateway ${context.address} has another key, dialling its address alone: ${refusal.message}`,
        fields: { address: context.address, code: refusal.code, hint: refusal.hint },
      }),
    reportUnreachable: ({ context }, { refusal }: { readonly refusal: Refusal | undefined }) =>
      context.ports.report({
        level: "warn",
        event: "gateway.unreachable",
        message: `Cannot reach gateway ${context.address}: ${refusal?.message ?? "the dial got no answer"}`,
        fields: {
          address: context.address,
          failures: context.failures,
          ...(refusal === undefined ? {} : { code: refusal.code, hint: refusal.hint }),
        },
      }),
  },
}).createMachine({
  id: "gatewayLink",
  context: ({ input }) => ({ ...input, dials: 0, failures: 0, losses: 0, peer: undefined, target: input.address }),
  initial: "dialling",
  states: {
    dialling: {
      entry: "dial",
      after: {
        dialTimeout: {
          target: "waiting",
          actions: ["countFailure", { type: "reportUnreachable", params: { refusal: undefined } }],
        },
      },
      on: {
        "dial.done": [
          { guard: { type: "isStale", params: ({ event }) => event } },
          { target: "linked", actions: { type: "takePeer", params: ({ event }) => event } },
        ],
        "dial.failed": [
          { guard: { type: "isStale", params: ({ event }) => event } },
          {
            guard: { type: "isRekeyed", params: ({ event }) => event },
            target: "dialling",
            reenter: true,
            actions: [{ type: "reportRekeyed", params: ({ event }) => event }, "dialAddressAlone"],
          },
          {
            target: "waiting",
            actions: ["countFailure", { type: "reportUnreachable", params: ({ event }) => event }],
          },
        ],
      },
    },
    linked: {
      entry: "sendUp",
      exit: "sendDown",
      // A gateway that refuses this node's certificate may do so after the handshake is over here.
      after: { [steadyMs]: { actions: "forgetLosses" } },
      on: {
        "peer.closed": {
          guard: { type: "isOurGateway", params: ({ event }) => event },
          target: "waiting",
          actions: "countLoss",
        },
      },
    },
    waiting: { entry: "dialConfigured", after: { backoff: "dialling" } },
  },
});
