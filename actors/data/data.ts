/**
 * A data node's machine: announces its data set in the DHT and serves its files as slices.
 *
 * ```
 *  ──▶ scanning ── done ──▶ serving ── role.drain ──▶ draining ── no pull left ──▶ drained
 *         │                 (announcing: storing ⇄ stored, retrying; pulls in parallel)
 *         │                     └── role.retire ─▶ retiring ── no pulls for a while ──▶ draining
 *         └── failed ──▶ failed
 * ```
 *
 * Each pull is a child of its own; a malformed one is reset and does not disturb the others. `draining` rejects new pulls.
 * Requests are declined: the node itself answers health, and a data node serves no other protocol of requests.
 *
 * @module
 */
import { assign, enqueueActions, sendTo, setup } from "xstate";
import { Effect } from "effect";
import type { JobScope } from "../../pki/refusal.ts";
import type { PeerIdentity } from "../../pki/path.ts";
import type { PeerText, RecordAnswer, StreamAnswer, StreamHandle, TransportFact } from "../../transport/port.ts";
import type { DataConfig } from "../config/config.ts";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { answerAs, type RoleEvent, type RoleInput, type RoleOutcome, type TransportRef } from "../runtime/role.ts";
import { backoffMs } from "../runtime/backoff.ts";
import { findIdentityBy } from "./trusted_scheduler.ts";
import { checkReader } from "./may_read.ts";
import { isFramed, pullProtocols } from "../files/stream_file.ts";
import { type Dataset, scanDataset } from "./slices_directory.ts";
import { type PullOutcome, servePull } from "./serve_pull.ts";

/** Pulls served at once; a further one is rejected. Each holds a file and a piece of {@linkcode pieceBytes}. */
export const pullsMax = 64;
/** The announcement is repeated after this, in milliseconds: a gateway that restarted no longer has it. */
export const announceEveryMs = 600_000;
/** Pullers that know the previous PeerID have this long for their next pull, in milliseconds. */
export const retireQuietMs = 30_000;
/** One attempt to store the announcement, in milliseconds. */
const announceTimeoutMs = 10_000;
/** An attempt that the transport does not answer is given up after this, in milliseconds. */
const announceDeadlineMs = announceTimeoutMs + 5_000;

export interface DataContext extends RoleInput<DataConfig> {
  readonly dataset: Dataset | undefined;
  /** Pullers of the running pulls, by exchange. */
  readonly pulls: Readonly<Record<string, PeerIdentity>>;
  /** Pulls that were refused with `job-scope`. */
  readonly refusals: number;
  readonly announcements: number;
  readonly failures: number;
  readonly outcome: RoleOutcome;
}

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

const actors = { scan, pull };

type DataEvent =
  | RoleEvent
  | EventsOf<typeof actors>
  | { readonly type: "announced"; readonly announcement: number; readonly answer: RecordAnswer }
  | { readonly type: "pull.opened"; readonly exchange: string; readonly stream: StreamHandle }
  | { readonly type: "pull.unopened"; readonly exchange: string };

type ReceivedStream = Extract<TransportFact, { type: "stream.received" }>;
type OpenedPull = Extract<DataEvent, { type: "pull.opened" }>;
type EndedPull = Extract<DataEvent, { type: "effect.done.pull" }>["value"];

/** The record's value: `{"num_slices": n}` as the existing nodes write it. */
function announcementOf(dataset: Dataset): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ num_slices: dataset.slices.length }));
}

/** Reports a pull. The refusal log counts, logs and records refused ones. */
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

/** Why a peer may not pull any slice here. */
function readerRefusal(
  { config }: DataContext,
  { identity, protocol }: ReceivedStream,
): JobScope | undefined {
  return checkReader(identity, { requireGrant: config.requireGrant === true, isGranted: isFramed(protocol) });
}

/** A refusal of a reader, in the form that the node's refusal log takes. */
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
  actors,
  guards: {
    /** A pull by a peer that may read here, while there is room for it. */
    isTaken: ({ context }, fact: ReceivedStream) =>
      pullProtocols.some((pull) => pull === fact.protocol) && readerRefusal(context, fact) === undefined &&
      Object.keys(context.pulls).length < pullsMax,
    isIdle: ({ context }) => Object.keys(context.pulls).length === 0,
    isStale: ({ context }, { announcement }: { readonly announcement: number }) =>
      announcement !== context.announcements,
    isStored: (_, { answer }: { readonly answer: RecordAnswer }) => answer.type === "record.stored",
  },
  delays: { retry: ({ context }) => backoffMs(context.failures, context.ports.random()) },
  actions: {
    takeDataset: assign({ dataset: (_, { value }: { readonly value: Dataset }) => value }),
    reportEmpty: ({ context }, { value: { name, empty } }: { readonly value: Dataset }) => {
      if (empty.length === 0) return;
      context.ports.report({
        level: "error",
        event: "slice.empty",
        message: `Cannot announce ${empty.length} empty files of data set ${name}: ${empty.slice(0, 10).join(", ")}`,
        fields: { dataset: name, files: empty.slice(0, 100), count: empty.length },
      });
    },
    setFailed: assign((_, { error }: { readonly error: unknown }) => ({
      outcome: { type: "failed", reason: String(error) },
    })),
    servePulls: enqueueActions(({ context, enqueue }) => {
      for (const protocol of pullProtocols) enqueue.sendTo(context.transport, { type: "serve", protocol });
    }),
    unservePulls: enqueueActions(({ context, enqueue }) => {
      for (const protocol of pullProtocols) enqueue.sendTo(context.transport, { type: "unserve", protocol });
    }),
    announce: enqueueActions(({ context, self, enqueue }) => {
      const dataset = present(context.dataset, "the data set");
      const announcement = context.announcements + 1;
      enqueue.assign({ announcements: announcement });
      enqueue.sendTo(context.transport, {
        type: "record.put",
        id: `announce/${announcement}`,
        key: dataset.name,
        value: announcementOf(dataset),
        timeoutMs: announceTimeoutMs,
        replyTo: answerAs(self, (answer: RecordAnswer): DataEvent => ({ type: "announced", announcement, answer })),
      });
    }),
    clearFailures: assign({ failures: 0 }),
    countFailure: assign({ failures: ({ context }) => context.failures + 1 }),
    reportAnnounced: ({ context }) =>
      context.ports.report({
        level: "info",
        event: "dataset.announced",
        message: `Announced data set ${context.dataset?.name} of ${context.dataset?.slices.length} slices`,
        fields: { dataset: context.dataset?.name, slices: context.dataset?.slices.length },
      }),
    reportUnannounced: ({ context }, { answer }: { readonly answer: RecordAnswer }) => {
      const why = answer.type === "record.failed" ? answer.error.message : "no peer stored it";
      context.ports.report({
        level: "warn",
        event: "dataset.unannounced",
        message: `Cannot announce data set ${context.dataset?.name} yet: ${why}`,
        fields: { dataset: context.dataset?.name },
      });
    },
    declineRequest: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: { readonly exchange: string }) => ({ type: "decline", exchange }),
    ),
    rejectStream: sendTo(
      ({ context }) => context.transport,
      (_, { exchange }: { readonly exchange: string }) => ({ type: "stream.reject", exchange }),
    ),
    rejectPull: enqueueActions(({ context, enqueue }, fact: ReceivedStream) => {
      enqueue.sendTo(context.transport, { type: "stream.reject", exchange: fact.exchange });
      const isPull = pullProtocols.some((pull) => pull === fact.protocol);
      const refusal = isPull ? readerRefusal(context, fact) : undefined;
      if (refusal === undefined) return;
      enqueue.assign({ refusals: context.refusals + 1 });
      if (context.parent !== undefined) enqueue.sendTo(context.parent, refusedOf({ identity: fact.identity, refusal }));
    }),
    acceptPull: enqueueActions(({ context, self, enqueue }, { exchange, identity }: ReceivedStream) => {
      enqueue.assign({ pulls: { ...context.pulls, [exchange]: identity } });
      enqueue.sendTo(context.transport, {
        type: "stream.accept",
        exchange,
        replyTo: answerAs(
          self,
          (answer: StreamAnswer): DataEvent =>
            answer.type === "stream.opened"
              ? { type: "pull.opened", exchange, stream: answer.stream }
              : { type: "pull.unopened", exchange },
        ),
      });
    }),
    startPull: enqueueActions(({ context, enqueue }, { exchange, stream }: OpenedPull) => {
      const { ports, transport, config } = context;
      enqueue.spawnChild("pull", {
        id: `pull/${exchange}`,
        input: {
          ports,
          transport,
          requireGrant: config.requireGrant === true,
          exchange,
          stream,
          dataset: present(context.dataset, "the data set"),
        },
      });
    }),
    notePull: enqueueActions(({ context, enqueue }, { exchange, peer, outcome }: EndedPull) => {
      if (outcome.type !== "refused") return enqueue(() => reportPull(context.ports, peer, outcome));
      const identity = context.pulls[exchange];
      if (identity === undefined) return;
      const { refusal } = outcome;
      enqueue.assign({ refusals: context.refusals + 1 });
      if (context.parent !== undefined) enqueue.sendTo(context.parent, refusedOf({ identity, refusal }));
    }),
    endPull: enqueueActions(({ context, enqueue }, { exchange }: { readonly exchange: string }) => {
      const { [exchange]: _, ...pulls } = context.pulls;
      enqueue.assign({ pulls });
      enqueue.stopChild(`pull/${exchange}`);
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
    "request.received": { actions: { type: "declineRequest", params: ({ event }) => event } },
    "stream.received": { actions: { type: "rejectStream", params: ({ event }) => event } },
    "pull.opened": { actions: { type: "startPull", params: ({ event }) => event } },
    "pull.unopened": { actions: { type: "endPull", params: ({ event }) => event } },
    "effect.done.pull": {
      actions: [
        { type: "notePull", params: ({ event }) => event.value },
        { type: "endPull", params: ({ event }) => event.value },
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
        "effect.done.scan": {
          target: "serving",
          actions: [
            { type: "takeDataset", params: ({ event }) => event },
            { type: "reportEmpty", params: ({ event }) => event },
          ],
        },
        "effect.failed.scan": {
          target: "failed",
          actions: { type: "setFailed", params: ({ event }) => event },
        },
        "role.drain": "drained",
        "role.retire": "drained",
      },
    },
    serving: {
      entry: "servePulls",
      on: {
        "stream.received": [
          {
            guard: { type: "isTaken", params: ({ event }) => event },
            actions: { type: "acceptPull", params: ({ event }) => event },
          },
          { actions: { type: "rejectPull", params: ({ event }) => event } },
        ],
        "role.drain": "draining",
        "role.retire": "retiring",
      },
      initial: "storing",
      states: {
        storing: {
          entry: "announce",
          on: {
            // The peers that store the record were chosen before: the gateway that was found now has no copy.
            rejoined: { target: "storing", reenter: true },
            announced: [
              { guard: { type: "isStale", params: ({ event }) => event } },
              {
                guard: { type: "isStored", params: ({ event }) => event },
                target: "stored",
                actions: "clearFailures",
              },
              {
                target: "retrying",
                actions: ["countFailure", { type: "reportUnannounced", params: ({ event }) => event }],
              },
            ],
          },
          after: { [announceDeadlineMs]: { target: "retrying", actions: "countFailure" } },
        },
        stored: {
          entry: "reportAnnounced",
          after: { [announceEveryMs]: "storing" },
          on: { rejoined: "storing" },
        },
        retrying: { after: { retry: "storing" }, on: { rejoined: "storing" } },
      },
    },
    /** Announces no more. Serves peers that know the previous PeerID, until no pull arrives for a while. */
    retiring: {
      on: {
        "stream.received": [
          {
            guard: { type: "isTaken", params: ({ event }) => event },
            target: "retiring",
            reenter: true,
            actions: { type: "acceptPull", params: ({ event }) => event },
          },
          { actions: { type: "rejectPull", params: ({ event }) => event } },
        ],
        "role.drain": "draining",
      },
      after: { [retireQuietMs]: "draining" },
    },
    draining: {
      entry: "unservePulls",
      always: { guard: "isIdle", target: "drained" },
    },
    drained: { type: "final" },
    failed: { type: "final" },
  },
  output: ({ context }) => context.outcome,
});
