/**
 * Where spans begin and end: identifiers, sampling, and the queue of those that ended.
 *
 * @module
 */
import { createHash } from "node:crypto";
import type { TraceContext } from "../../transport/protocols/trace_context.ts";
import type { Sampler } from "./sampler.ts";
import type { SignalQueue } from "./signal_queue.ts";
import type { Span } from "./span.ts";

/** Makes contexts and takes spans. */
export interface Recorder {
  /** Milliseconds since the epoch, with fractions. */
  readonly now: () => number;
  /** A new trace, or a span of the trace of `parent`, which another node began. */
  begin(parent?: TraceContext): TraceContext;
  /** A child's identifier. */
  spanId(): string;
  /**
   * The context of a run of a training. It is computed: scheduler and workers know it without a message, and decide alike about it
   * where their ratios are equal.
   */
  ofRun(run: { readonly scheduler: string; readonly training: string; readonly run: number }): TraceContext;
  /** Takes a span that has ended. */
  end(span: Span): void;
}

/** What a recorder is made with. */
export interface RecorderInit {
  readonly now: () => number;
  readonly uuid: () => string;
  readonly sampler: Sampler;
  readonly queue: SignalQueue<Span>;
}

/** Makes a recorder. */
export function makeRecorder({ now, uuid, sampler, queue }: RecorderInit): Recorder {
  const digits = () => {
    const text = uuid();
    return text.slice(0, 8) + text.slice(9, 13) + text.slice(14, 18) + text.slice(19, 23) + text.slice(24);
  };
  // A random half and a counted one: unique here, and as good as unique among the nodes of a trace.
  const prefix = digits().slice(-8);
  let count = 0;
  const spanId = () => prefix + (++count % 0x1_0000_0000).toString(16).padStart(8, "0");
  return {
    now,
    spanId,
    begin: (parent) => {
      const traceId = parent?.traceId ?? digits();
      return { traceId, spanId: spanId(), sampled: sampler(traceId, parent?.sampled) };
    },
    ofRun: ({ scheduler, training, run }) => {
      const hash = createHash("sha256").update(JSON.stringify(["hypha training run", scheduler, training, run]))
        .digest("hex");
      const traceId = hash.slice(0, 32);
      return { traceId, spanId: hash.slice(32, 48), sampled: sampler(traceId, undefined) };
    },
    end: (span) => queue.push(span),
  };
}
