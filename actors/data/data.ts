/**
 * A data node's machine: announces its data set in the DHT and serves its files as slices.
 *
 * ```
 *  ──▶ scanning ── done ──▶ serving ── role.drain ──▶ draining ── no pull left ──▶ drained
 *         │                 (announcing: storing ⇄ stored, retrying; pulls beside it)
 *         │                     └── role.retire ─▶ retiring ── nobody pulls any more ──▶ draining
 *         └── failed ──▶ failed
 * ```
 *
 * Each pull is a child of its own; one that sends rubbish is reset and harms nobody. `draining` rejects new pulls. Requests are
 * declined: a data node answers none but health, which the node itself serves.
 *
 * @module
 */
import { assign, enqueueActions, setup } from "xstate";
import { Effect } from "effect";
import type { JobScope } from "../../pki/refusal.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText, RecordAnswer, StreamAnswer, StreamHandle, TransportFact } from "../../transport/port.ts";
import type { DataConfig } from "../config/config.ts";
import { type EffectFailed, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { answerAs, type RoleEvent, type RoleInput, type RoleOutcome, type TransportRef } from "../runtime/role.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { findIdentityBy } from "./grantor.ts";
import { checkReader } from "./may_read.ts";
import { isFramed, pullProtocols } from "../files/stream_file.ts";
import { type Dataset, scanDataset } from "./slices_directory.ts";
import { type PullOutcome, servePull } from "./serve_pull.ts";

/** Pulls served at once; a further one is rejected. Each holds a file and a piece of {@linkcode pieceBytes}. */
export const pullsMax = 64;
/** The announcement is repeated after this, in milliseconds: a gateway that restarted has forgotten it. */
export const announceEveryMs = 600_000;
/** Pullers that know the former PeerID have this long for their next pull, in milliseconds. */
export const retireQuietMs = 30_000;
/** One attempt to store the announcement, in milliseconds. */
const announceTimeoutMs = 10_000;
/** An attempt that the transport never answers, in milliseconds. */
const announceDeadlineMs = announceTimeoutMs + 5_000;

export interface DataContext extends RoleInput<DataConfig> {
  readonly dataset: Dataset | undefined;
  /** Running pulls: who pulls, by exchange. */
  readonly pulls: Readonly<Record<string, PeerIdentity>>;
  /** Pulls that were refused with `job-scope`. */
  readonly refusals: number;
  readonly announcements: number;
  readonly failures: number;
  readonly outcome: RoleOutcome;
}

type DataEvent =
  | RoleEvent
  | { readonly type: "effect.done.scan"; readonly value: Dataset }
  | EffectFailed<"scan", unknown>
  | { readonly type: "announced"; readonly announcement: number; readonly answer: RecordAnswer }
  | { readonly type: "pull.accepted"; readonly exchange: string; readonly answer: StreamAnswer }
  | {
    readonly type: "effect.done.pull";
    readonly value: { readonly exchange: string; readonly peer: PeerText; readonly outcome: PullOutcome };
  }
  | EffectFailed<"pull", unknown>;

const scan = fromEffect(
  "scan",
  (input: { readonly ports: Ports; readonly datasetPath: string }) => scanDataset(input.datasetPath),
);

const pull = fromEffect(
  "pull",
  (
    input: {
      readonly ports: Ports;
      readonly transport: TransportRef;
      readonly requireGrant: boolean;
      readonly exchange: string;
      readonly stream: StreamHandle;
      readonly dataset: Dataset;
    },
  ) => {
    const { ports, transport, requireGrant, stream, dataset, exchange } = input;
    const rules = { requireGrant, findIdentity: findIdentityBy(transport, ports.uuid), now: ports.now };
    return Effect.map(servePull(stream, dataset, rules), (outcome) => ({ exchange, peer: stream.peer, outcome }));
  },
);

/** The record's value: `{"num_slices": n}` as the existing nodes write it. */
function announcementOf(dataset: Dataset): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ num_slices: dataset.slices.length }));
}

/** What is said of a pull. Those that were refused go to the refusal ledger instead, which counts, logs and records them. */
function reportPull(ports: Ports, peer: PeerText, outcome: Exclude<PullOutcome, { type: "refused" }>): void {
  const fields = { peer, ...outcome };
  if (outcome.type === "served") {
    ports.report({
      level: "debug",
      event: "slice.served",
      message: `Served slice ${outcome.index} to ${peer}`,
      fields,
    });
    return;
  }
  ports.report({
    level: "warn",
    event: "slice.refused",
    message: outcome.type === "unknown"
      ? `Cannot serve slice ${outcome.index} of ${JSON.stringify(outcome.dataset.slice(0, 256))} to ${peer}: not here`
      : `Cannot serve ${peer}: ${outcome.reason}`,
    fields: { ...fields, ...(outcome.type === "unknown" ? { dataset: outcome.dataset.slice(0, 256) } : {}) },
  });
}

/** Why a peer may not pull here, whatever it asks for. */
function readerRefusal(
  { config }: DataContext,
  { identity, protocol }: Extract<TransportFact, { type: "stream.received" }>,
): JobScope | undefined {
  return checkReader(identity, { requireGrant: config.requireGrant === true, isGranted: isFramed(protocol) });
}

/** A refusal of a reader, as the node's ledger takes it. */
function refusedOf(
  { identity: { name, peer }, refusal }: { readonly identity: PeerIdentity; readonly refusal: JobScope },
): Extract<TransportFact, { type: "peer.refused" }> {
  return { type: "peer.refused", address: `/p2p/${peer}`, direction: "inbound", peer: { name, id: peer }, refusal };
}

/** The role machine of a data node. */
export const dataMachine = setup({
  types: {
    input: {} as RoleInput<DataConfig>,
    context: {} as DataContext,
    events: {} as DataEvent,
    output: {} as RoleOutcome,
  },
  actors: { scan, pull },
  guards: {
    /** A pull, of a peer that may read here, and there is room for it. */
    isTaken: ({ context }, fact: Extract<TransportFact, { type: "stream.received" }>) =>
      pullProtocols.some((pull) => pull === fact.protocol) && readerRefusal(context, fact) === undefined &&
      Object.keys(context.pulls).length < pullsMax,
    isIdle: ({ context }) => Object.keys(context.pulls).length === 0,
    isStale: ({ context }, params: { readonly announcement: number }) => params.announcement !== context.announcements,
    isOpened: (_, params: { readonly answer: StreamAnswer }) => params.answer.type === "stream.opened",
    isStored: (_, params: { readonly answer: RecordAnswer }) => params.answer.type === "record.stored",
  },
  delays: { retry: ({ context }) => backoffMs(context.failures, context.ports.random()) },
  actions: {
    countFailure: assign({ failures: ({ context }) => context.failures + 1 }),
    reportUnannounced: ({ context }, params: { readonly why: string }) =>
      context.ports.report({
        level: "warn",
        event: "dataset.unannounced",
        message: `Cannot announce data set ${context.dataset?.name} yet: ${params.why}`,
        fields: { dataset: context.dataset?.name },
      }),
    /** Refusals are the ledger's: counted by code, one line and one record each. */
    noteRefusal: enqueueActions(
      ({ context, self, enqueue }, params: { readonly identity: PeerIdentity; readonly refusal: JobScope }) => {
        enqueue.assign({ refusals: context.refusals + 1 });
        if (self._parent !== undefined) enqueue.sendParent(refusedOf(params));
      },
    ),
    rejectPull: enqueueActions(({ context, event, self, enqueue }) => {
      if (event.type !== "stream.received") return;
      enqueue.sendTo(context.transport, { type: "stream.reject", exchange: event.exchange });
      const isPull = pullProtocols.some((pull) => pull === event.protocol);
      const refusal = isPull ? readerRefusal(context, event) : undefined;
      if (refusal === undefined) return;
      enqueue.assign({ refusals: context.refusals + 1 });
      if (self._parent !== undefined) enqueue.sendParent(refusedOf({ identity: event.identity, refusal }));
    }),
    acceptPull: enqueueActions(({ context, event, self, enqueue }) => {
      if (event.type !== "stream.received") return;
      const { exchange, identity } = event;
      enqueue.assign({ pulls: { ...context.pulls, [exchange]: identity } });
      enqueue.sendTo(context.transport, {
        type: "stream.accept",
        exchange,
        replyTo: answerAs(self, (answer: StreamAnswer): DataEvent => ({ type: "pull.accepted", exchange, answer })),
      });
    }),
    endPull: enqueueActions(({ context, enqueue }, params: { readonly exchange: string }) => {
      const { [params.exchange]: _, ...pulls } = context.pulls;
      enqueue.assign({ pulls });
      enqueue.stopChild(`pull/${params.exchange}`);
    }),
  },
}).createMachine({
  id: "data",
  context: ({ input }) => ({
    ...input,
    dataset: undefined,
    pulls: {},
    refusals: 0,
    announcements: 0,
    failures: 0,
    outcome: { type: "drained" },
  }),
  initial: "scanning",
  on: {
    "request.received": {
      actions: enqueueActions(({ context, event, enqueue }) =>
        enqueue.sendTo(context.transport, { type: "decline", exchange: event.exchange })
      ),
    },
    "stream.received": {
      actions: enqueueActions(({ context, event, enqueue }) =>
        enqueue.sendTo(context.transport, { type: "stream.reject", exchange: event.exchange })
      ),
    },
    "pull.accepted": [
      {
        guard: { type: "isOpened", params: ({ event }) => event },
        actions: enqueueActions(({ context, event, enqueue }) => {
          if (event.answer.type !== "stream.opened" || context.dataset === undefined) return;
          enqueue.spawnChild("pull", {
            id: `pull/${event.exchange}`,
            input: {
              ports: context.ports,
              transport: context.transport,
              requireGrant: context.config.requireGrant === true,
              exchange: event.exchange,
              stream: event.answer.stream,
              dataset: context.dataset,
            },
          });
        }),
      },
      { actions: { type: "endPull", params: ({ event }) => ({ exchange: event.exchange }) } },
    ],
    "effect.done.pull": {
      actions: [
        enqueueActions(({ context, event, enqueue }) => {
          const { exchange, peer, outcome } = event.value;
          const identity = context.pulls[exchange];
          if (outcome.type !== "refused") return enqueue(() => reportPull(context.ports, peer, outcome));
          if (identity !== undefined) {
            enqueue({ type: "noteRefusal", params: { identity, refusal: outcome.refusal } });
          }
        }),
        { type: "endPull", params: ({ event }) => ({ exchange: event.value.exchange }) },
      ],
    },
  },
  states: {
    scanning: {
      invoke: {
        src: "scan",
        input: ({ context }) => ({ ports: context.ports, datasetPath: context.config.datasetPath }),
      },
      on: {
        "effect.done.scan": { target: "serving", actions: assign({ dataset: ({ event }) => event.value }) },
        "effect.failed.scan": {
          target: "failed",
          actions: assign({ outcome: ({ event }) => ({ type: "failed", reason: String(event.error) }) }),
        },
        "role.drain": "drained",
        "role.retire": "drained",
      },
    },
    serving: {
      entry: enqueueActions(({ context, enqueue }) => {
        for (const protocol of pullProtocols) enqueue.sendTo(context.transport, { type: "serve", protocol });
      }),
      on: {
        "stream.received": [
          { guard: { type: "isTaken", params: ({ event }) => event }, actions: "acceptPull" },
          { actions: "rejectPull" },
        ],
        "role.drain": "draining",
        "role.retire": "retiring",
      },
      initial: "storing",
      states: {
        storing: {
          entry: enqueueActions(({ context, self, enqueue }) => {
            if (context.dataset === undefined) return;
            const announcement = context.announcements + 1;
            enqueue.assign({ announcements: announcement });
            enqueue.sendTo(context.transport, {
              type: "record.put",
              id: `announce/${announcement}`,
              key: context.dataset.name,
              value: announcementOf(context.dataset),
              timeoutMs: announceTimeoutMs,
              replyTo: answerAs(
                self,
                (answer: RecordAnswer): DataEvent => ({ type: "announced", announcement, answer }),
              ),
            });
          }),
          on: {
            // The peers that are being told were chosen before: who has joined us since knows nothing.
            rejoined: { target: "storing", reenter: true },
            announced: [
              { guard: { type: "isStale", params: ({ event }) => event } },
              {
                guard: { type: "isStored", params: ({ event }) => event },
                target: "stored",
                actions: assign({ failures: 0 }),
              },
              {
                target: "retrying",
                actions: ["countFailure", {
                  type: "reportUnannounced",
                  params: ({ event }) => ({
                    why: event.answer.type === "record.failed" ? event.answer.error.message : "no peer stored it",
                  }),
                }],
              },
            ],
          },
          after: { [announceDeadlineMs]: { target: "retrying", actions: "countFailure" } },
        },
        stored: {
          entry: ({ context }) =>
            context.ports.report({
              level: "info",
              event: "dataset.announced",
              message: `Announced data set ${context.dataset?.name} of ${context.dataset?.slices.length} slices`,
              fields: { dataset: context.dataset?.name, slices: context.dataset?.slices.length },
            }),
          after: { [announceEveryMs]: "storing" },
          on: { rejoined: "storing" },
        },
        retrying: { after: { retry: "storing" }, on: { rejoined: "storing" } },
      },
    },
    /** Announces no more, and serves whom it is known to, until nobody comes. */
    retiring: {
      on: {
        "stream.received": [
          {
            guard: { type: "isTaken", params: ({ event }) => event },
            target: "retiring",
            reenter: true,
            actions: "acceptPull",
          },
          { actions: "rejectPull" },
        ],
        "role.drain": "draining",
      },
      after: { [retireQuietMs]: "draining" },
    },
    draining: {
      entry: enqueueActions(({ context, enqueue }) => {
        for (const protocol of pullProtocols) enqueue.sendTo(context.transport, { type: "unserve", protocol });
      }),
      always: { guard: "isIdle", target: "drained" },
    },
    drained: { type: "final" },
    failed: { type: "final" },
  },
  output: ({ context }) => context.outcome,
});
