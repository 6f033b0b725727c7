/**
 * The log of a program: lines on standard error, by level.
 *
 * @module
 */
import process from "node:process";
import { makeEventSource } from "../../actors/admin/event_stream.ts";
import type { OperatedLog } from "../../actors/admin/log_routes.ts";
import { type LogLevel, logLevels, type Report } from "../../actors/runtime/ports.ts";
import { formatLine, type LogFormat } from "./log_line.ts";

/** How a log is set up. */
interface LogOptions {
  /** From this level on lines are written. */
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly colour: boolean;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly write: (line: string) => void;
}

/** Where reports become lines. */
export interface Log extends OperatedLog {
  /** Never throws: a log that fails must not fail a node. */
  readonly report: (report: Report) => void;
  /** Reports what the operator finds nowhere else: it is written whatever the level. */
  readonly announce: (report: Report) => void;
  /** Names the node from now on, by its certificate. */
  readonly name: (node: string) => void;
}

/** Followers get lines from this level on, also where the log itself begins at a higher one. */
const followedLeast = logLevels.indexOf("info");

/**
 * Makes a log.
 *
 * @param node The name of this node in the lines until its certificate is read.
 */
export function makeLog(node: string, { level, format, colour, now, write }: LogOptions): Log {
  let least = logLevels.indexOf(level);
  let called = node;
  const events = makeEventSource();
  const attempt = (act: () => void) => {
    try {
      act();
    } catch {
      // A field throws on access, or the output is gone. No place is left to report it.
    }
  };
  const log = (report: Report, isWritten: boolean) => {
    const isPublished = events.isFollowed() && (isWritten || logLevels.indexOf(report.level) >= followedLeast);
    if (!isWritten && !isPublished) return;
    const entry = { ...report, time: new Date(now()).toISOString(), node: called };
    if (isWritten) attempt(() => write(`${formatLine(entry, format, colour)}\n`));
    if (isPublished) attempt(() => events.publish(formatLine(entry, "json")));
  };
  return {
    report: (report) => log(report, logLevels.indexOf(report.level) >= least),
    announce: (report) => log(report, true),
    follow: events.follow,
    setLevel: (next) => (least = logLevels.indexOf(next)),
    name: (name) => (called = name),
  };
}

/** Whether standard error is a terminal that wants colours (https://no-color.org). */
export function wantsColour(environment: Readonly<Record<string, string | undefined>>): boolean {
  return process.stderr.isTTY === true && !environment["NO_COLOR"] && environment["TERM"] !== "dumb";
}

/** Writes to standard error; a reader that went away is not a reason to die. */
export function writeToStderr(): (line: string) => void {
  process.stderr.on("error", () => {});
  return (line) => void process.stderr.write(line);
}
