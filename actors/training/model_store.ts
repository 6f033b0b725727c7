/**
 * The model of a training at its scheduler: takes each round's result, keeps the round on disk, and serves the newest one to members.
 *
 * ```
 *  opening ── opened ──▶ open ─┬─ results: waiting ── result.offered ──▶ accepting ──▶ keeping ──▶ waiting
 *     │                        └─ pull.offered: each a child of its own      │            │
 *     └─ weights refused ──▶ broken ◀──────────────── a result is lost ──────┴────────────┘
 * ```
 *
 * Sends `model.opened` once, and `round.kept` when a round is on disk: only then is it finished. Where a round cannot be written, the
 * training is paused: the result's stream is reset, and the aggregator sends it again until there is room. An aggregator of the
 * existing network sends no second time; then the model is broken.
 *
 * @module
 */
import { assign, enqueueActions, sendTo } from "xstate";
import { RareReports } from "../../transport/core/rare_reports.ts";
import type { PeerText, StreamAnswer } from "../../transport/port.ts";
import { pullProtocols, pushProtocols } from "../files/stream_file.ts";
import { monotonicNow } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { answerAs } from "../runtime/role.ts";
import type { Checkpoint } from "./checkpoints.ts";
import { goOn, noteTaken, pause, reportGoesOn, reportPull } from "./model_store_actions.ts";
import { type ModelStoreCommand, type OfferedPull, type OfferedResult, storeSetup } from "./model_store_setup.ts";
import { acceptStream, type OfferedStream, rejectStream } from "./offered_stream.ts";
import type { ModelPull } from "./serve_model.ts";
import type { FailedResult, TakenResult } from "./take_result.ts";

/** The transport accepts a stream within this, in milliseconds. */
const acceptMs = 10_000;

const serving = [...pullProtocols, ...pushProtocols] as const;

const store = storeSetup.extend({
  actions: {
    keepOffered: assign({ waiting: ({ context }, offered: OfferedResult) => [...context.waiting, offered] }),
    reject: ({ context }, offered: OfferedStream) => rejectStream(context, offered),
    begin: enqueueActions(({ context, enqueue }, { checkpoint }: { readonly checkpoint: Checkpoint }) => {
      enqueue.assign({ checkpoint, paused: undefined });
      if (context.paused !== undefined) enqueue(() => reportGoesOn({ ...context, checkpoint }, "its model is open"));
      for (const protocol of serving) enqueue.sendTo(context.transport, { type: "serve", protocol });
      enqueue.sendTo(context.parent, { type: "model.opened", checkpoint });
    }),
    acceptNext: enqueueActions(({ context, self, enqueue }) => {
      const [next, ...waiting] = context.waiting;
      const current = present(next, "a waiting result");
      const { exchange } = current;
      enqueue.assign({ waiting, current, stream: undefined });
      const replyTo = answerAs(
        self,
        (answer: StreamAnswer): ModelStoreCommand => ({ type: "result.accepted", exchange, answer }),
      );
      enqueue(() => acceptStream(context, current, replyTo));
    }),
    takeStream: assign({
      stream: (_, { answer }: { readonly answer: StreamAnswer }) =>
        answer.type === "stream.opened" ? answer.stream : undefined,
    }),
    dropStream: assign({ stream: undefined, current: undefined, isGone: false }),
    rejectWaiting: enqueueActions(({ context, enqueue }) => {
      for (const offered of context.waiting) enqueue(() => rejectStream(context, offered));
      enqueue.assign({ waiting: [] });
    }),
    /** A result that has arrived needs its stream no more. */
    abortStream: enqueueActions(({ context, enqueue }) => {
      enqueue.assign({ isGone: true });
      enqueue(() =>
        context.ports.run(
          present(context.stream, "the stream").abort("its sender is no longer the aggregator"),
          () => {},
        )
      );
    }),
    settle: sendTo(({ context }) => context.parent, { type: "model.settled" }),
    resetStream: ({ context }, { answer }: { readonly answer: StreamAnswer }) => {
      if (answer.type === "stream.opened") context.ports.run(answer.stream.abort("not taken"), () => {});
    },
    noteTaken: enqueueActions(noteTaken),
    pause: enqueueActions(pause),
    goOn: enqueueActions(goOn),
    countHubTry: assign({ hubTries: ({ context }) => context.hubTries + 1 }),
    acceptPull: enqueueActions(({ context, self, enqueue }, offered: OfferedPull) => {
      const { exchange } = offered;
      enqueue.assign({ pulls: [...context.pulls, offered] });
      const replyTo = answerAs(
        self,
        (answer: StreamAnswer): ModelStoreCommand => ({ type: "pull.accepted", exchange, answer }),
      );
      enqueue(() => acceptStream(context, offered, replyTo));
    }),
    startPull: enqueueActions(
      ({ context, enqueue }, { exchange, answer }: { readonly exchange: string; readonly answer: StreamAnswer }) => {
        if (answer.type !== "stream.opened") {
          return enqueue.assign({ pulls: context.pulls.filter((other) => other.exchange !== exchange) });
        }
        const offered = context.pulls.find((other) => other.exchange === exchange);
        enqueue.spawnChild("pull", {
          id: `pull/${exchange}`,
          input: {
            ports: context.ports,
            stream: answer.stream,
            checkpoint: present(context.checkpoint, "the model"),
            trainingId: context.training.id,
            exchange,
            puller: present(offered, "the pull").puller,
          },
        });
      },
    ),
    endPull: enqueueActions(
      (
        { context, enqueue },
        { exchange, peer, outcome }: {
          readonly exchange: string;
          readonly peer: PeerText;
          readonly outcome: ModelPull;
        },
      ) => {
        enqueue.stopChild(`pull/${exchange}`);
        enqueue.assign({ pulls: context.pulls.filter((other) => other.exchange !== exchange) });
        enqueue(() => reportPull(context, peer, outcome));
      },
    ),
    end: enqueueActions(({ context, enqueue }, { reason }: { readonly reason: string }) => {
      for (const offered of context.waiting) enqueue(() => rejectStream(context, offered));
      enqueue.assign({ waiting: [] });
      enqueue.sendTo(context.parent, { type: "model.broken", reason });
    }),
  },
});

/** Keeps and serves the model of one training. */
export const modelStoreMachine = store.createMachine({
  id: "modelStore",
  context: ({ input }) => ({
    ...input,
    checkpoint: undefined,
    waiting: [],
    current: undefined,
    stream: undefined,
    isGone: false,
    pulls: [],
    paused: undefined,
    pausedAt: 0,
    hubTries: 0,
    rare: new RareReports(() => monotonicNow(input.ports)),
  }),
  initial: "opening",
  on: {
    "result.offered": { actions: { type: "reject", params: ({ event }) => event } },
    "pull.offered": { actions: { type: "reject", params: ({ event }) => event } },
    "result.accepted": { actions: { type: "resetStream", params: ({ event }) => event } },
    "pull.accepted": { actions: { type: "startPull", params: ({ event }) => event } },
    "aggregator.gone": { actions: ["rejectWaiting", "settle"] },
    "effect.done.pull": { actions: { type: "endPull", params: ({ event }) => event.value } },
  },
  states: {
    opening: {
      invoke: {
        src: "opened",
        input: ({ context: { ports, weights, web, training, folder, keepRounds, rounds } }) => ({
          ports,
          weights,
          web,
          training,
          folder,
          keepRounds,
          rounds,
        }),
      },
      on: {
        "effect.done.opened": {
          target: "open",
          actions: { type: "begin", params: ({ event }) => ({ checkpoint: event.value }) },
        },
        "effect.failed.opened": [
          {
            guard: { type: "isHopeless", params: ({ event }) => event },
            target: "broken",
            actions: { type: "end", params: ({ event }) => ({ reason: event.error.message }) },
          },
          {
            guard: { type: "isOfHub", params: ({ event }) => event },
            target: "reopening",
            actions: [
              { type: "pause", params: ({ event }) => event },
              "countHubTry",
            ],
          },
          { target: "reopening", actions: { type: "pause", params: ({ event }) => event } },
        ],
      },
    },
    reopening: { after: { openAgain: "opening" } },
    open: {
      initial: "waiting",
      on: {
        "result.offered": [
          {
            guard: "hasRoom",
            actions: {
              type: "keepOffered",
              params: ({ event: { type: _, ...offered } }) => offered,
            },
          },
          { actions: { type: "reject", params: ({ event }) => event } },
        ],
        "pull.offered": [
          {
            guard: { type: "canServe", params: ({ event }) => event },
            actions: { type: "acceptPull", params: ({ event }) => event },
          },
          { actions: { type: "reject", params: ({ event }) => event } },
        ],
      },
      states: {
        waiting: {
          always: { guard: "isWaitedFor", target: "accepting" },
          // Its aggregator may hand nothing over: the training waits for it then, and no longer for room.
          after: { roomAgain: { guard: "isPaused", target: "looking" } },
        },
        looking: {
          always: { guard: "isWaitedFor", target: "accepting" },
          invoke: {
            src: "room",
            input: ({ context: { ports, folder, checkpoint } }) => ({
              ports,
              folder,
              checkpoint: present(checkpoint, "the model"),
            }),
          },
          on: {
            "effect.done.room": { target: "waiting", actions: "goOn" },
            "effect.failed.room": {
              target: "waiting",
              actions: { type: "pause", params: ({ event }) => event },
            },
          },
        },
        accepting: {
          entry: "acceptNext",
          on: {
            "result.accepted": [
              {
                guard: { type: "isOpened", params: ({ event }) => event },
                target: "keeping",
                actions: { type: "takeStream", params: ({ event }) => event },
              },
              { target: "waiting", actions: { type: "resetStream", params: ({ event }) => event } },
            ],
            "aggregator.gone": { target: "waiting", actions: ["rejectWaiting", "dropStream", "settle"] },
          },
          after: { [acceptMs]: "waiting" },
        },
        keeping: {
          invoke: {
            src: "taken",
            input: ({ context }) => ({
              ports: context.ports,
              stream: present(context.stream, "the result's stream"),
              rules: {
                folder: context.folder,
                keepRounds: context.keepRounds,
                rounds: context.rounds,
                training: context.training,
                before: present(context.checkpoint, "the model"),
                reported: present(context.current, "the result").reported,
                facts: present(context.current, "the result").facts,
                outer: context.outer,
              },
            }),
          },
          on: {
            "effect.done.taken": [
              {
                guard: { type: "isLost", params: ({ event }) => event.value },
                target: "#modelStore.broken",
                actions: { type: "end", params: ({ event }) => ({ reason: lostReason(event.value) }) },
              },
              {
                guard: "isGone",
                target: "waiting",
                actions: [{ type: "noteTaken", params: ({ event }) => event.value }, "dropStream", "settle"],
              },
              {
                target: "waiting",
                actions: [{ type: "noteTaken", params: ({ event }) => event.value }, "dropStream"],
              },
            ],
            "aggregator.gone": { actions: ["rejectWaiting", "abortStream"] },
            "effect.failed.taken": {
              target: "#modelStore.broken",
              actions: { type: "end", params: ({ event }) => ({ reason: event.error.message }) },
            },
          },
        },
      },
    },
    broken: {},
  },
});

function lostReason(outcome: TakenResult | FailedResult): string {
  const why = outcome.type === "failed" ? outcome.error.message : outcome.type;
  return `a result is lost, and its aggregator sends it once: ${why}`;
}
