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
 * Each pull is a child of its own; a malformed one is reset and does not disturb the others. Places are bounded, for all and for each
 * peer (`pulls.ts`): a pull that finds none waits. `draining` rejects new pulls and those that wait.
 * Requests are declined: the node itself answers health, and a data node serves no other protocol of requests.
 *
 * @module
 */
import { assign, enqueueActions, sendTo } from "xstate";
import type { RecordAnswer } from "../../transport/port.ts";
import { pullProtocols } from "../files/stream_file.ts";
import { present } from "../runtime/present.ts";
import { answerAs } from "../runtime/role.ts";
import { beginningOf, type DataEvent, dataSetup } from "./data_setup.ts";
import {
  acceptPulls,
  awaitPullerEnd,
  endPull,
  holdPull,
  notePull,
  rejectLate,
  rejectPull,
  rejectWaiting,
  startPull,
} from "./pull_actions.ts";
import type { Dataset } from "./slices_directory.ts";

/** The announcement is repeated after this, in milliseconds: a gateway that restarted no longer has it. */
export const announceEveryMs = 600_000;
/** Pullers that know the previous PeerID have this long for their next pull, in milliseconds. */
export const retireQuietMs = 30_000;
/** One attempt to store the announcement, in milliseconds. */
const announceTimeoutMs = 10_000;
/** An attempt that the transport does not answer is given up after this, in milliseconds. */
const announceDeadlineMs = announceTimeoutMs + 5_000;

/** The record's value: `{"num_slices": n}` as the existing nodes write it. */
function announcementOf(dataset: Dataset): Uint8Array {
  return new TextEncoder().encode(JSON.stringify({ num_slices: dataset.slices.length }));
}

/** The role machine of a data node. */
export const dataMachine = dataSetup.extend({
  actions: {
    takeDataset: assign({ dataset: (_, { value }: { readonly value: Dataset }) => value }),
    reportLeftOut: ({ context }, { value: { name, ...dataset } }: { readonly value: Dataset }) => {
      for (const what of ["empty", "unreadable"] as const) {
        const files = dataset[what];
        if (files.length === 0) continue;
        context.ports.report({
          level: "error",
          event: `slice.${what}`,
          message: `Cannot announce ${files.length} ${what} files of data set ${name}: ${
            files.slice(0, 10).join(", ")
          }`,
          fields: { dataset: name, files: files.slice(0, 100), count: files.length },
        });
      }
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
    rejectPull: enqueueActions(rejectPull),
    holdPull: enqueueActions(holdPull),
    acceptPulls: enqueueActions(acceptPulls),
    rejectLate: enqueueActions(rejectLate),
    rejectWaiting: enqueueActions(rejectWaiting),
    startPull: enqueueActions(startPull),
    notePull: enqueueActions(notePull),
    awaitPullerEnd: enqueueActions(awaitPullerEnd),
    endPull: enqueueActions(endPull),
  },
}).createMachine({
  id: "data",
  context: ({ input }) => beginningOf(input),
  initial: "scanning",
  on: {
    "request.received": { actions: { type: "declineRequest", params: ({ event }) => event } },
    "stream.received": { actions: { type: "rejectStream", params: ({ event }) => event } },
    "pull.opened": { actions: { type: "startPull", params: ({ event }) => event } },
    "pull.unopened": { actions: [{ type: "endPull", params: ({ event }) => event }, "acceptPulls"] },
    "pull.late": { actions: { type: "rejectLate", params: ({ event }) => event } },
    "effect.done.pull": [
      {
        guard: { type: "isWritten", params: ({ event }) => event.value },
        actions: [
          { type: "notePull", params: ({ event }) => event.value },
          { type: "awaitPullerEnd", params: ({ event }) => event.value },
          "acceptPulls",
        ],
      },
      {
        actions: [
          { type: "notePull", params: ({ event }) => event.value },
          { type: "endPull", params: ({ event }) => event.value },
          "acceptPulls",
        ],
      },
    ],
    "effect.done.pullerEnd": {
      actions: [{ type: "endPull", params: ({ event }) => event.value }, "acceptPulls"],
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
            { type: "reportLeftOut", params: ({ event }) => event },
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
            actions: [{ type: "holdPull", params: ({ event }) => event }, "acceptPulls"],
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
            actions: [{ type: "holdPull", params: ({ event }) => event }, "acceptPulls"],
          },
          { actions: { type: "rejectPull", params: ({ event }) => event } },
        ],
        "role.drain": "draining",
      },
      after: { [retireQuietMs]: "draining" },
    },
    draining: {
      entry: ["unservePulls", "rejectWaiting"],
      always: { guard: "isIdle", target: "drained" },
    },
    drained: { type: "final" },
    failed: { type: "final" },
  },
  output: ({ context }) => context.outcome,
});
