/**
 * A scheduler's evaluation: keeps the model of the training from the aggregator's updates, and measures it on held-out rows
 * after each round (`docs/wire.md`, "Extensions").
 *
 * ```
 *  loading ── done ──▶ waiting ── update.offered ──▶ accepting ──▶ receiving ── applied ──▶ waiting
 *     │                                                  │             │
 *     └──────────── failed ──▶ broken ◀──────────────────┴─────────────┘
 * ```
 *
 * Says `evaluation.ready` once, `round.evaluated` after each update, or `evaluation.broken`: an update that is missing would
 * make every later accuracy that of another model, so that the first failure ends it. While one update is received a further
 * one waits, at most {@linkcode waitingMax}; others are rejected.
 *
 * @module
 */
import { assign, enqueueActions, sendParent, setup } from "xstate";
import { Effect, Result } from "effect";
import { FileSystem } from "effect/FileSystem";
import type { PeerText, StreamAnswer, StreamHandle } from "../../transport/port.ts";
import { type EffectFailed, fromEffect } from "../runtime/effect_actor.ts";
import { decodeTensors } from "../learning/mod.ts";
import type { Ports } from "../runtime/ports.ts";
import { answerAs, type TransportRef } from "../runtime/role.ts";
import { pushProtocols, readStreamFile } from "../files/stream_file.ts";
import {
  type Evaluated,
  type EvaluatedModel,
  EvaluationFailed,
  type Evaluator,
  type ModelReference,
} from "./evaluator.ts";

/** Updates that wait while one is received: the aggregator sends one a round. */
export const waitingMax = 4;
/** The largest update that is evaluated, in bytes: it is held in memory with the model. */
export const updateBytesMax = 256 * 1024 * 1024;
/** An update in which nothing moves for this long is broken, in milliseconds. */
const idleMs = 30_000;
/** The transport accepts a stream within this, in milliseconds. */
const acceptMs = 10_000;
/** Held-out rows are read within this, in milliseconds. */
const loadMs = 30_000;

/** What an evaluation is born with. */
export interface EvaluationInput {
  readonly ports: Ports;
  readonly transport: TransportRef;
  /** Path of the held-out rows. */
  readonly heldOut: string;
  readonly model: ModelReference;
  /** Knows the models of this program's jobs; without one the evaluation fails at its start. */
  readonly evaluator: Evaluator | undefined;
}

interface Offered {
  readonly exchange: string;
  readonly peer: PeerText;
}

export interface EvaluationContext extends EvaluationInput {
  readonly loaded: EvaluatedModel | undefined;
  readonly waiting: readonly Offered[];
  readonly stream: StreamHandle | undefined;
  readonly rounds: number;
  readonly reason: string;
}

/** What an evaluation hears. */
export type EvaluationEvent =
  | { readonly type: "update.offered"; readonly exchange: string; readonly peer: PeerText }
  | { readonly type: "update.accepted"; readonly answer: StreamAnswer }
  | { readonly type: "effect.done.load"; readonly value: EvaluatedModel }
  | EffectFailed<"load", unknown>
  | { readonly type: "effect.done.receive"; readonly value: Evaluated }
  | EffectFailed<"receive", unknown>;

/** What an evaluation says to its parent. */
export type EvaluationSaid =
  | { readonly type: "evaluation.ready" }
  | { readonly type: "round.evaluated"; readonly round: number; readonly accuracy: number }
  | { readonly type: "evaluation.broken"; readonly reason: string };

const load = fromEffect(
  "load",
  ({ heldOut, model, evaluator }: { readonly ports: Ports } & Omit<EvaluationInput, "transport">) =>
    Effect.gen(function* () {
      if (evaluator === undefined) return yield* new EvaluationFailed({ detail: "this node was given no evaluator" });
      const fs = yield* FileSystem;
      const text = yield* fs.readFileString(heldOut);
      return yield* Effect.fromResult(evaluator.load({ path: heldOut, text }, model));
    }),
);

const receive = fromEffect(
  "receive",
  ({ stream, loaded }: { readonly ports: Ports; readonly stream: StreamHandle; readonly loaded: EvaluatedModel }) =>
    Effect.gen(function* () {
      const bytes = yield* readWhole(stream);
      const tensors = yield* orFail(decodeTensors(bytes));
      return yield* orFail(loaded.apply(tensors));
    }).pipe(Effect.onError(() => stream.abort("update not taken"))),
);

function orFail<A, E extends Error>(result: Result.Result<A, E>): Effect.Effect<A, EvaluationFailed> {
  return Effect.fromResult(Result.mapError(result, ({ message }) => new EvaluationFailed({ detail: message })));
}

/** Reads a pushed file to its end; one that is cut off, too large or another than its digest says fails. */
function readWhole(stream: StreamHandle) {
  return Effect.gen(function* () {
    const pieces: Uint8Array[] = [];
    const take = (piece: Uint8Array) => Effect.sync(() => void pieces.push(piece));
    const sizeBytes = yield* readStreamFile(stream, take, { fileBytesMax: updateBytesMax, idleMs });
    yield* stream.end;
    const bytes = new Uint8Array(sizeBytes);
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return bytes;
  });
}

const messageOf = (error: unknown): string => error instanceof Error ? error.message : String(error);

/** Evaluation of one training. */
export const evaluationMachine = setup({
  types: {
    input: {} as EvaluationInput,
    context: {} as EvaluationContext,
    events: {} as EvaluationEvent,
  },
  actors: { load, receive },
  guards: {
    isWaitedFor: ({ context }) => context.waiting.length > 0,
    hasRoom: ({ context }) => context.waiting.length < waitingMax,
    isOpened: (_, params: { readonly answer: StreamAnswer }) => params.answer.type === "stream.opened",
  },
  actions: {
    reject: enqueueActions(({ context, enqueue }, { exchange }: { readonly exchange: string }) =>
      enqueue.sendTo(context.transport, { type: "stream.reject", exchange })
    ),
    keepReason: assign({ reason: (_, { error }: { readonly error: unknown }) => messageOf(error) }),
  },
}).createMachine({
  id: "evaluation",
  context: ({ input }) => ({
    ...input,
    loaded: undefined,
    waiting: [],
    stream: undefined,
    rounds: 0,
    reason: "",
  }),
  initial: "loading",
  on: {
    "update.offered": [
      {
        guard: "hasRoom",
        actions: assign({
          waiting: ({ context, event }) => [...context.waiting, { exchange: event.exchange, peer: event.peer }],
        }),
      },
      { actions: { type: "reject", params: ({ event }) => event } },
    ],
  },
  states: {
    loading: {
      invoke: {
        src: "load",
        input: ({ context: { ports, heldOut, model, evaluator } }) => ({ ports, heldOut, model, evaluator }),
      },
      on: {
        "effect.done.load": {
          target: "waiting",
          actions: [
            assign({ loaded: ({ event }) => event.value }),
            enqueueActions(({ context, enqueue }) => {
              for (const protocol of pushProtocols) enqueue.sendTo(context.transport, { type: "serve", protocol });
            }),
            sendParent({ type: "evaluation.ready" }),
          ],
        },
        "effect.failed.load": {
          target: "broken",
          actions: { type: "keepReason", params: ({ event }) => event },
        },
      },
      after: {
        [loadMs]: {
          target: "broken",
          actions: { type: "keepReason", params: { error: "reading the held-out rows takes too long" } },
        },
      },
    },
    waiting: { always: { guard: "isWaitedFor", target: "accepting" } },
    accepting: {
      entry: enqueueActions(({ context, self, enqueue }) => {
        const [next, ...waiting] = context.waiting;
        if (next === undefined) return;
        enqueue.assign({ waiting });
        enqueue.sendTo(context.transport, {
          type: "stream.accept",
          exchange: next.exchange,
          replyTo: answerAs(
            self,
            (answer: StreamAnswer): EvaluationEvent => ({ type: "update.accepted", answer }),
          ),
        });
      }),
      on: {
        "update.accepted": [
          {
            guard: { type: "isOpened", params: ({ event }) => event },
            target: "receiving",
            actions: assign({
              stream: ({ event }) => event.answer.type === "stream.opened" ? event.answer.stream : undefined,
            }),
          },
          { target: "broken", actions: { type: "keepReason", params: { error: "the update's stream did not open" } } },
        ],
      },
      after: {
        [acceptMs]: {
          target: "broken",
          actions: { type: "keepReason", params: { error: "the update's stream did not open in time" } },
        },
      },
    },
    receiving: {
      invoke: {
        src: "receive",
        input: ({ context }) => ({
          ports: context.ports,
          stream: context.stream as StreamHandle,
          loaded: context.loaded as EvaluatedModel,
        }),
      },
      exit: assign({ stream: undefined }),
      on: {
        "effect.done.receive": {
          target: "waiting",
          actions: enqueueActions(({ context, event, enqueue }) => {
            const round = context.rounds + 1;
            const { model } = event.value;
            enqueue.assign({ rounds: round, loaded: model });
            enqueue.sendParent({ type: "round.evaluated", round, accuracy: event.value.accuracy });
            enqueue(() =>
              context.ports.report({
                level: "info",
                event: "round.evaluated",
                message: `Round ${round}: accuracy ${(event.value.accuracy * 100).toFixed(1)} % on held-out rows`,
                fields: { round, accuracy: event.value.accuracy, rows: model.rows },
              })
            );
          }),
        },
        "effect.failed.receive": {
          target: "broken",
          actions: { type: "keepReason", params: ({ event }) => event },
        },
      },
    },
    broken: {
      entry: enqueueActions(({ context, enqueue }) => {
        for (const { exchange } of context.waiting) {
          enqueue.sendTo(context.transport, { type: "stream.reject", exchange });
        }
        enqueue.assign({ waiting: [] });
        for (const protocol of pushProtocols) enqueue.sendTo(context.transport, { type: "unserve", protocol });
        enqueue.sendParent({ type: "evaluation.broken", reason: context.reason });
        enqueue(() =>
          context.ports.report({
            level: "warn",
            event: "evaluation.broken",
            message: `Cannot evaluate the model any more: ${context.reason}`,
            fields: { rounds: context.rounds },
          })
        );
      }),
      on: { "update.offered": { actions: { type: "reject", params: ({ event }) => event } } },
    },
  },
});
