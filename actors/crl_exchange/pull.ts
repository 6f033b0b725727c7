/**
 * One list, pulled from one peer in pieces into a file aside.
 *
 * ```
 *  asking ── a piece ──▶ storing ── more is missing ──▶ asking
 *    │                      └── all is there ──▶ ended (whole)
 *    └── no piece, a wrong piece, the deadline, pull.stop ──▶ ended
 * ```
 *
 * @module
 */
import { type ActorRef, assign, enqueueActions, sendTo, setup, type Snapshot } from "xstate";
import type { PeerText, RequestAnswer } from "../../transport/port.ts";
import type { CrlNotice } from "../../transport/protocols/messages.ts";
import { crlPieceBytesMax } from "../../transport/protocols/mod.ts";
import { addPiece } from "../files/arriving_crls.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { HasParent } from "../runtime/parent.ts";
import type { Ports } from "../runtime/ports.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import type { PullEnd } from "./wants.ts";

/** The input of a pull. */
export interface PullInput extends HasParent<PullEvent> {
  readonly ports: Ports;
  readonly transport: TransportRef;
  readonly stateDir: string;
  readonly peer: PeerText;
  readonly notice: CrlNotice;
  /** Bytes that are there already. */
  readonly offset: number;
  /** In milliseconds. */
  readonly deadlineMs: number;
}

/** What a pull tells its parent. */
export type PullEvent =
  | { readonly type: "pull.progressed"; readonly sha256: string; readonly offset: number }
  | {
    readonly type: "pull.ended";
    readonly sha256: string;
    readonly peer: PeerText;
    readonly end: PullEnd;
    readonly detail: string;
  };

/** A pull as its parent sees it. */
export type PullRef = ActorRef<Snapshot<unknown>, { readonly type: "pull.stop" }>;

/** What a pull knows. */
export interface PullContext extends PullInput {
  /** The piece that arrived. */
  readonly piece: Uint8Array;
  readonly end: PullEnd;
  readonly detail: string;
}

/** What a pull receives. */
export type PullCommand =
  | { readonly type: "pull.stop" }
  | { readonly type: "piece"; readonly bytes: Uint8Array }
  | { readonly type: "piece.missing"; readonly end: PullEnd; readonly detail: string }
  | EventsOf<typeof actors>;

const actors = {
  addPiece: fromEffect(
    "addPiece",
    ({ stateDir, ...piece }: EffectInput & { stateDir: string; sha256: string; offset: number; bytes: Uint8Array }) =>
      addPiece(stateDir, piece),
  ),
};

const wantedBytes = ({ notice: { size }, offset }: PullContext) => Math.min(crlPieceBytesMax, size - offset);
const requestId = ({ notice, peer }: PullContext) => `crl/${notice.sha256}/${peer}`;

function pieceOf(answer: RequestAnswer): PullCommand {
  if (answer.type === "request.failed") {
    const { code, message: detail } = answer.error;
    return { type: "piece.missing", end: code === "timed-out" ? "late" : "unanswered", detail };
  }
  const { message } = answer;
  return "Piece" in message
    ? { type: "piece", bytes: message.Piece }
    : { type: "piece.missing", end: "useless", detail: "no piece" };
}

/** One pull. */
export const pullMachine = setup({
  types: { input: {} as PullInput, context: {} as PullContext, events: {} as PullCommand },
  actors,
  guards: {
    isWhole: ({ context }) => context.offset >= context.notice.size,
    isTooLong: ({ context }, { bytes }: { readonly bytes: Uint8Array }) => bytes.length > wantedBytes(context),
    isFull: ({ context }, { bytes }: { readonly bytes: Uint8Array }) => bytes.length === wantedBytes(context),
  },
  delays: { deadline: ({ context }) => context.deadlineMs },
  actions: {
    ask: sendTo(({ context }) => context.transport, ({ context, self }) => ({
      type: "request",
      id: requestId(context),
      peer: context.peer,
      dial: "never" as const,
      protocol: "/hypha-crl/1" as const,
      message: { Pull: { sha256: context.notice.sha256, offset: context.offset } },
      timeoutMs: Math.ceil(context.deadlineMs),
      replyTo: answerAs(self, pieceOf),
    })),
    giveUp: sendTo(({ context }) => context.transport, ({ context }) => ({
      type: "request.cancel",
      id: requestId(context),
    })),
    takePiece: assign((_, { bytes }: { readonly bytes: Uint8Array }) => ({ piece: bytes })),
    progress: enqueueActions(({ context, enqueue }) => {
      const { notice: { sha256 }, parent } = context;
      const offset = context.offset + context.piece.length;
      enqueue.assign({ offset, piece: new Uint8Array(0) });
      enqueue.sendTo(parent, { type: "pull.progressed", sha256, offset });
    }),
    noteEnd: assign((_, { end, detail }: { readonly end: PullEnd; readonly detail: string }) => ({ end, detail })),
    sendEnd: sendTo(({ context }) => context.parent, ({ context }): PullEvent => ({
      type: "pull.ended",
      sha256: context.notice.sha256,
      peer: context.peer,
      end: context.end,
      detail: context.detail,
    })),
  },
}).createMachine({
  id: "crlPull",
  context: ({ input }) => ({ ...input, piece: new Uint8Array(0), end: "whole", detail: "" }),
  initial: "pulling",
  states: {
    pulling: {
      on: {
        "pull.stop": {
          target: "ended",
          actions: ["giveUp", { type: "noteEnd", params: { end: "stopped", detail: "another list comes first" } }],
        },
      },
      after: {
        deadline: {
          target: "ended",
          actions: ["giveUp", { type: "noteEnd", params: { end: "late", detail: "it was not whole in time" } }],
        },
      },
      initial: "asking",
      states: {
        asking: {
          entry: "ask",
          on: {
            piece: [
              {
                guard: { type: "isFull", params: ({ event }) => event },
                target: "storing",
                actions: { type: "takePiece", params: ({ event }) => event },
              },
              {
                guard: { type: "isTooLong", params: ({ event }) => event },
                target: "#crlPull.ended",
                actions: { type: "noteEnd", params: { end: "wrong", detail: "it is longer than announced" } },
              },
              {
                target: "#crlPull.ended",
                actions: { type: "noteEnd", params: { end: "useless", detail: "the peer does not have it" } },
              },
            ],
            "piece.missing": {
              target: "#crlPull.ended",
              actions: { type: "noteEnd", params: ({ event }) => event },
            },
          },
        },
        storing: {
          invoke: {
            src: "addPiece",
            input: ({ context: { ports, stateDir, notice, offset, piece } }) => ({
              ports,
              stateDir,
              sha256: notice.sha256,
              offset,
              bytes: piece,
            }),
          },
          on: {
            "effect.done.addPiece": { target: "stored", actions: "progress" },
            "effect.failed.addPiece": {
              target: "#crlPull.ended",
              actions: {
                type: "noteEnd",
                params: ({ event }) => ({ end: "unstored", detail: event.error.message }),
              },
            },
          },
        },
        stored: { always: [{ guard: "isWhole", target: "#crlPull.ended" }, { target: "asking" }] },
      },
    },
    ended: { type: "final", entry: "sendEnd" },
  },
});
