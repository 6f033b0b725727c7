/**
 * Every span of a node: its name, attributes and description. `docs/telemetry.md` has the same table (tested).
 *
 * @module
 */

/** A span without its values. */
interface SpanKindOf {
  readonly attributes: readonly string[];
  readonly description: string;
}

const span = (attributes: readonly string[], description: string): SpanKindOf => ({ attributes, description });

const peer = ["hypha.peer.id", "hypha.peer.name"] as const;

/** All spans, by name. */
export const spans = {
  "handshake": span(
    ["hypha.direction", "network.peer.address", ...peer, "error.type"],
    "A connection, from its first byte to established or refused.",
  ),
  "handshake.tls": span([], "Child of handshake: the TLS handshake, to the peer's certificates."),
  "handshake.check": span(
    ["hypha.check", "error.type"],
    "Child of handshake: one check of the peer's certificates; the last one refused where it has an error.",
  ),
  "handshake.opening": span([], "Child of handshake: from the last check to an open connection."),
  "request": span(
    ["hypha.protocol", "hypha.message", ...peer, "error.type"],
    "A request, at the node that asks (kind client) and at the node that answers (kind server).",
  ),
  "training": span(
    ["hypha.training", "hypha.run", "hypha.rounds", "hypha.outcome", "error.type"],
    "A run of a training, at its scheduler.",
  ),
  "round": span(
    ["hypha.training", "hypha.run", "hypha.round", "hypha.trainers", "hypha.updates.rejected"],
    "Child of training: a round, from the end of the previous one; the first from the first dispatched job.",
  ),
  "job": span(
    [
      "hypha.job",
      "hypha.task",
      "hypha.class",
      "hypha.training",
      "hypha.run",
      ...peer,
      "hypha.outcome",
      "error.type",
    ],
    "A job at its worker, from its dispatch to its end; child of training where its scheduler named a run.",
  ),
  "job.preparing": span(["hypha.job"], "Child of job: from its dispatch until its process runs."),
  "ca.request": span(
    ["http.request.method", "url.path", "http.response.status_code", "error.type"],
    "A request to the CA's HTTPS port.",
  ),
  "ca.operation": span(
    ["http.request.method", "url.path", "http.response.status_code", "error.type"],
    "An operator's request to the CA's admin socket: a token, an approval, a revocation.",
  ),
} as const satisfies Readonly<Record<string, SpanKindOf>>;

/** The name of a span. */
export type SpanName = keyof typeof spans;

/** OpenTelemetry's numbers of kinds. */
export const spanKinds = { internal: 1, server: 2, client: 3 } as const;

/** Values of attributes; those that are undefined are left out. */
export type Attributes = Readonly<Record<string, string | number | boolean | undefined>>;

/** A span that has ended. */
export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly name: SpanName;
  readonly kind: keyof typeof spanKinds;
  /** Milliseconds since the epoch, with fractions. */
  readonly startMs: number;
  readonly endMs: number;
  readonly attributes: Attributes;
  /** Code of what failed; undefined where nothing did. */
  readonly error: string | undefined;
}
