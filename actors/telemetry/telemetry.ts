/**
 * A node's telemetry: sends metrics to a collector at intervals, and serves the endpoint that Prometheus reads.
 *
 * ```
 * running: exporting ── off │ sending ⇄ resting        leaving ── last export done, or time over ──▶ left
 *          serving ──── off │ opening ─▶ open            ▲
 *             │                ▲    └─▶ waiting ─┘        │
 *             └──────────── telemetry.leave ──────────────┘
 * ```
 *
 * It is a root actor of its own. It reads the snapshots of the node's actors, and none of them refers to it, so that a collector
 * that is down, slow or hostile cannot disturb the node. A failure is reported once, and so is its end. `leaving` and `left`
 * ignore all events except the end of the last export.
 *
 * @module
 */
import { assign, setup } from "xstate";
import { telemetryLeaveMs } from "../config/defaults.ts";
import { isLoopback, type ListenPlace } from "../config/telemetry_values.ts";
import { type EffectInput, type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";
import { fromScoped } from "../runtime/scoped_actor.ts";
import type { Sample } from "./instruments.ts";
import { prometheusText } from "./registry.ts";
import { type ScrapeOptions, serveMetrics } from "./scrape.ts";
import { type Collector, sendMetrics } from "./send_metrics.ts";

/** The input of telemetry. */
export interface TelemetryInput {
  readonly ports: Ports;
  /** Undefined: no export. */
  readonly collector: Collector | undefined;
  /** Interval of exports, in milliseconds. */
  readonly intervalMs: number;
  /** Undefined: no endpoint. */
  readonly listen: ListenPlace | undefined;
  /** Reads the node's current metrics. */
  readonly collect: () => readonly Sample[];
  /** Why the node is not ready; undefined while it is. */
  readonly unready: () => string | undefined;
}

/** The events that telemetry receives. */
export type TelemetryEvent =
  /** The node has ended: export once more, then end. */
  | { readonly type: "telemetry.leave" }
  | EventsOf<typeof actors>;

type SendInput = EffectInput & { readonly collector: Collector; readonly samples: readonly Sample[] };

const actors = {
  send: fromEffect("send", ({ collector, samples }: SendInput) => sendMetrics(collector, samples)),
  serve: fromScoped("serve", (options: EffectInput & ScrapeOptions) => serveMetrics(options)),
};

export interface TelemetryContext extends TelemetryInput {
  /** Failed exports since the start, and whether the last one failed. */
  readonly failures: number;
  readonly failing: boolean;
  readonly unserved: boolean;
}

/** An endpoint that could not be opened is tried again after this, in milliseconds. */
export const reopenMs = 30_000;
function reportUnsent({ ports, failing }: TelemetryContext, { message }: Error): void {
  if (failing) return;
  ports.report({
    level: "warn",
    event: "telemetry.unsent",
    message: `${message}. The node continues without it and tries again, without further log lines, until it works`,
    fields: { hint: "Check that the collector runs and takes OTLP over HTTP, and telemetry_endpoint." },
  });
}

function reportSent({ ports, failing, failures }: TelemetryContext): void {
  if (!failing) return;
  const message = "Metrics are taken again";
  ports.report({ level: "info", event: "telemetry.sent", message, fields: { failures } });
}

function reportServing({ ports, listen }: TelemetryContext, port: number): void {
  if (listen === undefined) return;
  const where = `${listen.host}:${port}`;
  const open = isLoopback(listen)
    ? ""
    : "; every host that reaches this address can read them: restrict access with a firewall";
  ports.report({
    level: open === "" ? "info" : "warn",
    event: "telemetry.serving",
    message: `Metrics can be read at ${where}/metrics${open}`,
    fields: { host: listen.host, port },
  });
}

function reportUnserved({ ports, listen, unserved }: TelemetryContext, { message }: Error): void {
  if (unserved) return;
  ports.report({
    level: "error",
    event: "telemetry.unserved",
    message: `${message}. The node continues without it and tries again, without further log lines`,
    fields: {
      place: listen,
      hint: "See who has the port (ss -ltnp), or name another in metrics_listen_address.",
    },
  });
}

const telemetry = setup({
  types: {
    input: {} as TelemetryInput,
    context: {} as TelemetryContext,
    events: {} as TelemetryEvent,
  },
  actors,
  guards: {
    sends: ({ context }) => context.collector !== undefined,
    serves: ({ context }) => context.listen !== undefined,
  },
  actions: {
    noteSent: assign({ failing: false }),
    noteUnsent: assign({ failing: true, failures: ({ context }) => context.failures + 1 }),
    noteServed: assign({ unserved: false }),
    noteUnserved: assign({ unserved: true }),
    reportSent: ({ context }) => reportSent(context),
    reportUnsent: ({ context }, { error }: { readonly error: Error }) => reportUnsent(context, error),
    reportServing: ({ context }, { port }: { readonly port: number }) => reportServing(context, port),
    reportUnserved: ({ context }, { error }: { readonly error: Error }) => reportUnserved(context, error),
  },
  delays: {
    interval: ({ context }) => context.intervalMs,
    reopenMs,
    leaveMs: telemetryLeaveMs,
  },
});

type FailEvent = { readonly event: { readonly error: Error } };
const failure = ({ event }: FailEvent) => ({ error: event.error });

const sendOnce = telemetry.createStateConfig({
  invoke: {
    src: "send",
    input: ({ context }) => ({
      ports: context.ports,
      collector: present(context.collector, "the collector"),
      samples: context.collect(),
    }),
  },
});

/** The machine of telemetry. It ends after `telemetry.leave`. */
export const telemetryMachine = telemetry.createMachine({
  id: "telemetry",
  context: ({ input }) => ({ ...input, failures: 0, failing: false, unserved: false }),
  initial: "running",
  states: {
    running: {
      type: "parallel",
      on: { "telemetry.leave": "leaving" },
      states: {
        exporting: {
          initial: "deciding",
          states: {
            deciding: { always: [{ guard: "sends", target: "sending" }, { target: "off" }] },
            sending: {
              ...sendOnce,
              on: {
                "effect.done.send": { target: "resting", actions: ["reportSent", "noteSent"] },
                "effect.failed.send": {
                  target: "resting",
                  actions: [{ type: "reportUnsent", params: failure }, "noteUnsent"],
                },
              },
            },
            resting: { after: { interval: "sending" } },
            off: {},
          },
        },
        serving: {
          initial: "deciding",
          states: {
            deciding: { always: [{ guard: "serves", target: "open" }, { target: "off" }] },
            open: {
              invoke: {
                src: "serve",
                input: ({ context }) => ({
                  ports: context.ports,
                  place: present(context.listen, "the address to listen on"),
                  page: () => prometheusText(context.collect()),
                  unready: context.unready,
                  now: context.ports.now,
                }),
              },
              on: {
                "effect.done.serve": {
                  actions: [{ type: "reportServing", params: ({ event }) => ({ port: event.value }) }, "noteServed"],
                },
                "effect.failed.serve": {
                  target: "waiting",
                  actions: [{ type: "reportUnserved", params: failure }, "noteUnserved"],
                },
              },
            },
            waiting: { after: { reopenMs: "open" } },
            off: {},
          },
        },
      },
    },
    leaving: {
      initial: "deciding",
      after: { leaveMs: "left" },
      states: {
        deciding: { always: [{ guard: "sends", target: "sending" }, { target: "#telemetry.left" }] },
        sending: {
          ...sendOnce,
          on: {
            "effect.done.send": "#telemetry.left",
            "effect.failed.send": "#telemetry.left",
          },
        },
      },
    },
    left: { type: "final" },
  },
});
