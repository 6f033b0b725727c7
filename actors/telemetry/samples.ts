/**
 * A node's metrics at one moment, read from the snapshots of its actors. The machines count nothing for telemetry.
 *
 * @module
 */
import type { StateValue } from "xstate";
import { toHex } from "../../pki/bytes.ts";
import type { HeldCrl } from "../../pki/crl.ts";
import { scopeKey } from "../../pki/crl_scope.ts";
import { refusalCodes } from "../../pki/refusal.ts";
import { crlsOf, domainsOf, type TrustSnapshot } from "../../pki/trust.ts";
import { type NodeContext, rolesOf } from "../node/node_setup.ts";
import { phaseOf } from "../node/shown_node.ts";
import type { Commitments } from "../worker/commitments.ts";
import { type Cell, isConfined } from "../job/cell/cell.ts";
import type { InstrumentName, Sample } from "./instruments.ts";
import type { Direction, GateTally, LineTally } from "./tallies.ts";
import { trainingSamples } from "./training_samples.ts";

/** Most anchors and issuers with a series of their own: those that expire soonest. A bundle may have thousands. */
export const seriesMax = 64;
/** Longest label, in characters: peers and CAs choose the names in certificates. */
const labelCharactersMax = 200;

/** The parts of a node's actor that are read. */
export interface ObservedNode {
  getSnapshot(): {
    /** The node's state. */
    readonly value: StateValue;
    readonly context: Pick<
      NodeContext,
      | "config"
      | "snapshot"
      | "identity"
      | "identityCount"
      | "previousIdentities"
      | "members"
      | "isReady"
      | "refusalLog"
    >;
    readonly children: Readonly<Record<string, unknown>>;
  };
}

/** The sources of samples. */
export interface Observed {
  /** Undefined until the node was started. */
  readonly node: ObservedNode | undefined;
  readonly gates: GateTally;
  readonly lines: LineTally;
  /** Records that the program's audit log has lost. */
  readonly lostRecords: number;
  readonly version: string;
  /** Milliseconds since the epoch. */
  readonly now: number;
}

const bound = (text: string): string => text.slice(0, labelCharactersMax);
const seconds = (date: Date): number => date.getTime() / 1_000;

/** Why a node is not ready, by its state; undefined while it is. */
export function unreadyReason(node: ObservedNode | undefined): string | undefined {
  if (node === undefined) return "starting";
  const { value, context } = node.getSnapshot();
  if (context.isReady) return undefined;
  return phaseOf(value);
}

/** All samples of this moment. */
export function samplesOf(observed: Observed): readonly Sample[] {
  const { node, gates, lines } = observed;
  return [
    ...(node === undefined ? [] : nodeSamples(node, observed)),
    ...(["inbound", "outbound"] as const).flatMap((direction) => gateSamples(direction, gates)),
    ...Object.entries(gates.closed).map(([reason, count]): Sample => ({
      name: "hypha_connections_closed_total",
      labels: { reason },
      value: count,
    })),
    ...[...lines.counts].map(({ level, event, count }): Sample => ({
      name: "hypha_log_lines_total",
      labels: { level, event },
      value: count,
    })),
  ];
}

function gateSamples(direction: Direction, { counts }: GateTally): readonly Sample[] {
  const { pending, open, accepted, durations } = counts[direction];
  const labels = { direction };
  return [
    { name: "hypha_connections_open", labels, value: open },
    { name: "hypha_handshakes_pending", labels, value: pending },
    { name: "hypha_handshakes_accepted_total", labels, value: accepted },
    { name: "hypha_handshake_duration_seconds", labels, value: durations },
  ];
}

function nodeSamples(node: ObservedNode, { version, now, lostRecords }: Observed): readonly Sample[] {
  const { context, children } = node.getSnapshot();
  const { config, snapshot, identity, members, isReady, refusalLog } = context;
  const { counts, sink } = refusalLog.getSnapshot().context;
  const sample = (name: InstrumentName, value: number, labels: Readonly<Record<string, string>> = {}): Sample => ({
    name,
    value,
    labels,
  });
  return [
    sample("hypha_node_ready", isReady ? 1 : 0),
    sample("hypha_peers", new Set(members.map(({ peer }) => peer)).size),
    sample("hypha_connections_max", config.limits.connectionsMax),
    sample("hypha_handshakes_pending_max", config.limits.pendingMax),
    ...refusalCodes.map((code) => sample("hypha_refusals_total", counts[code] ?? 0, { code })),
    sample("hypha_audit_failures_total", sink.failures + lostRecords),
    ...(identity === undefined ? [] : [
      sample("hypha_node_info", 1, { role: config.role, name: bound(identity.name), peer: identity.peer, version }),
      sample("hypha_certificate_expire_time_seconds", seconds(identity.notAfter), { name: bound(identity.name) }),
    ]),
    ...(snapshot === undefined ? [] : trustSamples(snapshot, now)),
    ...(config.role === "worker" ? workSamples(rolesOf(context, children)) : []),
    ...(config.role === "scheduler" ? trainingSamples(rolesOf(context, children)) : []),
  ];
}

function trustSamples(snapshot: TrustSnapshot, now: number): readonly Sample[] {
  const anchors = domainsOf(snapshot).flatMap((domain) => domain.anchors);
  // CAs choose their texts: of those with equal labels, which are one series, the soonest to expire counts.
  const latestFirst = anchors.toSorted((a, b) => b.period.notAfter.getTime() - a.period.notAfter.getTime());
  const labelled = new Map(latestFirst.map((anchor) => [`${anchor.serial} ${bound(anchor.subject.text)}`, anchor]));
  const soonest = [...labelled.values()]
    .toSorted((a, b) => a.period.notAfter.getTime() - b.period.notAfter.getTime()).slice(0, seriesMax);
  return [
    { name: "hypha_trust_generation", value: snapshot.generation },
    { name: "hypha_trust_anchors", value: anchors.length },
    ...soonest.map(({ subject, serial, period }): Sample => ({
      name: "hypha_trust_anchor_expire_time_seconds",
      labels: { subject: bound(subject.text), serial },
      value: seconds(period.notAfter),
    })),
    ...worstLists(crlsOf(snapshot)).flatMap(({ issuer, thisUpdate, nextUpdate, entries }): Sample[] => [
      { name: "hypha_crl_age_seconds", labels: { issuer }, value: now / 1_000 - thisUpdate },
      { name: "hypha_crl_expire_time_seconds", labels: { issuer }, value: nextUpdate },
      { name: "hypha_crl_remaining_seconds", labels: { issuer }, value: nextUpdate - now / 1_000 },
      { name: "hypha_crl_entries", labels: { issuer }, value: entries },
    ]),
  ];
}

interface WorstList {
  readonly issuer: string;
  /** Unix time in seconds: the oldest and the soonest date of the issuer's current lists. */
  readonly thisUpdate: number;
  readonly nextUpdate: number;
  readonly entries: number;
}

/**
 * One row for each issuer. Of lists of one key and scope the newest counts, with its delta's dates where it has one; of several
 * scopes the worst date counts.
 */
function worstLists(lists: readonly HeldCrl[]): readonly WorstList[] {
  const newest = new Map<string, HeldCrl>();
  for (const list of lists) { // the newest first
    const { issuer: { der }, authorityKeyId = "", baseNumber, scope } = list;
    const key = [toHex(der), authorityKeyId, baseNumber === undefined ? "" : "delta", scopeKey(scope)].join(" ");
    if (!newest.has(key)) newest.set(key, list);
  }
  const rows = new Map<string, WorstList>();
  for (const list of newest.values()) {
    const issuer = bound(list.issuer.text);
    const { thisUpdate, nextUpdate } = list.delta ?? list;
    const row = rows.get(issuer);
    rows.set(issuer, {
      issuer,
      thisUpdate: Math.min(row?.thisUpdate ?? Infinity, seconds(thisUpdate)),
      nextUpdate: Math.min(row?.nextUpdate ?? Infinity, seconds(nextUpdate)),
      entries: (row?.entries ?? 0) + list.entryCount + (list.delta?.entryCount ?? 0),
    });
  }
  return [...rows.values()].toSorted((a, b) => a.nextUpdate - b.nextUpdate).slice(0, seriesMax);
}

function workSamples(roles: readonly unknown[]): readonly Sample[] {
  type Worker = { getSnapshot(): { readonly context?: { readonly book?: Commitments; readonly cell?: Cell } } };
  const workers = (roles as readonly Worker[]).map((role) => role.getSnapshot().context ?? {});
  const count = (promises: "leases" | "jobs") =>
    workers.reduce((sum, { book }) => sum + Object.keys(book?.[promises] ?? {}).length, 0);
  const cell = workers.find((worker) => worker.cell !== undefined)?.cell;
  return [
    { name: "hypha_leases", value: count("leases") },
    { name: "hypha_jobs", value: count("jobs") },
    ...(cell === undefined ? [] : [{
      name: "hypha_cell_info" as const,
      labels: { level: cell.level, confined: `${isConfined(cell)}` },
      value: 1,
    }]),
  ];
}
