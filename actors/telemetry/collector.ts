/**
 * One post to a collector: OTLP over HTTP. It ends in time, with success or a reason, whatever the collector does.
 *
 * @module
 */
import { Data, Effect } from "effect";
import type { TelemetryProtocol } from "../config/telemetry_values.ts";

/** What is sent to a collector. */
export type Signal = "metrics" | "traces" | "logs";

/** The collector's address, encoding and headers, and the resource that identifies this node. */
export interface Collector {
  /** Where metrics are posted to: it ends in `/v1/metrics`. */
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
export class NotSent extends Data.TaggedError("NotSent")<{
  readonly signal: Signal;
  readonly url: string;
  readonly detail: string;
  /** Whether the same export may succeed later; a collector that answers that it is malformed will not take it. */
  readonly again: boolean;
}> {
  override get message(): string {
    return `Cannot send ${this.signal} to ${this.url}: ${this.detail}`;
  }
}

/** The address of a signal, of that of metrics. */
export function signalUrl(url: URL, signal: Signal): URL {
  const own = new URL(url);
  own.pathname = url.pathname.replace(/metrics$/, signal);
  return own;
}

/** A body with its type. */
export interface Body {
  readonly contentType: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** Answers after which an export may be repeated (OTLP's specification, "Retryable Response Codes"). */
const retryable: ReadonlySet<number> = new Set([429, 502, 503, 504]);

/** Why a post failed. */
export interface Failure {
  readonly detail: string;
  readonly again: boolean;
}

/** Posts once. Follows no redirect, and reads no answer's body. Succeeds with why the post failed; undefined where it did not. */
export function post(
  url: URL,
  { contentType, bytes }: Body,
  { headers, timeoutMs = sendTimeoutMs }: Pick<Collector, "headers" | "timeoutMs">,
): Effect.Effect<Failure | undefined> {
  return Effect.tryPromise((signal) => postOnce(url, { ...headers, "content-type": contentType }, bytes, signal)).pipe(
    Effect.timeoutOrElse({
      duration: timeoutMs,
      orElse: () => Effect.succeed({ detail: `no answer within ${timeoutMs} ms`, again: true }),
    }),
    Effect.catch((error) => Effect.succeed({ detail: reasonOf(error.cause), again: true })),
  );
}

async function postOnce(
  url: URL,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array<ArrayBuffer>,
  signal: AbortSignal,
): Promise<Failure | undefined> {
  const { status, body: answer } = await fetch(url, { method: "POST", headers, body, redirect: "manual", signal });
  answer?.cancel().catch(() => {});
  if (status >= 200 && status < 300) return undefined;
  return { detail: `it answers ${status}`, again: retryable.has(status) };
}

/** The innermost cause, because `fetch failed` is no reason. Bounded, because a resolver or a proxy may add text. */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code } = cause as { readonly code?: unknown };
  const text = cause instanceof Error && cause.message !== "" ? cause.message : String(code ?? cause);
  return text.slice(0, 200);
}
