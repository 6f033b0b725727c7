/**
 * Every metric of a node: its name, kind, labels and description. OTLP and Prometheus use the same names, with the unit as
 * suffix, so that a dashboard works with both.
 *
 * @module
 */

/** A metric without its values. */
export interface Instrument {
  readonly kind: "counter" | "gauge" | "histogram";
  /** In UCUM; `1` for counts. */
  readonly unit: "1" | "s";
  readonly labels: readonly string[];
  readonly description: string;
}

const instrument = (
  kind: Instrument["kind"],
  unit: Instrument["unit"],
  labels: readonly string[],
  description: string,
): Instrument => ({ kind, unit, labels, description });

/** All metrics, by name. `docs/telemetry.md` has the same table (tested). */
export const instruments = {
  hypha_node_info: instrument("gauge", "1", ["role", "name", "peer", "version"], "Always 1: who this node is."),
  hypha_node_ready: instrument("gauge", "1", [], "1 while the node is ready, else 0."),
  hypha_peers: instrument("gauge", "1", [], "Peers that are connected."),
  hypha_connections_open: instrument("gauge", "1", ["direction"], "Established connections."),
  hypha_connections_max: instrument("gauge", "1", [], "Limit on connections (limits.connections_max)."),
  hypha_handshakes_pending: instrument("gauge", "1", ["direction"], "Handshakes under way."),
  hypha_handshakes_pending_max: instrument("gauge", "1", [], "Limit on handshakes under way (limits.pending_max)."),
  hypha_handshakes_accepted_total: instrument("counter", "1", ["direction"], "Handshakes that ended in a connection."),
  hypha_handshake_duration_seconds: instrument(
    "histogram",
    "s",
    ["direction"],
    "From a connection's first byte to established, of accepted handshakes.",
  ),
  hypha_connections_closed_total: instrument(
    "counter",
    "1",
    ["reason"],
    "Connections that ended: by-us, by-them, lost, trust.changed (revoked, or no longer trusted), expired.",
  ),
  hypha_refusals_total: instrument("counter", "1", ["code"], "Refusals, by code."),
  hypha_audit_failures_total: instrument("counter", "1", [], "Audit records that could not be written."),
  hypha_log_lines_total: instrument("counter", "1", ["level", "event"], "Lines of the log, debug ones aside."),
  hypha_certificate_expire_time_seconds: instrument(
    "gauge",
    "s",
    ["name"],
    "When the node's own certificate expires, as Unix time.",
  ),
  hypha_trust_generation: instrument("gauge", "1", [], "Grows with each change of trust that is in force."),
  hypha_trust_anchors: instrument("gauge", "1", [], "CA certificates that are trusted."),
  hypha_trust_anchor_expire_time_seconds: instrument(
    "gauge",
    "s",
    ["subject", "serial"],
    "When a trusted CA certificate expires, as Unix time; the soonest 64.",
  ),
  hypha_crl_age_seconds: instrument("gauge", "s", ["issuer"], "Time since an issuer's revocation list was made."),
  hypha_crl_expire_time_seconds: instrument(
    "gauge",
    "s",
    ["issuer"],
    "When an issuer's next revocation list is due, as Unix time.",
  ),
  hypha_crl_remaining_seconds: instrument(
    "gauge",
    "s",
    ["issuer"],
    "Time until an issuer's next revocation list is due; negative when it is overdue.",
  ),
  hypha_crl_entries: instrument("gauge", "1", ["issuer"], "Certificates on an issuer's revocation list."),
  hypha_leases: instrument("gauge", "1", [], "Leases that a worker has given."),
  hypha_jobs: instrument("gauge", "1", [], "Jobs that a worker runs."),
  hypha_cell_info: instrument(
    "gauge",
    "1",
    ["level", "confined"],
    "Always 1: the cells that a worker has for executors.",
  ),
  hypha_training_round: instrument("gauge", "1", ["training"], "Finished rounds of a training."),
  hypha_training_loss: instrument("gauge", "1", ["training"], "Mean loss of the members in its newest round."),
  hypha_training_members: instrument("gauge", "1", ["training", "state"], "Its members: in, or out."),
  hypha_training_updates_rejected_total: instrument(
    "counter",
    "1",
    ["training", "code"],
    "Updates that were rejected, as its aggregator claims.",
  ),
  hypha_training_round_seconds: instrument("gauge", "s", ["training"], "How long its newest round took."),
  hypha_training_bytes_total: instrument(
    "counter",
    "1",
    ["training", "direction"],
    "Bytes of its model at the scheduler: results received, parameters sent.",
  ),
  hypha_telemetry_dropped_total: instrument(
    "counter",
    "1",
    ["signal"],
    "Spans (traces) and lines (logs) that found no room in the queue, or that the collector did not take.",
  ),
  hypha_telemetry_failures_total: instrument("counter", "1", [], "Sendings to the collector that failed."),
} as const satisfies Readonly<Record<string, Instrument>>;

export type InstrumentName = keyof typeof instruments;

/** Upper ends of the histogram's buckets in seconds: OpenTelemetry's advice for durations of requests (HTTP server). */
export const durationBounds: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** A histogram's values; `counts` has one entry more than there are bounds. */
export interface Durations {
  readonly counts: readonly number[];
  readonly sum: number;
  readonly min: number;
  readonly max: number;
}

/** One value of a metric. */
export interface Sample {
  readonly name: InstrumentName;
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number | Durations;
}
