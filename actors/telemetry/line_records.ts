/**
 * Lines of the log, for a collector: those from level `info` on.
 *
 * @module
 */
import type { Report } from "../runtime/ports.ts";
import type { LogRecord } from "./otlp.ts";
import type { SignalQueue } from "./signal_queue.ts";

/** Queues a line. Its fields are read when it is sent: a line costs its actor one object. */
export function recordLine(
  queue: SignalQueue<LogRecord>,
  { level, event, message, fields = {} }: Report,
  timeMs: number,
): void {
  if (level !== "debug") queue.push({ timeMs, level, event, message, fields });
}
