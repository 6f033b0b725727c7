/**
 * Spans and lines of the log as OTLP's messages, in the shape of its JSON encoding (opentelemetry-proto 1.x: trace, logs, common,
 * resource). Protobuf is written from the same values (`otlp_protobuf.ts`).
 *
 * @module
 */
import type { LogLevel } from "../runtime/ports.ts";
import { type Attributes, type Span, spanKinds } from "./span.ts";

/** A value of an attribute. */
export type AnyValue =
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly intValue: string }
  | { readonly doubleValue: number };

/** An attribute. */
export interface KeyValue {
  readonly key: string;
  readonly value: AnyValue;
}

interface Status {
  readonly code: number;
}

/** A span. */
export interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startTimeUnixNano: string;
  readonly endTimeUnixNano: string;
  readonly attributes: readonly KeyValue[];
  readonly status?: Status;
}

/** A line of the log. */
export interface OtlpLogRecord {
  readonly timeUnixNano: string;
  readonly observedTimeUnixNano: string;
  readonly severityNumber: number;
  readonly severityText: string;
  readonly body: AnyValue;
  readonly attributes: readonly KeyValue[];
  readonly eventName: string;
}

interface Resource {
  readonly attributes: readonly KeyValue[];
}

interface Scope {
  readonly name: string;
}

/** What is posted to `/v1/traces`. */
export interface TracesData {
  readonly resourceSpans: readonly {
    readonly resource: Resource;
    readonly scopeSpans: readonly { readonly scope: Scope; readonly spans: readonly OtlpSpan[] }[];
  }[];
}

/** What is posted to `/v1/logs`. */
export interface LogsData {
  readonly resourceLogs: readonly {
    readonly resource: Resource;
    readonly scopeLogs: readonly { readonly scope: Scope; readonly logRecords: readonly OtlpLogRecord[] }[];
  }[];
}

/** A line of the log, as it waits to be sent. */
export interface LogRecord {
  /** Milliseconds since the epoch. */
  readonly timeMs: number;
  readonly level: LogLevel;
  readonly event: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** Limits of a record: peers choose some of its texts. */
export const recordLimits = { attributes: 40, valueCharacters: 1_024, bodyCharacters: 4_096 } as const;

const scope: Scope = { name: "hypha-runtime" };

/** Spans as one message. */
export function tracesData(resource: Readonly<Record<string, string>>, spans: readonly Span[]): TracesData {
  const scopeSpans = [{ scope, spans: spans.map(spanOf) }];
  return { resourceSpans: [{ resource: { attributes: attributesOf(resource) }, scopeSpans }] };
}

/** Lines as one message. */
export function logsData(resource: Readonly<Record<string, string>>, lines: readonly LogRecord[]): LogsData {
  const scopeLogs = [{ scope, logRecords: lines.map(logRecordOf) }];
  return { resourceLogs: [{ resource: { attributes: attributesOf(resource) }, scopeLogs }] };
}

/** OpenTelemetry's `STATUS_CODE_ERROR`. */
const failed = 2;

function spanOf({ traceId, spanId, parentSpanId, name, kind, startMs, endMs, attributes, error }: Span): OtlpSpan {
  return {
    traceId,
    spanId,
    ...(parentSpanId === undefined ? {} : { parentSpanId }),
    name,
    kind: spanKinds[kind],
    startTimeUnixNano: nanosOf(startMs),
    endTimeUnixNano: nanosOf(Math.max(startMs, endMs)), // the clock may have gone back
    attributes: attributesOf(error === undefined ? attributes : { ...attributes, "error.type": error }),
    ...(error === undefined ? {} : { status: { code: failed } }),
  };
}

/** OpenTelemetry's numbers of severities. */
const severities = { debug: 5, info: 9, warn: 13, error: 17 } as const satisfies Readonly<Record<LogLevel, number>>;

function logRecordOf({ timeMs, level, event, message, fields }: LogRecord): OtlpLogRecord {
  const time = nanosOf(timeMs);
  return {
    timeUnixNano: time,
    observedTimeUnixNano: time,
    severityNumber: severities[level],
    severityText: level.toUpperCase(),
    body: { stringValue: message.slice(0, recordLimits.bodyCharacters) },
    attributes: attributesOf(plainFields(fields)),
    eventName: event,
  };
}

function plainFields(fields: LogRecord["fields"]): Attributes {
  const plain = Object.entries(fields).slice(0, recordLimits.attributes).map((
    [key, value],
  ) => [key, plainValue(value)]);
  return Object.fromEntries(plain) as Attributes;
}

function plainValue(value: unknown): Attributes[string] {
  if (value === undefined || typeof value === "number" || typeof value === "boolean") return value;
  if (typeof value === "string") return value;
  try {
    return JSON.stringify(value, (_key, each: unknown) => typeof each === "bigint" ? String(each) : each);
  } catch {
    return "[unreadable]"; // a circle, or a field that throws on access
  }
}

/** Milliseconds as OTLP writes them, to the microsecond: more digits than a number has would be noise. */
function nanosOf(ms: number): string {
  return `${Math.max(0, Math.round(ms * 1_000))}000`;
}

function attributesOf(attributes: Attributes): readonly KeyValue[] {
  return Object.entries(attributes).flatMap(([key, value]) =>
    value === undefined ? [] : [{ key, value: anyValueOf(value) }]
  );
}

function anyValueOf(value: string | number | boolean): AnyValue {
  if (typeof value === "string") return { stringValue: value.slice(0, recordLimits.valueCharacters) };
  if (typeof value === "boolean") return { boolValue: value };
  if (Number.isSafeInteger(value)) return { intValue: String(value) };
  return Number.isFinite(value) ? { doubleValue: value } : { stringValue: String(value) };
}
