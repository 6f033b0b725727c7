/**
 * Samples as Effect's metrics, from which its exporters write OTLP and Prometheus' text.
 *
 * @module
 */
import { Context } from "effect";
import * as Metric from "effect/Metric";
import { formatUnsafe } from "effect/observability/PrometheusMetrics";
import { durationBounds, type Durations, instruments, type Sample } from "./instruments.ts";

/** A registry that holds exactly these samples. */
export function registryOf(samples: readonly Sample[]): Context.Context<never> {
  const context = Context.make(Metric.MetricRegistry, new Map()) as Context.Context<never>;
  for (const sample of samples) register(sample, context);
  return context;
}

/** Samples as Prometheus reads them (text format 0.0.4). */
export function prometheusText(samples: readonly Sample[]): string {
  return formatUnsafe(registryOf(samples));
}

function register({ name, labels = {}, value }: Sample, context: Context.Context<never>): void {
  const { kind, description } = instruments[name];
  const fixed = { update: () => {}, modify: () => {} };
  if (kind === "counter") {
    const state = { count: BigInt(value as number), incremental: true };
    const metric = Metric.counter(name, { description, bigint: true, incremental: true });
    Metric.registerUnsafe(Metric.withAttributes(metric, labels), context, { get: () => state, ...fixed });
  } else if (kind === "gauge") {
    const metric = Metric.gauge(name, { description });
    const state = { value: value as number };
    Metric.registerUnsafe(Metric.withAttributes(metric, labels), context, { get: () => state, ...fixed });
  } else {
    const metric = Metric.histogram(name, { description, boundaries: durationBounds });
    const state = histogramState(value as Durations);
    Metric.registerUnsafe(Metric.withAttributes(metric, labels), context, { get: () => state, ...fixed });
  }
}

/** Effect's buckets are cumulative: each includes those before it. */
function histogramState({ counts, sum, min, max }: Durations) {
  let count = 0;
  const buckets = durationBounds.map((boundary, index): [number, number] => {
    count += counts[index] ?? 0;
    return [boundary, count];
  });
  return { buckets, count: count + (counts[durationBounds.length] ?? 0), sum, min, max };
}
