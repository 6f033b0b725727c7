/**
 * One export of metrics to a collector: OTLP over HTTP. It ends in time, with success or a reason, whatever the collector does.
 * Nothing is kept and nothing repeated, because every export carries all values (cumulative counters).
 *
 * @module
 */
import { Context, Data, Effect } from "effect";
import * as ConfigProvider from "effect/ConfigProvider";
import * as HttpClient from "effect/http/HttpClient";
import type { HttpClientRequest } from "effect/http/HttpClientRequest";
import * as HttpClientResponse from "effect/http/HttpClientResponse";
import * as Metric from "effect/Metric";
import { Flusher } from "effect/observability/OtlpExporter";
import * as OtlpMetrics from "effect/observability/OtlpMetrics";
import * as OtlpSerialization from "effect/observability/OtlpSerialization";
import type { TelemetryProtocol } from "../config/telemetry_values.ts";
import { type InstrumentName, instruments, type Sample } from "./instruments.ts";
import { registryOf } from "./registry.ts";

/** The collector's address, encoding and headers, and the resource that identifies this node. */
export interface Collector {
  readonly url: URL;
  readonly protocol: TelemetryProtocol;
  readonly headers: Readonly<Record<string, string>>;
  /** Attributes of the resource; `service.name` among them. */
  readonly resource: Readonly<Record<string, string>>;
  /** Start of the counters, in milliseconds since the epoch. */
  readonly startedAt: number;
  /** {@linkcode sendTimeoutMs} by default. */
  readonly timeoutMs?: number;
}

/** Time limit of an export, in milliseconds (`OTEL_EXPORTER_OTLP_TIMEOUT`'s default). */
export const sendTimeoutMs = 10_000;

/** A failed export. */
export class NotSent extends Data.TaggedError("NotSent")<{ readonly url: string; readonly detail: string }> {
  override get message(): string {
    return `Cannot send metrics to ${this.url}: ${this.detail}`;
  }
}

/** Sends `samples` once. */
export function sendMetrics(collector: Collector, samples: readonly Sample[]): Effect.Effect<void, NotSent> {
  const { url, headers, resource } = collector;
  const { "service.name": serviceName = "hypha", "service.version": serviceVersion, ...attributes } = resource;
  return Effect.suspend(() => {
    const sending: Sending = { problem: "nothing was sent", over: false };
    let exportNow: Effect.Effect<void> = Effect.void;
    // The exporter's own loop never runs: it is triggered here.
    const once = Effect.gen(function* () {
      yield* OtlpMetrics.make({
        url: url.href,
        headers,
        resource: { serviceName, serviceVersion, attributes },
        exportInterval: "1 hour",
      });
      yield* exportNow;
    });
    return Effect.scoped(Effect.ensuring(once, Effect.sync(() => (sending.over = true)))).pipe(
      Effect.provideService(Metric.MetricRegistry, Context.get(registryOf(samples), Metric.MetricRegistry)),
      Effect.provideService(ConfigProvider.ConfigProvider, ConfigProvider.fromUnknown({})), // the environment was read
      Effect.provideService(Flusher, {
        flush: Effect.void,
        register: (run) => Effect.sync(() => void (exportNow = run)),
      }),
      Effect.provideService(HttpClient.HttpClient, clientFor(collector, sending)),
      Effect.provideService(OtlpSerialization.OtlpSerialization, { ...noSerialization, metrics: bodyFor(collector) }),
      Effect.flatMap(() => {
        const { problem } = sending;
        return problem === undefined ? Effect.void : Effect.fail(new NotSent({ url: url.href, detail: problem }));
      }),
    );
  });
}

interface Sending {
  problem: string | undefined;
  /** The exporter exports once more when its scope closes: that export is dropped. */
  over: boolean;
}

/**
 * Posts once and always reports success to the exporter, to prevent its own repetitions and its silent pause of a minute: the
 * next export carries all values. Does not follow redirects, and does not read the answer's body.
 */
function clientFor({ timeoutMs = sendTimeoutMs }: Collector, sending: Sending): HttpClient.HttpClient {
  const taken = (request: HttpClientRequest) =>
    HttpClientResponse.fromWeb(request, new Response(null, { status: 200 }));
  return HttpClient.make((request, url) => {
    if (sending.over) return Effect.succeed(taken(request));
    return Effect.tryPromise((signal) => post(request, url, signal)).pipe(
      Effect.timeoutOrElse({
        duration: timeoutMs,
        orElse: () => Effect.succeed(`no answer within ${timeoutMs} ms`),
      }),
      Effect.catch((error) => Effect.succeed(reasonOf(error.cause))),
      Effect.map((problem) => {
        sending.problem = problem;
        return taken(request);
      }),
    );
  });
}

async function post(request: HttpClientRequest, url: URL, signal: AbortSignal): Promise<string | undefined> {
  const { body, headers } = request;
  if (body._tag !== "Uint8Array") throw new Error(`a body of ${body._tag} cannot be sent`);
  const response = await fetch(url, {
    method: "POST",
    headers: { ...headers, "content-type": body.contentType },
    body: body.body as Uint8Array<ArrayBuffer>,
    redirect: "manual",
    signal,
  });
  response.body?.cancel().catch(() => {});
  return response.status >= 200 && response.status < 300 ? undefined : `it answers ${response.status}`;
}

/** The innermost cause, because `fetch failed` is no reason. Bounded, because a resolver or a proxy may add text. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code } = cause as { readonly code?: unknown };
  const text = cause instanceof Error && cause.message !== "" ? cause.message : String(code ?? cause);
  return text.slice(0, 200);
}

const noSerialization = {
  traces: () => {
    throw new Error("Cannot send traces: there are none");
  },
  logs: () => {
    throw new Error("Cannot send logs: there are none");
  },
};

type MetricsData = Parameters<OtlpSerialization.OtlpSerialization["Service"]["metrics"]>[0];

/** Adds units, and replaces the exporter's own start by that of the counters. */
function bodyFor({ protocol, startedAt }: Collector) {
  const layer = protocol === "http/json" ? OtlpSerialization.layerJson : OtlpSerialization.layerProtobuf;
  return (data: MetricsData) => {
    const startTimeUnixNano = `${Math.floor(startedAt)}000000`;
    for (
      const metric of data.resourceMetrics.flatMap(({ scopeMetrics }) => scopeMetrics.flatMap((each) => each.metrics))
    ) {
      const { name } = metric;
      metric.unit = instruments[name as InstrumentName].unit;
      for (const point of [metric.sum, metric.gauge, metric.histogram].flatMap((kind) => kind?.dataPoints ?? [])) {
        point.startTimeUnixNano = startTimeUnixNano;
      }
    }
    return Effect.runSync(Effect.map(
      Effect.provide(OtlpSerialization.OtlpSerialization, layer),
      (serialization) => serialization.metrics(data),
    ));
  };
}
