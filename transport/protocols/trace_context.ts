/**
 * The context of a trace as text: W3C Trace Context's `traceparent`, version 00, of 55 characters. It travels on protocols of ours
 * alone (`docs/wire.md`, "Extensions"). A context that is malformed is ignored, as the recommendation asks: the request counts.
 *
 * @module
 */
import type { Schema } from "./schema.ts";

/** A place in a trace. */
export interface TraceContext {
  /** 32 hexadecimal digits, lower case, not all zero. */
  readonly traceId: string;
  /** 16 hexadecimal digits, lower case, not all zero: the span that others are children of. */
  readonly spanId: string;
  /** Whether the sender keeps its spans of this trace. */
  readonly sampled: boolean;
}

/** Length of a `traceparent`, in characters. */
export const traceParentCharacters = 55;
const form = /^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$/;

/** A context as text. */
export function formatTraceParent({ traceId, spanId, sampled }: TraceContext): string {
  return `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`;
}

/** Reads a context; undefined where the text is none. */
export function parseTraceParent(text: unknown): TraceContext | undefined {
  if (typeof text !== "string" || text.length !== traceParentCharacters) return undefined;
  const [, traceId, spanId, flags] = form.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined) return undefined;
  return { traceId, spanId, sampled: (Number.parseInt(flags ?? "0", 16) & 1) === 1 };
}

/** A context in a message. One that is malformed, or no text, reads as empty text. */
export const traceParentSchema: Schema<string> = {
  shape: `text of ${traceParentCharacters} characters`,
  write: (out, value) => out.text(value),
  read: (item) => item.kind === "text" ? kept(item.value) : "",
  fromJson: kept,
  toJson: (value) => JSON.stringify(value),
};

function kept(value: unknown): string {
  return typeof value === "string" && parseTraceParent(value) !== undefined ? value : "";
}
