/**
 * The parameter server: collects one update of each trainer, takes the outer step, sends the result to all, says so to the
 * scheduler, until that answers `Done`.
 *
 * ```
 *  opening ──▶ working
 *                collecting ── all there ──▶ aggregating ──▶ distributing ──▶ reporting ── Done ──▶ finished
 *                   ▲  ▲                         │                               │
 *                   │  └── an update is rejected ┘                               │
 *                   └───────────────────────── Ok: the next round ───────────────┘
 *                taking ── a push ──▶ (saving, a child of its own) ──▶ taking
 *
 *  nobody left to wait for, file system or scheduler gone ──▶ failed
 * ```
 *
 * It waits for exactly the peers that the job's `updates` names; `job.updated` replaces them, and whoever is left out is no
 * longer waited for nor let in, then or later: its push under way is cut off. A peer pushes once a round; one that is ahead
 * of the others counts for the next. An update that is no update of this model puts its sender out of the training, and so
 * does one that broke off and does not come again within {@linkcode brokenPatienceMs}: its sender may believe that it was
 * taken, and would wait for a result that waits for it. Whoever cannot be sent a result would wait for it just so, and is
 * out too. It knows nothing of leases: the worker ends it with its job.
 *
 * @module
 */
import { assign, setup } from "xstate";
import { type PeerText, type StreamHandle, TransportError } from "../../transport/port.ts";
import type { JobSpec, ProgressResponse } from "../../transport/protocols/messages.ts";
import type { EffectFailed } from "../runtime/effect_actor.ts";
import type { AggregatorInput, JobOutcome } from "./messages.ts";
import type { PushReceiver } from "./network.ts";
import { UpdateRejected } from "../learning/mod.ts";
import {
  aggregateConfig,
  aggregated,
  type Distributed,
  distributed,
  push,
  receiver,
  reported,
  type Saved,
  saved,
} from "./parameter_server/effects.ts";

/** The scheduler is told of a round this often before the job fails, so long apart, in milliseconds. */
export const reportTriesMax = 5;
export const reportAgainMs = 1_000;
/** Whoever knows that its push broke off begins another within seconds; so long is it waited for, in milliseconds. */
export const brokenPatienceMs = 60_000;
/** Averaging and the outer step of one round, in milliseconds. */
const aggregateMs = 600_000;

interface ParameterServerContext {
  readonly job: AggregatorInput;
  readonly receiver: PushReceiver | undefined;
  readonly expected: readonly PeerText[];
  readonly results: readonly PeerText[];
  /** Who is out for good. */
  readonly rejected: readonly PeerText[];
  /** Whole updates for the round that is collected, by sender. */
  readonly received: Readonly<Record<PeerText, string>>;
  readonly saving: readonly PeerText[];
  /** Updates of the round that is aggregated. */
  readonly batch: Readonly<Record<PeerText, string>>;
  readonly round: number;
  readonly pushes: number;
  readonly tries: number;
  readonly outcome: JobOutcome;
}

/** What a parameter server hears, beside its own Effects. */
export type ParameterServerEvent =
  | { readonly type: "job.updated"; readonly spec: JobSpec }
  | { readonly type: "effect.done.receiver"; readonly value: PushReceiver }
  | EffectFailed<"receiver", unknown>
  | { readonly type: "effect.done.push"; readonly value: StreamHandle }
  | EffectFailed<"push", unknown>
  | { readonly type: "effect.done.saved"; readonly value: Saved }
  | EffectFailed<"saved", unknown>
  /** A push of this peer broke off a while ago. */
  | { readonly type: "update.overdue"; readonly peer: PeerText }
  | { readonly type: "effect.done.aggregated"; readonly value: { readonly sizeBytes: number } }
  | EffectFailed<"aggregated", unknown>
  | { readonly type: "effect.done.distributed"; readonly value: Distributed }
  | EffectFailed<"distributed", unknown>
  | { readonly type: "effect.done.reported"; readonly value: ProgressResponse }
  | EffectFailed<"reported", unknown>;

/** The sender of the update that an error is about. */
function culpritOf(batch: Readonly<Record<PeerText, string>>, error: unknown): PeerText | undefined {
  return error instanceof UpdateRejected ? Object.keys(batch).find((peer) => batch[peer] === error.file) : undefined;
}

/** Whose push is let in now. */
function allowedNow({ expected, received, saving }: ParameterServerContext): readonly PeerText[] {
  return expected.filter((peer) => received[peer] === undefined && !saving.includes(peer));
}

function allow({ context }: { readonly context: ParameterServerContext }): void {
  context.receiver?.allow(allowedNow(context));
}

const resultFile = ({ round }: ParameterServerContext): string => `outer/${round}.safetensors`;

function without<A>(record: Readonly<Record<string, A>>, key: string): Record<string, A> {
  const { [key]: _, ...rest } = record;
  return rest;
}

const serverSetup = setup({
  types: {
    input: {} as AggregatorInput,
    context: {} as ParameterServerContext,
    events: {} as ParameterServerEvent,
    output: {} as JobOutcome,
  },
  actors: { receiver, push, saved, aggregated, distributed, reported },
  guards: {
    isAllThere: ({ context: { expected, received } }) => expected.every((peer) => received[peer] !== undefined),
    isNobodyLeft: ({ context }) => context.expected.length === 0,
    isDone: (_, params: { readonly answer: ProgressResponse }) => params.answer.type === "Done",
    isOk: (_, params: { readonly answer: ProgressResponse }) =>
      params.answer.type === "Ok" || params.answer.type === "Continue",
    hasCulprit: ({ context }, params: { readonly error: unknown }) =>
      culpritOf(context.batch, params.error) !== undefined,
    isOverdue: ({ context }, params: { readonly peer: PeerText }) => allowedNow(context).includes(params.peer),
    isWorthRetrying: ({ context }) => context.tries < reportTriesMax,
  },
});

/** Takes a push in, or cuts it off: it may have been let in just before its sender was left out. */
const save = serverSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "effect.done.push") return;
  const stream = event.value;
  const { peer } = stream;
  if (!allowedNow(context).includes(peer)) {
    enqueue(() => context.job.ports.run(stream.abort("not expected"), () => {}));
    return;
  }
  const pushes = context.pushes + 1;
  const file = `updates/${pushes}-${peer}.safetensors`;
  enqueue.assign({ pushes, saving: [...context.saving, peer] });
  enqueue.spawnChild("saved", {
    id: `saving/${peer}`,
    input: { ports: context.job.ports, job: context.job, stream, file },
  });
});

const noteSaved = serverSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "effect.done.saved") return;
  const { peer, file, sizeBytes, reason } = event.value;
  enqueue.stopChild(`saving/${peer}`);
  enqueue.cancel(`overdue/${peer}`);
  if (sizeBytes === undefined) {
    enqueue.raise({ type: "update.overdue", peer }, { delay: brokenPatienceMs, id: `overdue/${peer}` });
  }
  enqueue.assign({
    saving: context.saving.filter((other) => other !== peer),
    received: sizeBytes === undefined ? context.received : { ...context.received, [peer]: file },
  });
  enqueue(() =>
    context.job.ports.report({
      level: sizeBytes === undefined ? "warn" : "debug",
      event: sizeBytes === undefined ? "update.broken" : "update.received",
      message: sizeBytes === undefined
        ? `Cannot take update of ${peer}: ${reason}`
        : `Received update of ${peer} for round ${context.round}`,
      fields: { job: context.job.spec.job_id, round: context.round, peer, sizeBytes },
    })
  );
});

/** The job again, with whom it still waits for. */
const replaceExpected = serverSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "job.updated") return;
  const { spec } = event;
  if (spec.executor.class !== "aggregate") return;
  const { updates, results } = spec.executor.config;
  const expected = updates.peers.filter((peer) => !context.rejected.includes(peer));
  const isOut = (peer: PeerText) => !expected.includes(peer);
  for (const peer of context.saving.filter(isOut)) enqueue.stopChild(`saving/${peer}`);
  enqueue.assign({
    expected,
    results: results.peers.filter((peer) => !context.rejected.includes(peer)),
    // Whoever is named again missed a result, or lost an update that it believes to be here.
    rejected: [...context.rejected, ...context.expected.filter(isOut)],
    saving: context.saving.filter((peer) => !isOut(peer)),
    received: Object.fromEntries(Object.entries(context.received).filter(([peer]) => !isOut(peer))),
  });
  enqueue(allow);
});

/** Leaves out whose update cannot be used. */
const putOut = serverSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "effect.failed.aggregated") return;
  const { error } = event;
  const culprit = culpritOf(context.batch, error);
  if (culprit === undefined) return;
  enqueue.assign({
    expected: context.expected.filter((peer) => peer !== culprit),
    results: context.results.filter((peer) => peer !== culprit),
    rejected: [...context.rejected, culprit],
    // What others sent for this round still counts, unless they are already a round ahead.
    received: { ...without(context.batch, culprit), ...without(context.received, culprit) },
    batch: {},
  });
  enqueue(() =>
    context.job.ports.report({
      level: "error",
      event: "update.rejected",
      message: `Cannot use update of ${culprit}, which is out of the training: ${messageOf(error)}`,
      fields: { job: context.job.spec.job_id, round: context.round, peer: culprit },
    })
  );
  enqueue(allow);
});

/** Waits no longer for whose update broke off, and let the rest be a round. */
const leaveOverdue = serverSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "update.overdue") return;
  const { peer } = event;
  enqueue.assign({
    expected: context.expected.filter((other) => other !== peer),
    results: context.results.filter((other) => other !== peer),
    rejected: [...context.rejected, peer],
  });
  enqueue(() =>
    context.job.ports.report({
      level: "error",
      event: "update.rejected",
      message: `Waits no longer for ${peer}, which is out of the training: its update broke off and did not come again`,
      fields: { job: context.job.spec.job_id, round: context.round, peer },
    })
  );
  enqueue(allow);
});

/** Whoever did not get the result makes no update of it: it is waited for no longer. */
const leaveUnsent = serverSetup.enqueueActions(({ context, event, enqueue }) => {
  if (event.type !== "effect.done.distributed") return;
  const { failed } = event.value;
  // A push that is here or under way says that it did get it.
  const isOut = (peer: PeerText) => allowedNow(context).includes(peer) && failed.some((each) => each.peer === peer);
  const out = context.expected.filter(isOut);
  enqueue.assign({
    expected: context.expected.filter((peer) => !isOut(peer)),
    results: context.results.filter((peer) => !isOut(peer)),
    rejected: [...context.rejected, ...out],
  });
  for (const { peer, reason } of failed) {
    const isLeft = out.includes(peer);
    enqueue(() =>
      context.job.ports.report({
        level: "warn",
        event: "result.unsent",
        message: `Cannot send result of round ${context.round} to ${peer}${
          isLeft ? ", which is out of the training" : ""
        }: ${reason}`,
        fields: { job: context.job.spec.job_id, round: context.round, peer, out: isLeft },
      })
    );
  }
  enqueue(allow);
});

/** The job fails of an Effect's error. */
const failOfError = serverSetup.assign({
  outcome: ({ event }): JobOutcome => ({
    type: "failed",
    reason: "error" in event ? messageOf(event.error) : event.type,
  }),
});

const failOf = (reason: string) => serverSetup.assign({ outcome: { type: "failed", reason } });

/** The machine of runtime `parameter-server`: handed to `jobMachine` as its `aggregator`. */
export const parameterServerMachine = serverSetup.createMachine({
  id: "parameterServer",
  context: ({ input }) => ({
    job: input,
    receiver: undefined,
    expected: aggregateConfig(input.spec).updates.peers,
    results: aggregateConfig(input.spec).results.peers,
    rejected: [],
    received: {},
    saving: [],
    batch: {},
    round: 1,
    pushes: 0,
    tries: 0,
    outcome: { type: "finished" },
  }),
  initial: "open",
  on: {
    "job.updated": { actions: replaceExpected },
  },
  states: {
    open: {
      invoke: {
        src: "receiver",
        input: ({ context }) => ({ ports: context.job.ports, job: context.job, peers: context.expected }),
      },
      on: {
        "effect.failed.receiver": {
          target: "failed",
          actions: failOfError,
        },
        "effect.done.saved": {
          actions: [noteSaved, allow],
        },
        "update.overdue": {
          guard: { type: "isOverdue", params: ({ event }) => event },
          actions: leaveOverdue,
        },
      },
      initial: "opening",
      states: {
        opening: {
          on: {
            "effect.done.receiver": {
              target: "working",
              actions: [assign({ receiver: ({ event }) => event.value }), allow],
            },
          },
        },
        working: {
          type: "parallel",
          states: {
            pushes: {
              initial: "taking",
              states: {
                taking: {
                  invoke: {
                    src: "push",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      receiver: context.receiver as PushReceiver,
                    }),
                  },
                  on: {
                    "effect.done.push": {
                      target: "taking",
                      reenter: true,
                      actions: [save, allow],
                    },
                    "effect.failed.push": {
                      target: "#parameterServer.failed",
                      actions: failOfError,
                    },
                  },
                },
              },
            },
            rounds: {
              initial: "collecting",
              states: {
                collecting: {
                  always: [
                    {
                      guard: "isNobodyLeft",
                      target: "#parameterServer.failed",
                      actions: failOf("no trainer is left to wait for"),
                    },
                    {
                      guard: "isAllThere",
                      target: "aggregating",
                      // From here on a push counts for the next round.
                      actions: [
                        assign({ batch: ({ context }) => context.received, received: {} }),
                        allow,
                      ],
                    },
                  ],
                },
                aggregating: {
                  invoke: {
                    src: "aggregated",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      job: context.job,
                      batch: context.batch,
                      out: resultFile(context),
                    }),
                  },
                  on: {
                    "effect.done.aggregated": "distributing",
                    "effect.failed.aggregated": [
                      {
                        guard: { type: "hasCulprit", params: ({ event }) => event },
                        target: "collecting",
                        actions: putOut,
                      },
                      {
                        target: "#parameterServer.failed",
                        actions: failOfError,
                      },
                    ],
                  },
                  after: {
                    [aggregateMs]: {
                      target: "#parameterServer.failed",
                      actions: failOf("averaging takes too long"),
                    },
                  },
                },
                // Bounded by the copies' own limits: a receiver that takes nothing is given up.
                distributing: {
                  invoke: {
                    src: "distributed",
                    input: ({ context }) => ({
                      ports: context.job.ports,
                      job: context.job,
                      peers: context.results,
                      out: resultFile(context),
                      spent: Object.values(context.batch),
                    }),
                  },
                  on: {
                    "effect.done.distributed": {
                      target: "reporting",
                      actions: [
                        leaveUnsent,
                        assign({ batch: {}, tries: 0 }),
                      ],
                    },
                    "effect.failed.distributed": {
                      target: "#parameterServer.failed",
                      actions: failOfError,
                    },
                  },
                },
                reporting: {
                  entry: assign({ tries: ({ context }) => context.tries + 1 }),
                  invoke: {
                    src: "reported",
                    input: ({ context }) => ({ ports: context.job.ports, job: context.job }),
                  },
                  on: {
                    "effect.done.reported": [
                      {
                        guard: { type: "isDone", params: ({ event }) => ({ answer: event.value }) },
                        target: "#parameterServer.finished",
                      },
                      {
                        guard: { type: "isOk", params: ({ event }) => ({ answer: event.value }) },
                        target: "collecting",
                        actions: assign({ round: ({ context }) => context.round + 1 }),
                      },
                      {
                        target: "#parameterServer.failed",
                        actions: failOf("the scheduler cannot place the round"),
                      },
                    ],
                    "effect.failed.reported": [
                      { guard: "isWorthRetrying", target: "waiting" },
                      {
                        target: "#parameterServer.failed",
                        actions: failOfError,
                      },
                    ],
                  },
                },
                waiting: { after: { [reportAgainMs]: "reporting" } },
              },
            },
          },
        },
      },
    },
    finished: { type: "final" },
    failed: { type: "final" },
  },
  output: ({ context }) => context.outcome,
});

function messageOf(error: unknown): string {
  if (error instanceof TransportError) return `${error.code}: ${error.detail}`;
  return error instanceof Error ? error.message : String(error);
}
