/**
 * Spans of requests, at both ends.
 *
 * @module
 */
import type { OpenRequest, RequestTraces } from "../../transport/core/request_traces.ts";
import type { Message } from "../../transport/protocols/messages.ts";
import type { TraceContext } from "../../transport/protocols/trace_context.ts";
import type { Recorder } from "./recorder.ts";
import type { Attributes, Span } from "./span.ts";

/** Follows requests. `self` is this node's PeerID, once it is known. */
export function traceRequests(recorder: Recorder, self: () => string | undefined): RequestTraces {
  return {
    asked: ({ peer, protocol, message }) => {
      const parent = runOf(recorder, message, { sender: self(), receiver: peer });
      const attributes = { "hypha.protocol": protocol, "hypha.message": nameOf(message), "hypha.peer.id": peer };
      return open(recorder, { parent, kind: "client", attributes });
    },
    received: ({ identity: { peer, name }, protocol, message, context }) => {
      const attributes = {
        "hypha.protocol": protocol,
        "hypha.message": nameOf(message),
        "hypha.peer.id": peer,
        "hypha.peer.name": name,
      };
      const parent = context ?? runOf(recorder, message, { sender: peer, receiver: self() });
      return open(recorder, { parent, kind: "server", attributes });
    },
  };
}

interface Opened {
  readonly parent: TraceContext | undefined;
  readonly kind: Span["kind"];
  readonly attributes: Attributes;
}

function open(recorder: Recorder, { parent, kind, attributes }: Opened): OpenRequest {
  const context = recorder.begin(parent);
  const { traceId, spanId, sampled } = context;
  if (!sampled) return { context, ended: () => {} };
  const startMs = recorder.now();
  return {
    context,
    ended: (error) => {
      const endMs = recorder.now();
      const parentSpanId = parent?.spanId;
      recorder.end({ traceId, spanId, parentSpanId, name: "request", kind, startMs, endMs, attributes, error });
    },
  };
}

/** The variant of a request: `DispatchJob`, `End`; undefined where its protocol has one alone. */
function nameOf(message: Message): string | undefined {
  const [name, ...others] = Object.keys(message);
  return name !== undefined && others.length === 0 && /^[A-Z]/.test(name) ? name : undefined;
}

interface Ends {
  readonly sender: string | undefined;
  readonly receiver: string | undefined;
}

/** A request that names a run of a training belongs to the trace of that run, at both ends. Workers ask for data; schedulers ask for the rest. */
function runOf(recorder: Recorder, message: Message, { sender, receiver }: Ends): TraceContext | undefined {
  const [entry] = Object.entries(message) as readonly (readonly [string, unknown])[];
  if (entry === undefined || typeof entry[1] !== "object" || entry[1] === null) return undefined;
  const [name, fields] = entry;
  const scheduler = name === "Data" ? receiver : sender;
  const { training, run } = fields as { readonly training?: unknown; readonly run?: unknown };
  const named = typeof training === "object" && training !== null ? training : { id: training, run };
  const { id, run: number } = named as { readonly id?: unknown; readonly run?: unknown };
  if (scheduler === undefined || typeof id !== "string" || typeof number !== "number") return undefined;
  return recorder.ofRun({ scheduler, training: id, run: number });
}
