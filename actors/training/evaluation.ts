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
 * Sends `evaluation.ready` once, and `round.evaluated` after each update. After a missing update every later accuracy would be
 * that of another model, so the first failure ends the evaluation with `evaluation.broken`. While one update is received, at
 * most {@linkcode waitingMax} wait; further ones are rejected.
 *
 * @module
 */
import { assign, enqueueActions, setup } from "xstate";
import { Effect } from "effect";
import type { PeerText, StreamAnswer, StreamHandle } from "../../transport/port.ts";
import type { PushLabel, TrainingKey } from "../../transport/protocols/messages.ts";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import { decodeTensors } from "../learning/mod.ts";
import type { HasParent } from "../runtime/parent.ts";
import { type Ports, timerMaxMs } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import type { TransportRef } from "../runtime/role.ts";
import { readLabel } from "../files/labelled_stream.ts";
import { pushProtocols, readStreamFile } from "../files/stream_file.ts";
import { type EvaluatedModel, EvaluationFailed } from "./evaluator.ts";
import {
  type KeptParameters,
  loadModel,
  type MeasuredTraining,
  measureKept,
  metricsText,
  orFail,
  type RoundMetrics,
  roundMetrics,
  updateBytesMax,
} from "./measure_model.ts";
import { acceptStream, type OfferedStream, rejectStream } from "./offered_stream.ts";

/** Updates that wait while one is received: the aggregator sends one a round. */
export const waitingMax = 4;
/** An update that receives no bytes for this long is broken, in milliseconds. */
const idleMs = 30_000;
/** The transport accepts a stream within this, in milliseconds. */
const acceptMs = 10_000;
/** Held-out rows are read within this, in milliseconds. */
const loadMs = 30_000;
/** A cell is found and the programs are tried in it within this, in milliseconds: a try may take ten seconds. */
const checkMs = 300_000;
/** A program is tried, and its run gets its files, within this, in milliseconds. */
const copyMs = 300_000;

/** The input of an evaluation. */
export interface EvaluationInput extends HasParent<EvaluationEvent>, MeasuredTraining {
  readonly ports: Ports;
  readonly transport: TransportRef;
}

/** An update that the aggregator wants to push. */
export interface Offered extends OfferedStream {
  readonly peer: PeerText;
}

export interface EvaluationContext extends EvaluationInput {
  readonly loaded: EvaluatedModel | undefined;
  readonly waiting: readonly Offered[];
  readonly stream: StreamHandle | undefined;
  readonly rounds: number;
  /** The newest parameters that are not measured yet. */
  readonly kept: KeptParameters | undefined;
  /** Why the evaluation is broken. */
  readonly reason: string | undefined;
}

/** The events that an evaluation sends to its parent. */
export type EvaluationEvent =
  | { readonly type: "evaluation.ready" }
  | { readonly type: "round.evaluated"; readonly round: number; readonly accuracy: number | undefined }
  | { readonly type: "evaluation.broken"; readonly reason: string };

const load = fromEffect("load", loadModel);
const measured = fromEffect("measured", measureKept);

const receive = fromEffect(
  "receive",
  ({ stream: offered, loaded, training, round }: {
    readonly ports: Ports;
    readonly stream: StreamHandle;
    readonly loaded: EvaluatedModel;
    readonly training: TrainingKey | undefined;
    readonly round: number;
  }) =>
    Effect.gen(function* () {
      const { stream, label } = yield* readLabel(offered, { idleMs });
      if (label !== undefined && !isExpected(label, training, round)) {
        yield* stream.abort("another training or round");
        return undefined;
      }
      if (label !== undefined && label.round > round) return yield* lostResult(round);
      const bytes = yield* readWhole(stream);
      const tensors = yield* orFail(decodeTensors(bytes));
      return roundMetrics(yield* orFail(loaded.apply(tensors)));
    }).pipe(Effect.onError(() => offered.abort("update not taken"))),
);

/** Whether a labelled update is one of the training that was not received yet. */
function isExpected(label: PushLabel, training: TrainingKey | undefined, round: number): boolean {
  return training !== undefined && label.training === training.id && label.scheduler === training.scheduler &&
    label.run === training.run && label.round >= round;
}

/** An aggregator sends a result once where the scheduler keeps no model. */
const lostResult = (round: number) =>
  new EvaluationFailed({
    detail: `the result of round ${round} did not come, so each later accuracy would be that of another model; ` +
      "with model.weights or model.keep the scheduler evaluates the parameters that it keeps",
  });

/** Reads a pushed file to its end. Fails when it is cut off or too large, or does not match its digest. */
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

const actors = { load, measured, receive };

/** The events that an evaluation receives. */
export type EvaluationCommand =
  | Offered & { readonly type: "update.offered" }
  | KeptParameters & { readonly type: "parameters.kept" }
  /** A program measures the parameters from now on: it had to wait for those of other trainings. */
  | { readonly type: "measuring.began" }
  | StreamAnswer
  | EventsOf<typeof actors>;

const evaluation = setup({
  types: {
    input: {} as EvaluationInput,
    context: {} as EvaluationContext,
    events: {} as EvaluationCommand,
  },
  actors,
  guards: {
    isWaitedFor: ({ context }) => context.waiting.length > 0,
    hasParameters: ({ context }) => context.kept !== undefined,
    hasRoom: ({ context }) => context.waiting.length < waitingMax,
  },
  delays: {
    load: ({ context: { executor } }) => executor === undefined ? loadMs : checkMs,
    measure: ({ context: { evaluator } }) => Math.min(copyMs + (evaluator?.measureMs ?? 0), timerMaxMs),
  },
  actions: {
    keepOffered: assign({
      waiting: ({ context }, offered: Offered) => [...context.waiting, offered],
    }),
    reject: ({ context }, offered: Offered) => rejectStream(context, offered),
    takeLoaded: assign({ loaded: (_, { value }: { readonly value: EvaluatedModel | undefined }) => value }),
    begin: enqueueActions(({ context, enqueue }) => {
      // Where the scheduler keeps the model, its store takes the results.
      const serving = "parameters" in context.model ? [] : pushProtocols;
      for (const protocol of serving) enqueue.sendTo(context.transport, { type: "serve", protocol });
      enqueue.sendTo(context.parent, { type: "evaluation.ready" });
    }),
    acceptNext: enqueueActions(({ context, self, enqueue }) => {
      const [next, ...waiting] = context.waiting;
      enqueue.assign({ waiting });
      enqueue(() => acceptStream(context, present(next, "a waiting update"), self));
    }),
    takeStream: assign({ stream: (_, { stream }: { readonly stream: StreamHandle }) => stream }),
    dropStream: assign({ stream: undefined }),
    resetStream: ({ context }, { stream }: { readonly stream: StreamHandle }) =>
      void context.ports.run(stream.abort("the evaluation has ended"), () => {}),
    /** Undefined: an update of another training or of an earlier round was not taken, or parameters are gone for newer ones. */
    takeRound: enqueueActions((
      { context, enqueue },
      { evaluated, round = context.rounds + 1 }: {
        readonly evaluated: RoundMetrics | undefined;
        readonly round?: number;
      },
    ) => {
      if (evaluated === undefined) return;
      const { model, metrics } = evaluated;
      const { accuracy } = metrics;
      enqueue.assign({ rounds: round, loaded: model });
      enqueue.sendTo(context.parent, { type: "round.evaluated", round, accuracy });
      enqueue(() =>
        context.ports.report({
          level: "info",
          event: "round.evaluated",
          message: `Round ${round}: ${metricsText(metrics)} on held-out rows`,
          fields: { round, accuracy, ...(model === undefined ? { metrics } : { rows: model.rows }) },
        })
      );
    }),
    keepParameters: assign({ kept: (_, { round, path }: KeptParameters) => ({ round, path }) }),
    /** While parameters were measured, newer ones may have come. */
    takeParameters: assign({
      kept: ({ context: { kept } }, { round }: { readonly round: number }) => kept?.round === round ? undefined : kept,
    }),
    keepReason: assign({ reason: (_, { reason }: { readonly reason: string }) => reason }),
    end: enqueueActions(({ context, enqueue }) => {
      const reason = present(context.reason, "the reason");
      for (const offered of context.waiting) enqueue(() => rejectStream(context, offered));
      enqueue.assign({ waiting: [] });
      enqueue.sendTo(context.parent, { type: "evaluation.broken", reason });
      enqueue(() =>
        context.ports.report({
          level: "warn",
          event: "evaluation.broken",
          message: `Cannot evaluate the model any more: ${reason}`,
          fields: { rounds: context.rounds },
        })
      );
    }),
  },
});

/** Evaluation of one training. */
export const evaluationMachine = evaluation.createMachine({
  id: "evaluation",
  context: ({ input }) => ({
    ...input,
    loaded: undefined,
    waiting: [],
    stream: undefined,
    rounds: 0,
    kept: undefined,
    reason: undefined,
  }),
  initial: "loading",
  on: {
    "update.offered": [
      { guard: "hasRoom", actions: { type: "keepOffered", params: ({ event }) => event } },
      { actions: { type: "reject", params: ({ event }) => event } },
    ],
    "parameters.kept": { actions: { type: "keepParameters", params: ({ event }) => event } },
  },
  states: {
    loading: {
      invoke: {
        src: "load",
        input: ({ context: { ports, heldOut, model, evaluator, executor } }) => ({
          ...{ ports, heldOut, model, evaluator, executor },
        }),
      },
      on: {
        "effect.done.load": {
          target: "waiting",
          actions: [{ type: "takeLoaded", params: ({ event }) => event }, "begin"],
        },
        "effect.failed.load": {
          target: "broken",
          actions: { type: "keepReason", params: ({ event }) => ({ reason: event.error.message }) },
        },
      },
      after: {
        load: {
          target: "broken",
          actions: {
            type: "keepReason",
            params: ({ context: { executor } }) => ({
              reason: `${
                executor === undefined ? "reading the held-out rows" : "trying the evaluating programs"
              } takes too long`,
            }),
          },
        },
      },
    },
    waiting: {
      always: [{ guard: "isWaitedFor", target: "accepting" }, { guard: "hasParameters", target: "measuring" }],
    },
    measuring: {
      invoke: {
        src: "measured",
        input: ({ context, self }) => ({
          ports: context.ports,
          measured: context,
          loaded: context.loaded,
          kept: present(context.kept, "the parameters"),
          began: () => self.send({ type: "measuring.began" }),
        }),
      },
      initial: "beginning",
      states: {
        // A program waits here for those of other trainings. What the evaluator measures itself is measured here.
        beginning: { on: { "measuring.began": "running" } },
        running: {
          after: {
            measure: {
              target: "#evaluation.broken",
              actions: { type: "keepReason", params: { reason: "measuring takes too long" } },
            },
          },
        },
      },
      on: {
        "effect.done.measured": {
          target: "waiting",
          actions: [
            { type: "takeParameters", params: ({ event }) => event.value },
            { type: "takeRound", params: ({ event }) => event.value },
          ],
        },
        "effect.failed.measured": {
          target: "broken",
          actions: { type: "keepReason", params: ({ event }) => ({ reason: event.error.message }) },
        },
      },
    },
    accepting: {
      entry: "acceptNext",
      on: {
        "stream.opened": { target: "receiving", actions: { type: "takeStream", params: ({ event }) => event } },
        "stream.failed": {
          target: "broken",
          actions: { type: "keepReason", params: { reason: "the update's stream did not open" } },
        },
      },
      after: {
        [acceptMs]: {
          target: "broken",
          actions: { type: "keepReason", params: { reason: "the update's stream did not open in time" } },
        },
      },
    },
    receiving: {
      invoke: {
        src: "receive",
        input: ({ context: { ports, stream, loaded, training, rounds } }) => ({
          ports,
          training,
          round: rounds + 1,
          stream: present(stream, "the update's stream"),
          loaded: present(loaded, "the model"),
        }),
      },
      exit: "dropStream",
      on: {
        "effect.done.receive": {
          target: "waiting",
          actions: { type: "takeRound", params: ({ event }) => ({ evaluated: event.value }) },
        },
        "effect.failed.receive": {
          target: "broken",
          actions: { type: "keepReason", params: ({ event }) => ({ reason: event.error.message }) },
        },
      },
    },
    broken: {
      entry: "end",
      on: {
        "update.offered": { actions: { type: "reject", params: ({ event }) => event } },
        // It was accepted before, and opened after the time limit.
        "stream.opened": { actions: { type: "resetStream", params: ({ event }) => event } },
      },
    },
  },
});
