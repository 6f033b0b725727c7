/**
 * A node's tie to one gateway: dialled until it stands, and again whenever it is lost, for as long as the node runs.
 *
 * ```
 *  ──▶ dialling ── dial.done ──▶ linked
 *        ▲  │                      │ peer.closed
 *        │  └── dial.failed ─▶ waiting ◀┘
 *        └──── backoff over ──────┘
 * ```
 *
 * A gateway whose key was replaced is not whom the configuration names (`peer-id-mismatch`): it is dialled again at once at
 * its address alone, where any gateway that the gate lets in will do, and that is said.
 *
 * Says `link.up` and `link.down` to its parent. A dial that the transport never answers is given up after
 * {@linkcode dialTimeoutMs}; its late answer is ignored, as its id is not the newest.
 *
 * @module
 */
import { assign, enqueueActions, sendParent, setup } from "xstate";
import type { AddressText, CloseReason, DialAnswer, PeerText } from "../../transport/port.ts";
import type { Refusal } from "../../pki/refusal.ts";
import type { Ports } from "../runtime/ports.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import { withoutPeer } from "../../transport/core/addresses.ts";
import { backoffMs } from "../runtime/backoff.ts";

/** A dial that got no answer is given up after this, in milliseconds: above every deadline of the transport's. */
export const dialTimeoutMs = 30_000;

/** What a link is born with. */
export interface GatewayLinkInput {
  readonly address: AddressText;
  readonly transport: TransportRef;
  readonly ports: Ports;
}

export interface GatewayLinkContext extends GatewayLinkInput {
  readonly dials: number;
  readonly failures: number;
  readonly peer: PeerText | undefined;
  /** What is dialled: the configured address, or that without its PeerID. */
  readonly target: AddressText;
}

/** What a link hears. */
export type GatewayLinkEvent =
  | { readonly type: "dial.answered"; readonly dial: number; readonly answer: DialAnswer }
  | { readonly type: "peer.closed"; readonly peer: PeerText; readonly reason: CloseReason };

/** What a link says to its parent. */
export type GatewayLinkSaid =
  | { readonly type: "link.up"; readonly address: AddressText; readonly peer: PeerText }
  | { readonly type: "link.down"; readonly address: AddressText };

export interface Answered {
  readonly dial: number;
  readonly answer: DialAnswer;
}

/** One gateway's link. */
export const gatewayLinkMachine = setup({
  types: {
    input: {} as GatewayLinkInput,
    context: {} as GatewayLinkContext,
    events: {} as GatewayLinkEvent,
  },
  guards: {
    isStale: ({ context }, params: Answered) => params.dial !== context.dials,
    isDone: (_, params: Answered) => params.answer.type === "dial.done",
    /** The address led to another key than it names; without the name it leads there. */
    isRekeyed: ({ context }, { answer }: Answered) =>
      answer.type === "dial.failed" && answer.refusal.code === "peer-id-mismatch" &&
      context.target !== withoutPeer(context.address),
    isOurGateway: ({ context }, params: { readonly peer: PeerText }) => params.peer === context.peer,
  },
  delays: {
    backoff: ({ context }) => backoffMs(context.failures, context.ports.random()),
  },
  actions: {
    nameNobody: assign({ target: ({ context }) => withoutPeer(context.address) }),
    nameAgain: assign({ target: ({ context }) => context.address }),
    reportRekeyed: ({ context }, { answer }: Answered) => {
      if (answer.type !== "dial.failed") return;
      context.ports.report({
        level: "warn",
        event: "gateway.rekeyed",
        message: `Gateway ${context.address} has another key, dialling its address alone: ${answer.refusal.message}`,
        fields: { address: context.address, code: answer.refusal.code, hint: answer.refusal.hint },
      });
    },
    reportUnreachable: ({ context }, params: { readonly refusal: Refusal | undefined }) =>
      context.ports.report({
        level: "warn",
        event: "gateway.unreachable",
        message: `Cannot reach gateway ${context.address}: ${params.refusal?.message ?? "the dial got no answer"}`,
        fields: {
          address: context.address,
          failures: context.failures,
          ...(params.refusal === undefined ? {} : { code: params.refusal.code, hint: params.refusal.hint }),
        },
      }),
  },
}).createMachine({
  id: "gatewayLink",
  context: ({ input }) => ({ ...input, dials: 0, failures: 0, peer: undefined, target: input.address }),
  initial: "dialling",
  states: {
    dialling: {
      entry: enqueueActions(({ context, self, enqueue }) => {
        const dial = context.dials + 1;
        enqueue(assign({ dials: dial }));
        enqueue.sendTo(context.transport, {
          type: "dial",
          id: `gateway/${context.address}/${dial}`,
          target: { address: context.target },
          replyTo: answerAs(
            self,
            (answer: DialAnswer): GatewayLinkEvent => ({ type: "dial.answered", dial, answer }),
          ),
        });
      }),
      after: {
        [dialTimeoutMs]: {
          target: "waiting",
          actions: [
            assign({ failures: ({ context }) => context.failures + 1 }),
            { type: "reportUnreachable", params: { refusal: undefined } },
          ],
        },
      },
      on: {
        "dial.answered": [
          { guard: { type: "isStale", params: ({ event }) => event } },
          {
            guard: { type: "isDone", params: ({ event }) => event },
            target: "linked",
            actions: assign({
              failures: 0,
              peer: ({ context, event }) => event.answer.type === "dial.done" ? event.answer.peer : context.peer,
            }),
          },
          {
            guard: { type: "isRekeyed", params: ({ event }) => event },
            target: "dialling",
            reenter: true,
            actions: [{ type: "reportRekeyed", params: ({ event }) => event }, "nameNobody"],
          },
          {
            target: "waiting",
            actions: [
              assign({ failures: ({ context }) => context.failures + 1 }),
              {
                type: "reportUnreachable",
                params: ({ event }) => ({
                  refusal: event.answer.type === "dial.failed" ? event.answer.refusal : undefined,
                }),
              },
            ],
          },
        ],
      },
    },
    linked: {
      entry: sendParent(({ context }) => ({ type: "link.up", address: context.address, peer: context.peer })),
      exit: sendParent(({ context }) => ({ type: "link.down", address: context.address })),
      on: {
        "peer.closed": {
          guard: { type: "isOurGateway", params: ({ event }) => ({ peer: event.peer }) },
          target: "waiting",
          actions: assign({ failures: 1 }),
        },
      },
    },
    waiting: { entry: "nameAgain", after: { backoff: "dialling" } },
  },
});
