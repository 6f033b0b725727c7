/**
 * What a node records: refusals as its sink gets them, and those lines of its log that are decisions.
 *
 * @module
 */
import type { Ports, Report } from "../runtime/ports.ts";
import type { AuditEntry } from "../trust/audit.ts";
import type { AuditInbox } from "./audit_inbox.ts";
import type { AuditEvent } from "./audit_record.ts";

/** A refusal as a record. */
export function eventOfEntry(entry: AuditEntry): AuditEvent {
  const { type } = entry;
  if (type === "refusal.summary") {
    const { from, to, host, counts } = entry;
    return { type, outcome: "refused", detail: { from, to, host, counts } };
  }
  if (type === "act.refused") {
    const { code, act, name, peer, role, serial, rule, count, message } = entry;
    return { type, outcome: code, peer: `${name} ${peer}`, detail: { act, role, serial, rule, count, message } };
  }
  const { code, address, direction, name, peer, message, data, count } = entry;
  const who = peer === undefined ? undefined : `${name} ${peer}`;
  return {
    type,
    outcome: code,
    peer: who,
    detail: { address, direction, message, data, ...(count > 1 ? { count } : {}) },
  };
}

/** Lines of the log that are recorded: by their event, or by the part before its first dot. */
const recorded: ReadonlySet<string> = new Set([
  "identity",
  "trust",
  "audit.fork",
  "audit.unproven",
  "audit.witness-damaged",
  "rules",
  "bundle",
  "crl.taken",
  "crl.useless",
  "enrolment.installed",
  "enrolment.failed",
  "node.ready",
  "node.rekeying",
  "node.draining",
  "node.failed",
  "member.rekeyed",
  "peer.established",
  "peer.closed",
  "lease.granted",
  "lease.refused",
  "job.dispatched",
  "job.started",
  "job.ended",
  "job.refused",
  "job.left-behind",
  "push.refused",
  "slice.refused",
  "training.submitted",
  "training.cancelled",
  "training.done",
  "training.failed",
]);

/** A line of the log as a record; undefined where it is none. */
export function eventOfReport({ level, event, message, fields = {} }: Report): AuditEvent | undefined {
  if (!recorded.has(event) && !recorded.has(event.split(".", 1)[0]!)) return undefined;
  const { name, peer, ...detail } = fields;
  const who = [name, peer].filter((each) => typeof each === "string").join(" ");
  const outcome = level === "error" ? "failed" : level === "warn" ? "warned" : "done";
  return { type: event, outcome, peer: who === "" ? undefined : who, detail: { ...detail, message } };
}

/** Wraps a report function, and records its lines. */
export function recordReports(report: Ports["report"], inbox: AuditInbox): Ports["report"] {
  return (line) => {
    const event = eventOfReport(line);
    if (event !== undefined) inbox.record(event);
    report(line);
  };
}
