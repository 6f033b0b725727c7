/**
 * The status bridge of a scheduler: posts each metric that a trainer reports to `status_bridge`, as the existing scheduler does:
 * `POST http://ADDRESS/status`, a JSON object for each metric.
 *
 * ```
 *  resting ── metrics.reported ──▶ posting ── it answered ──▶ resting
 *     ▲                               │ no answer
 *     └────── after a while ── pausing ◀
 * ```
 *
 * A receiver that is down does not disturb a training: metrics wait, and the oldest are dropped beyond {@linkcode waitingMax}. The first
 * failure is logged, and the next success.
 *
 * @module
 */
import { type ActorRefFrom, assign, enqueueActions, setup } from "xstate";
import { Data, Effect } from "effect";
import { type EventsOf, fromEffect } from "../runtime/effect_actor.ts";
import type { Ports, Report } from "../runtime/ports.ts";
import { present } from "../runtime/present.ts";

/** Metrics that wait for the receiver; of more, the oldest is dropped. */
export const waitingMax = 1_000;
/** From the request to the head of its answer, in milliseconds. */
const postMs = 5_000;
/** Between two tries of a receiver that does not answer, in milliseconds. */
const againMs = 5_000;
/** Longest reason in the log, in characters: a resolver or a proxy may add text. */
const reasonMax = 200;

/** A metric as it is posted. */
export interface PostedMetric {
  /** The trainer's PeerID. */
  readonly worker_id: string;
  readonly round: number;
  readonly metric_name: string;
  /** Null for NaN and the infinities. */
  readonly value: number | null;
}

/** The input of a status bridge. */
export interface StatusBridgeInput {
  readonly ports: Ports;
  /** Host and port, without a scheme. */
  readonly address: string;
}

export interface StatusBridgeContext extends StatusBridgeInput {
  /** The metric that is being posted. */
  readonly current: PostedMetric | undefined;
  readonly waiting: readonly PostedMetric[];
  readonly dropped: number;
  readonly isBroken: boolean;
}

/** The receiver gave no answer. */
export class NotPosted extends Data.TaggedError("NotPosted")<{ readonly url: string; readonly detail: string }> {
  override get message(): string {
    return `Cannot post metrics to ${this.url}: ${this.detail}`;
  }
}

/** Posts one metric. Any answer will do: a metric that the receiver refuses is refused the next time too. */
const posted = fromEffect(
  "posted",
  ({ url, metric }: { readonly ports: Ports; readonly url: string; readonly metric: PostedMetric }) =>
    Effect.tryPromise({
      try: async (signal) => {
        const response = await fetch(url, {
          method: "POST",
          headers: { "content-type": "application/json" },
          body: JSON.stringify(metric),
          redirect: "manual",
          signal,
        });
        response.body?.cancel().catch(() => {});
      },
      catch: (error) => new NotPosted({ url, detail: reasonOf(error) }),
    }).pipe(
      Effect.timeoutOrElse({
        duration: postMs,
        orElse: () => Effect.fail(new NotPosted({ url, detail: `no answer within ${postMs} ms` })),
      }),
    ),
);

/** The innermost cause, because `fetch failed` is no reason. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code } = cause as { readonly code?: unknown };
  const text = cause instanceof Error && cause.message !== "" ? cause.message : String(code ?? cause);
  return text.slice(0, reasonMax);
}

const actors = { posted };

/** The events that a status bridge receives. */
export type StatusBridgeEvent =
  | { readonly type: "metrics.reported"; readonly metrics: readonly PostedMetric[] }
  | EventsOf<typeof actors>;

/** The shortest decimal that is the same in F32, as the existing scheduler writes it: 0.31, not 0.3100000023841858. */
function asF32(value: number): number | null {
  const exact = Math.fround(value);
  if (!Number.isFinite(exact)) return null;
  for (let digits = 1; digits < 9; digits++) {
    const shorter = Number(exact.toPrecision(digits));
    if (Math.fround(shorter) === exact) return shorter;
  }
  return exact;
}

/** The metrics in a line of a training; none where it reports others. */
export function metricsIn({ event, fields = {} }: Report): readonly PostedMetric[] {
  const { peer, round, metrics } = fields;
  if (event !== "round.metrics" || typeof metrics !== "object" || metrics === null) return [];
  return Object.entries(metrics).map(([name, value]) => ({
    worker_id: String(peer),
    round: Number(round),
    metric_name: name,
    value: asF32(Number(value ?? Number.NaN)),
  }));
}

const urlOf = (address: string): string => `http://${address}/status`;

/** The status bridge of one scheduler. */
export const statusBridgeMachine = setup({
  types: { input: {} as StatusBridgeInput, context: {} as StatusBridgeContext, events: {} as StatusBridgeEvent },
  actors,
  guards: { hasWork: ({ context: { current, waiting } }) => current !== undefined || waiting.length > 0 },
  actions: {
    takeMetrics: assign(({ context: { waiting, dropped } }, metrics: readonly PostedMetric[]) => {
      const all = [...waiting, ...metrics];
      return { waiting: all.slice(-waitingMax), dropped: dropped + Math.max(0, all.length - waitingMax) };
    }),
    /** One that could not be posted comes first. */
    takeNext: assign(({ context: { current, waiting } }) =>
      current === undefined ? { current: waiting[0], waiting: waiting.slice(1) } : {}
    ),
    notePosted: enqueueActions(({ context: { ports, address, dropped, isBroken }, enqueue }) => {
      enqueue.assign({ current: undefined });
      if (!isBroken) return;
      enqueue.assign({ isBroken: false, dropped: 0 });
      const message = `Posts metrics to ${urlOf(address)} again; ${dropped} were dropped`;
      enqueue(() => ports.report({ level: "info", event: "status.sent", message, fields: { dropped } }));
    }),
    noteUnposted: enqueueActions(({ context: { ports, isBroken }, enqueue }, message: string) => {
      enqueue.assign({ isBroken: true });
      if (isBroken) return;
      const hint =
        "Check that the receiver of status_bridge runs. Trainings go on; the scheduler tries again every five seconds.";
      enqueue(() => ports.report({ level: "warn", event: "status.unsent", message, fields: { hint } }));
    }),
  },
}).createMachine({
  id: "statusBridge",
  context: ({ input }) => ({ ...input, current: undefined, waiting: [], dropped: 0, isBroken: false }),
  initial: "resting",
  on: { "metrics.reported": { actions: { type: "takeMetrics", params: ({ event }) => event.metrics } } },
  states: {
    resting: { always: { guard: "hasWork", target: "posting" } },
    posting: {
      entry: "takeNext",
      invoke: {
        src: "posted",
        input: ({ context: { ports, address, current } }) => ({
          ports,
          url: urlOf(address),
          metric: present(current, "a metric"),
        }),
      },
      on: {
        "effect.done.posted": { target: "resting", actions: "notePosted" },
        "effect.failed.posted": {
          target: "pausing",
          actions: { type: "noteUnposted", params: ({ event }) => event.error.message },
        },
      },
    },
    pausing: { after: { [againMs]: "resting" } },
  },
});

/** A status bridge's actor. */
export type StatusBridgeRef = ActorRefFrom<typeof statusBridgeMachine>;
