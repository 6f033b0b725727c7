/**
 * Traces and lines of the log for a collector: what of a program is recorded, before its node is started.
 *
 * @module
 */
import { randomUUID } from "node:crypto";
import { performance } from "node:perf_hooks";
import type { RoleConfig } from "../../actors/config/config.ts";
import type { Report } from "../../actors/runtime/ports.ts";
import { realNow } from "../../actors/runtime/real_ports.ts";
import { timeChecks, traceHandshakes } from "../../actors/telemetry/handshake_spans.ts";
import { recordLine } from "../../actors/telemetry/line_records.ts";
import { traceLines } from "../../actors/telemetry/line_spans.ts";
import type { LogRecord } from "../../actors/telemetry/otlp.ts";
import { makeRecorder } from "../../actors/telemetry/recorder.ts";
import { traceRequests } from "../../actors/telemetry/request_spans.ts";
import { makeSampler } from "../../actors/telemetry/sampler.ts";
import type { Outgoing } from "../../actors/telemetry/sender.ts";
import { SignalQueue } from "../../actors/telemetry/signal_queue.ts";
import type { Span } from "../../actors/telemetry/span.ts";
import { cachedChecks, VerificationCache } from "../../pki/verification_cache.ts";
import { noTracing, type Tracing } from "./no_tracing.ts";

/** Makes what this configuration asks for. Without a collector nothing is recorded. */
export function makeTracing({ endpoint, sampler, sampleRatio, logs }: RoleConfig["telemetry"]): Tracing {
  if (endpoint === undefined) return noTracing;
  const lines = logs === "otlp" ? new SignalQueue<LogRecord>() : undefined;
  const spans = sampler === undefined ? undefined : new SignalQueue<Span>();
  const outgoing: readonly Outgoing[] = [
    ...(spans === undefined ? [] : [{ signal: "traces", queue: spans } as const]),
    ...(lines === undefined ? [] : [{ signal: "logs", queue: lines } as const]),
  ];
  if (sampler === undefined || spans === undefined) return { ...noTracing, meter: metered(lines, undefined), outgoing };
  const recorder = makeRecorder({
    now: preciseNow(),
    uuid: randomUUID,
    sampler: makeSampler(sampler, sampleRatio),
    queue: spans,
  });
  let self: string | undefined;
  const checks = timeChecks(cachedChecks(new VerificationCache()), recorder.now);
  const work = traceLines(recorder, () => self);
  return {
    meter: metered(lines, work.line),
    follow: traceHandshakes(recorder, checks),
    checks: checks.functions,
    requests: traceRequests(recorder, () => self),
    recorder,
    name: (peer) => void (self = peer),
    end: work.end,
    outgoing,
  };
}

function metered(
  lines: SignalQueue<LogRecord> | undefined,
  follow: ((line: Report) => void) | undefined,
): Tracing["meter"] {
  return (report) => (line) => {
    if (lines !== undefined) recordLine(lines, line, realNow());
    follow?.(line);
    report(line);
  };
}

/** The precise clock is set by the system's after this, in milliseconds: that may have been set itself. */
const setEveryMs = 1_000;

/** The system's clock with fractions of milliseconds: checks take some microseconds. */
function preciseNow(): () => number {
  let setAt = performance.now();
  let offsetMs = realNow() - setAt;
  return () => {
    const now = performance.now();
    if (now - setAt > setEveryMs) {
      setAt = now;
      offsetMs = realNow() - now;
    }
    return offsetMs + now;
  };
}
