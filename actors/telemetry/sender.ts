/**
 * Sends what waits in a queue to a collector: spans, or lines of the log. Each signal has a sender of its own.
 *
 * ```
 * resting ── 5 s, or a batch waits ──▶ looking ── empty ──▶ resting        sender.leave, from everywhere
 *    ▲                                    │                                     │
 *    ├────────── sent ◀───────────────────┴─▶ sending ── not sent ─▶ waiting    ▼
 *    └── 5 s: looking ◀──────────────────────────────────────────────┘      leaving ── one batch, or time over ─▶ left
 * ```
 *
 * A batch that was not sent stays in the queue, unless the collector answers that it will never take it. While the collector is away the
 * queue fills, and what finds no room is dropped and counted. A failure is reported once, and so is its end.
 *
 * @module
 */
import { assign, setup } from "xstate";
import { telemetryLeaveMs } from "../config/defaults.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { type Collector, NotSent } from "./collector.ts";
import type { LogRecord } from "./otlp.ts";
import { type Batch, sendBatch, signalNames } from "./send_batch.ts";
import { batchMax, type SignalQueue } from "./signal_queue.ts";
import type { Span } from "./span.ts";

/** The queue of a signal. */
export type Outgoing =
  | { readonly signal: "traces"; readonly queue: SignalQueue<Span> }
  | { readonly signal: "logs"; readonly queue: SignalQueue<LogRecord> };

/** The input of a sender. */
export interface SenderInput {
  readonly ports: Ports;
  readonly collector: Collector;
  readonly outgoing: Outgoing;
}

/** The events that a sender receives. */
export type SenderEvent =
  /** A batch waits. */
  | { readonly type: "sender.batch" }
  /** The node has ended: send once more, then end. */
  | { readonly type: "sender.leave" }
  | EventsOf<typeof actors>;

type SendInput = EffectInput & { readonly collector: Collector; readonly batch: Batch };

const actors = { send: fromEffect("send", ({ collector, batch }: SendInput) => sendBatch(collector, batch)) };

/** The context of a sender. */
export interface SenderContext extends SenderInput {
  /** Items that are being sent. */
  readonly underway: number;
  /** Failed exports since the start, and whether the last one failed. */
  readonly failures: number;
  readonly failing: boolean;
}

/** Items wait at most this long, in milliseconds (`OTEL_BSP_SCHEDULE_DELAY`'s default). */
export const sendEveryMs = 5_000;

function batchOf({ signal, queue }: Outgoing): Batch {
  return { signal, items: queue.batch() } as Batch;
}

function reportUnsent({ ports, failing }: SenderContext, { message }: Error): void {
  if (failing) return;
  ports.report({
    level: "warn",
    event: "telemetry.unsent",
    message: `${message}. The node continues without it and tries again, without further log lines, until it works`,
    fields: { hint: "Check that the collector runs and takes OTLP over HTTP, and telemetry_endpoint." },
  });
}

function reportSent({ ports, failing, failures, outgoing: { signal } }: SenderContext): void {
  if (!failing) return;
  const message = `${signalNames[signal]} are taken again`;
  ports.report({ level: "info", event: "telemetry.sent", message, fields: { failures } });
}

const sender = setup({
  types: { input: {} as SenderInput, context: {} as SenderContext, events: {} as SenderEvent },
  actors,
  guards: {
    isEmpty: ({ context }) => context.outgoing.queue.size === 0,
    hasBatch: ({ context }) => context.outgoing.queue.size >= batchMax,
  },
  actions: {
    noteUnderway: assign({ underway: ({ context }) => Math.min(batchMax, context.outgoing.queue.size) }),
    removeSent: ({ context: { outgoing, underway } }) => outgoing.queue.remove(underway, "sent"),
    removeRefused: ({ context: { outgoing, underway } }, { error }: { readonly error: Error }) => {
      // A batch that cannot be encoded would be tried for ever.
      if (!(error instanceof NotSent && error.again)) outgoing.queue.remove(underway, "dropped");
    },
    noteSent: assign({ failing: false }),
    noteUnsent: assign({ failing: true, failures: ({ context }) => context.failures + 1 }),
    reportSent: ({ context }) => reportSent(context),
    reportUnsent: ({ context }, { error }: { readonly error: Error }) => reportUnsent(context, error),
  },
  delays: { sendEveryMs, leaveMs: telemetryLeaveMs },
});

type FailEvent = { readonly event: { readonly error: Error } };
const failure = ({ event }: FailEvent) => ({ error: event.error });

const sendOnce = sender.createStateConfig({
  entry: "noteUnderway",
  invoke: {
    src: "send",
    input: ({ context: { ports, collector, outgoing } }) => ({ ports, collector, batch: batchOf(outgoing) }),
  },
});

/** The machine of a sender. It ends after `sender.leave`. */
export const senderMachine = sender.createMachine({
  id: "sender",
  context: ({ input }) => ({ ...input, underway: 0, failures: 0, failing: false }),
  initial: "running",
  states: {
    running: {
      on: { "sender.leave": "leaving" },
      initial: "resting",
      states: {
        resting: { after: { sendEveryMs: "looking" }, on: { "sender.batch": "looking" } },
        looking: { always: [{ guard: "isEmpty", target: "resting" }, { target: "sending" }] },
        sending: {
          ...sendOnce,
          on: {
            "effect.done.send": { target: "sent", actions: ["removeSent", "reportSent", "noteSent"] },
            "effect.failed.send": {
              target: "waiting",
              actions: [
                { type: "reportUnsent", params: failure },
                { type: "removeRefused", params: failure },
                "noteUnsent",
              ],
            },
          },
        },
        sent: { always: [{ guard: "hasBatch", target: "sending" }, { target: "resting" }] },
        waiting: { after: { sendEveryMs: "looking" } },
      },
    },
    leaving: {
      initial: "looking",
      after: { leaveMs: "left" },
      states: {
        looking: { always: [{ guard: "isEmpty", target: "#sender.left" }, { target: "sending" }] },
        sending: {
          ...sendOnce,
          on: {
            "effect.done.send": { target: "looking", actions: "removeSent" },
            "effect.failed.send": "#sender.left",
          },
        },
      },
    },
    left: { type: "final" },
  },
});
