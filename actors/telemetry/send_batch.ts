/**
 * One export of spans or of lines of the log.
 *
 * @module
 */
import { Effect } from "effect";
import { type Body, type Collector, NotSent, post, type Signal, signalUrl } from "./collector.ts";
import { type LogRecord, logsData, tracesData } from "./otlp.ts";
import { encodeLogs, encodeTraces } from "./otlp_protobuf.ts";
import type { Span } from "./span.ts";

/** Items that are sent together. */
export type Batch =
  | { readonly signal: "traces"; readonly items: readonly Span[] }
  | { readonly signal: "logs"; readonly items: readonly LogRecord[] };

/** Sends a batch once. */
export function sendBatch(collector: Collector, batch: Batch): Effect.Effect<void, NotSent> {
  return Effect.suspend(() => {
    const { signal } = batch;
    const url = signalUrl(collector.url, signal);
    return Effect.flatMap(
      post(url, bodyOf(collector, batch), collector),
      (failure) =>
        failure === undefined ? Effect.void : Effect.fail(new NotSent({ signal, url: url.href, ...failure })),
    );
  });
}

function bodyOf({ protocol, resource }: Collector, batch: Batch): Body {
  if (protocol === "http/json") {
    const data = batch.signal === "traces" ? tracesData(resource, batch.items) : logsData(resource, batch.items);
    return { contentType: "application/json", bytes: new TextEncoder().encode(JSON.stringify(data)) };
  }
  const bytes = batch.signal === "traces"
    ? encodeTraces(tracesData(resource, batch.items))
    : encodeLogs(logsData(resource, batch.items));
  return { contentType: "application/x-protobuf", bytes };
}

/** What a signal is called in a sentence. */
export const signalNames = { metrics: "Metrics", traces: "Traces", logs: "Logs" } as const satisfies Readonly<
  Record<Signal, string>
>;
