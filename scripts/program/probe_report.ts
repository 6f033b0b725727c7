/**
 * The result of a probe, for people and for programs: a code, the reason, and the next place to look. The log of the other
 * node has most reasons, because a node gives a stranger none.
 *
 * @module
 */
import { escapeUnsafe } from "./log_line.ts";
import type { ProbeOutcome } from "../../actors/node/probe.ts";
import type { Refusal, RefusalCode } from "../../pki/refusal.ts";

/** One object, as `probe --json` prints it. Every key is always present; unknown values are `null`. */
export interface ProbeReport {
  /** Whether the node answered that it is healthy: then the exit code is 0. */
  readonly ok: boolean;
  /** As it was given. */
  readonly address: string;
  /** PeerID, name and role of the node that answered, or that was refused here: from its certificate. */
  readonly peer: string | null;
  readonly name: string | null;
  readonly role: string | null;
  /** At which level a worker confines its executors. */
  readonly cell: string | null;
  /** From the question to the answer, in milliseconds, on the open connection. */
  readonly latencyMs: number | null;
  /**
   * `null` where `ok`; else a refusal's code (`unreachable`, `hung-up`, `unknown-issuer`, …), or one of `usage`, `configuration`,
   * `not-ready`, `self`, `timed-out`, `no-answer`, `failed`.
   */
  readonly code: string | null;
  readonly reason: string | null;
  readonly hint: string | null;
}

type Failure = Pick<ProbeReport, "code" | "reason" | "hint">;

const nothing: Omit<ProbeReport, "address" | "ok"> = {
  peer: null,
  name: null,
  role: null,
  cell: null,
  latencyMs: null,
  code: null,
  reason: null,
  hint: null,
};

/** A probe that could not begin: its command line, or this node's own configuration and files. */
export function reportUnasked(
  address: string,
  failure: { readonly code: "usage" | "configuration"; readonly reason: string },
): ProbeReport {
  return { ok: false, address, ...nothing, ...failure };
}

/**
 * A probe that has an outcome.
 *
 * @param own The name in this node's own certificate. The log of the other node uses it.
 */
export function reportOf(address: string, outcome: ProbeOutcome, own: string): ProbeReport {
  const known = "peer" in outcome ? outcome : outcome.type === "refused" ? outcome.presented : undefined;
  const { peer, name, role } = { peer: null, name: null, role: null, ...definedOnly(known ?? {}) };
  return {
    ok: outcome.type === "healthy",
    address,
    ...nothing,
    peer,
    name,
    role,
    cell: outcome.type === "healthy" ? outcome.cell ?? null : null,
    latencyMs: "latencyMs" in outcome ? Math.round(outcome.latencyMs) : null,
    ...(outcome.type === "healthy" ? {} : failureOf(outcome, own)),
  };
}

function definedOnly<T extends object>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T;
}

function failureOf(outcome: Exclude<ProbeOutcome, { readonly type: "healthy" }>, own: string): Failure {
  switch (outcome.type) {
    case "unhealthy":
      return {
        code: "not-ready",
        reason: "it answers that it is not ready yet",
        hint: "Read its log: the line node.joining names what it waits for.",
      };
    case "refused":
      return refusedOf(outcome.refusal, own);
    case "unanswered":
      return {
        code: "no-answer",
        reason: `no answer (${outcome.error.code}): ${outcome.error.detail}`,
        hint: "Check that it is a node of this network, and read its log of this moment.",
      };
    case "timed-out":
      return {
        code: "timed-out",
        reason: `${outcome.during} took more than ${outcome.timeoutMs} ms`,
        hint:
          "Check the network between and the load of that machine, read that node's log of this moment, or raise --timeout.",
      };
    case "failed":
      return {
        code: "failed",
        reason: outcome.error.message,
        hint: "The transport of this probe did not start: look at this machine's network.",
      };
  }
}

function refusedOf(refusal: Refusal, own: string): Failure {
  // libp2p's own words: it finds out once the certificate was seen.
  if (/dial self/i.test(refusal.message)) {
    return {
      code: "self",
      reason: "that is this node itself, which libp2p does not dial",
      hint: "Probe it with the configuration of another node.",
    };
  }
  return { code: refusal.code, reason: refusal.message, hint: hints(own)[refusal.code] ?? refusal.hint };
}

/** Replaces the hint of a refusal where that hint names the probe itself, or where more is known here. */
const hints = (own: string): Readonly<Partial<Record<RefusalCode, string>>> => ({
  "hung-up":
    `The node there ended the connection, without a reason as it should: look in its log for the line peer.refused that names ${own} (this node's certificate). Where there is none, look for another program at that address, and at the network between.`,
  "unreachable":
    "Look on that machine whether the node runs and listens there (the line node.listening of its log; ss -ltn), then at the firewalls between. Through a relay, look whether the node still has its reservation (its log's reservation.lost).",
  "handshake-timeout":
    "A program accepts the connection and sends nothing: check whether it is a node (its log's lines of this moment), and the network between.",
});

/** The report for people: one line. */
export function describeReport(report: ProbeReport): string {
  const { ok, address, peer, cell, code, reason, hint } = report;
  if (ok) {
    const named = /\/p2p\/([^/]+)$/.exec(address)?.[1] ?? peer;
    const rekeyed = named === peer ? "" : `, which has another key than ${named}`;
    const level = cell === null ? "" : `, executors run at cell level ${JSON.stringify(cell)}`;
    return `${address} is healthy (${peer}${rekeyed})${level}`;
  }
  const notice = code === "usage" || code === "configuration"
    ? `${reason}`
    : `Cannot find ${address} healthy: ${code}: ${reason?.replace(/\.$/, "")}.`;
  return hint === null ? notice : `${notice} ${hint}`;
}

/**
 * The report as `probe` prints it, without the end of the line. The name and the cell level are the peer's own words: control
 * and format characters in them are escaped, which JSON reads back.
 */
export function formatReport(report: ProbeReport, format: "text" | "json"): string {
  return escapeUnsafe(format === "json" ? JSON.stringify(report) : describeReport(report));
}
