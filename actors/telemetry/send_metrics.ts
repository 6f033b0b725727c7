/**
 * One export of metrics to a collector: OTLP over HTTP. It ends in time, with success or a reason, whatever the collector does.
 * Nothing is kept and nothing repeated, because every export carries all values (cumulative counters).
 *
 * @module
 */
import { Context, Effect } from "effect";
import * as ConfigProvider from "effect/ConfigProvider";
import * as HttpClient from "effect/http/HttpClient";
import type { HttpClientRequest } from "effect/http/HttpClientRequest";
import * as HttpClientResponse from "effect/http/HttpClientResponse";
import * as Metric from "effect/Metric";
import { Flusher } from "effect/observability/OtlpExporter";
import * as OtlpMetrics from "effect/observability/OtlpMetrics";
import * as OtlpSerialization from "effect/observability/OtlpSerialization";
import { type Collector, type Failure, NotSent, post } from "./collector.ts";
import { type InstrumentName, instruments, type Sample } from "./instruments.ts";
import { registryOf } from "./registry.ts";

export { type Collector, NotSent, sendTimeoutMs } from "./collector.ts";

/** Sends `samples` once. */
export function sendMetrics(collector: Collector, samples: readonly Sample[]): Effect.Effect<void, NotSent> {
  const { url, headers, resource } = collector;
  const { "service.name": serviceName = "hypha", "service.version": serviceVersion, ...attributes } = resource;
  return Effect.suspend(() => {
    const sending: Sending = { problem: { detail: "nothing was sent", again: true }, over: false };
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
        if (problem === undefined) return Effect.void;
        return Effect.fail(new NotSent({ signal: "metrics", url: url.href, ...problem }));
      }),
    );
  });
}

interface Sending {
  problem: Failure | undefined;
  /** The exporter exports once more when its scope closes: that export is dropped. */
  over: boolean;
}

/**
 * Posts once and always reports success to the exporter, to prevent its own repetitions and its silent pause of a minute: the
 * next export carries all values. Does not follow redirects, and does not read the answer's body.
 */
function clientFor(collector: Collector, sending: Sending): HttpClient.HttpClient {
  const taken = (request: HttpClientRequest) =>
    HttpClientResponse.fromWeb(request, new Response(null, { status: 200 }));
  return HttpClient.make((request, url) => {
    if (sending.over) return Effect.succeed(taken(request));
    const { body } = request;
    if (body._tag !== "Uint8Array") return Effect.die(new Error(`a body of ${body._tag} cannot be sent`));
    const bytes = body.body as Uint8Array<ArrayBuffer>;
    return Effect.map(post(url, { contentType: body.contentType, bytes }, collector), (problem) => {
      sending.problem = problem;
      return taken(request);
    });
  });
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
