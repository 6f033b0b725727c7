/**
 * Where a message carries the context of a trace: requests on `/hypha-training/1`, a protocol of ours. The protocols of the existing
 * network carry none.
 *
 * @module
 */
import type { Message, MessageProtocol } from "./messages.ts";
import { formatTraceParent, parseTraceParent, type TraceContext } from "./trace_context.ts";

const carrier = "/hypha-training/1";

/** The request with this context, where its protocol carries one. */
export function withTraceContext(protocol: MessageProtocol, message: Message, context: TraceContext): Message {
  if (protocol !== carrier) return message;
  const traceparent = formatTraceParent(context);
  const variants = Object.entries(message).map(([name, fields]) => [name, { ...fields as object, traceparent }]);
  return Object.fromEntries(variants) as Message;
}

/** The context that a request carries; undefined where it carries none, or a malformed one. */
export function traceContextOf(protocol: MessageProtocol, message: Message): TraceContext | undefined {
  if (protocol !== carrier) return undefined;
  const [fields] = Object.values(message) as readonly unknown[];
  return parseTraceParent((fields as { readonly traceparent?: unknown } | undefined)?.traceparent);
}
