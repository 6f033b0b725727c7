/**
 * The schema of each role's configuration, with the keys as TOML spells them.
 *
 * Each key has a note for the loader, the command line and `init`: the expected value, an example line, its purpose,
 * and whether its value is a secret. Types and defaults of the actors' configuration are derived from here
 * (`settings.ts`, `typed.ts`).
 *
 * @module
 */
import { Schema } from "effect";
import type { Role } from "../../pki/certificate.ts";
import { defaultLimits } from "../../transport/core/admission.ts";
import { audit } from "./audit_schema.ts";
import { authorization } from "./authorization_schema.ts";
import { consoleTable } from "./console_schema.ts";
import {
  drainTimeoutMsDefault,
  excludeCidrDefault,
  handshakeTimeoutMsDefault,
  keyExchangeDefault,
  relayCircuitDefault,
  requireGrantDefault,
  requireRolesDefault,
  rotationDefault,
  telemetryIntervalMsDefault,
} from "./defaults.ts";
import { job } from "./job_schema.ts";
import { membership } from "./membership_schema.ts";
import {
  addresses,
  cidr,
  flag,
  fraction,
  integer,
  list,
  note,
  oneOf,
  optional,
  path,
  readable,
  text,
} from "./notes.ts";
import { tomlOf } from "./settings.ts";
import {
  logsExporters,
  readEndpoint,
  readHeaders,
  readListenPlace,
  readPairs,
  telemetryProtocols,
  telemetrySamplers,
} from "./telemetry_values.ts";
import { algorithms, crlGraceHours, domainName, trustDomain } from "./trust_schema.ts";
import { cell, evaluatingCell, evaluatingExecutor, executor, fetch, offer, wholeResources } from "./worker_schema.ts";

export type { KeyNote } from "./notes.ts";

const limit = (standard: number, description: string) => integer(1, 1_000_000, tomlOf(standard), description);
const limits = Schema.Struct({
  pending_max: optional(limit(defaultLimits.pendingMax, "Handshakes under way, in all.")),
  pending_per_address_max: optional(
    limit(defaultLimits.pendingPerAddressMax, "Handshakes under way from one address."),
  ),
  connections_max: optional(limit(defaultLimits.connectionsMax, "Connections, in all.")),
  connections_per_address_max: optional(limit(defaultLimits.connectionsPerAddressMax, "Connections from one address.")),
  connections_per_peer_max: optional(limit(defaultLimits.connectionsPerPeerMax, "Connections of one peer.")),
  handshakes_per_second: optional(
    note(Schema.Finite.check(Schema.isBetween({ minimum: 0.01, maximum: 1_000_000 })), {
      expected: "a number from 0.01 to 1000000",
      example: tomlOf(defaultLimits.handshakesPerSecond),
      description: "Handshakes a second from one address, in the long run.",
    }),
  ),
  handshakes_burst: optional(
    limit(defaultLimits.handshakesBurst, "Handshakes from one address that may come at once."),
  ),
});

const rotation = Schema.Struct({
  drain: optional(
    oneOf(
      ["expiry", "time"],
      tomlOf(rotationDefault.drain),
      "Connections of a former certificate of the same key: until its end, or for drain_ms.",
    ),
  ),
  drain_ms: optional(
    integer(
      0,
      86_400_000,
      tomlOf(rotationDefault.drainMs),
      "How long what began under a former key may go on: its connections, leases and jobs.",
    ),
  ),
});

const common = {
  cert_pem: path("This node's certificate, intermediates behind it.", '"certs/node-cert.pem"'),
  key_pem: path("Its private key: PKCS#8, readable by its owner only.", '"certs/node-key.pem"'),
  trust_pem: path("CA certificates that this node trusts.", '"certs/ca-bundle.pem"'),
  crls_pem: optional(path("Revocation lists of those CAs; taken up when the file changes.", '"certs/crls.pem"')),
  trust_domain: optional(
    domainName(
      "This node's own trust domain, as in spiffe://NAME/…: certificates of trust_pem may claim no other. init sets it where it finds the certificate.",
      '"home.example"',
    ),
  ),
  trust_domains: optional(
    list(trustDomain, {
      expected: "a list of trust domains, each with a name and one of trust_pem, bundle and bundle_url",
      example: '[{ name = "partner.example", trust_pem = "certs/partner-ca.pem" }]',
      description: "Other organisations that this node trusts, each for its own name only.",
    }),
  ),
  listen_addresses: addresses(
    "listen",
    "such as /ip4/0.0.0.0/tcp/4001",
    '["/ip4/0.0.0.0/tcp/4001"]',
    "Where this node listens.",
  ),
  exclude_cidr: optional(
    list(
      cidr,
      {
        expected: "a list of address ranges such as 10.0.0.0/8",
        example: tomlOf(excludeCidrDefault),
        description:
          "Addresses of others inside these ranges are not dialled; [] excludes nothing. Addresses configured in this file are used even so.",
      },
    ),
  ),
  handshake_timeout_ms: optional(
    integer(100, 60_000, tomlOf(handshakeTimeoutMsDefault), "From a connection's first byte to its verdict."),
  ),
  key_exchange: optional(
    oneOf(
      ["hybrid", "classical"],
      tomlOf(keyExchangeDefault),
      "Post-quantum first where the runtime offers it, or X25519 only.",
    ),
  ),
  require_roles: optional(
    note(flag("true", ""), {
      expected: "true or false",
      example: "true",
      description: "Whether a peer's certificate must name its role. init turns it on.",
      standard: tomlOf(requireRolesDefault),
    }),
  ),
  membership: optional(membership),
  authorization: optional(authorization),
  audit: optional(audit),
  console: optional(consoleTable),
  leaf_algorithms: optional(algorithms("nodes")),
  ca_algorithms: optional(algorithms("CAs")),
  crl_grace_hours: optional(crlGraceHours),
  drain_timeout_ms: optional(
    integer(0, 600_000, tomlOf(drainTimeoutMsDefault), "How long the node may take to end its work when stopped."),
  ),
  state_dir: optional(
    path(
      "Directory of the state kept between runs; default: $STATE_DIRECTORY, or .hypha/NAME next to this file.",
      '".hypha/config"',
      "the path of a directory",
      "`$STATE_DIRECTORY`, or `.hypha/NAME` next to the file",
    ),
  ),
  rotation: optional(rotation),
  limits: optional(limits),
  telemetry_endpoint: optional(
    readable(readEndpoint, {
      expected: "the URL of a collector that takes OTLP over HTTP",
      example: '"http://127.0.0.1:4318"',
      description:
        "Collector that metrics, traces and lines of the log are sent to, below this address; nothing is sent without it.",
    }),
  ),
  telemetry_attributes: optional(
    readable(readPairs, {
      expected: "attributes such as key=value,key=value",
      example: '"deployment.environment.name=lab"',
      description: "Telemetry: attributes of this node.",
    }),
  ),
  telemetry_headers: optional(
    readable(readHeaders, {
      expected: "headers such as name=value,name=value",
      example: '"authorization=Bearer%20TOKEN"',
      description: "Telemetry: headers for the collector.",
      secret: true,
    }),
  ),
  telemetry_protocol: optional(
    note(Schema.Literals([...telemetryProtocols, "grpc"]), {
      expected: telemetryProtocols.map((protocol) => JSON.stringify(protocol)).join(" or "),
      example: '"http/protobuf"',
      description: 'Telemetry: how OTLP is written; "grpc" is taken for the default, with a warning.',
      standard: '"http/protobuf"',
    }),
  ),
  telemetry_sampler: optional(
    oneOf(telemetrySamplers, '"always_on"', "Telemetry: which traces are sent; none without it."),
  ),
  telemetry_sample_ratio: optional(
    fraction("0.1", "Telemetry: share of traces that a sampler with traceidratio keeps; all without it."),
  ),
  telemetry_logs: optional(
    oneOf(logsExporters, '"otlp"', "Telemetry: whether lines of the log are sent to the collector.", {
      standard: '"none"',
    }),
  ),
  telemetry_interval_ms: optional(
    integer(
      100,
      3_600_000,
      tomlOf(telemetryIntervalMsDefault),
      "Telemetry: how often metrics are sent.",
      tomlOf(telemetryIntervalMsDefault),
    ),
  ),
  metrics_listen_address: optional(
    readable(readListenPlace, {
      expected: "an IP address and a port, or a port alone for loopback",
      example: '"127.0.0.1:9464"',
      description:
        "Where metrics can be read by Prometheus (GET /metrics, without authentication); nowhere without it.",
    }),
  ),
} as const;

const external = addresses(
  "external",
  "such as /dns4/gateway.example/tcp/4001",
  '["/dns4/gateway.example/tcp/4001"]',
  "Addresses at which peers reach this node, in addition to its listen addresses.",
  "[]",
);
const gateways = addresses(
  "gateway",
  "such as /dns4/gateway.example/tcp/4001, with or without /p2p/PEER",
  '["/dns4/gateway.example/tcp/4001"]',
  "Gateways through which this node joins.",
);
const relayCircuit = flag(tomlOf(relayCircuitDefault), "Whether this node reserves a relay at its gateways.");

/** The schema of each role. Cross-field rules are in `rules.ts`. */
export const roleSchemas = {
  gateway: Schema.Struct({
    ...common,
    external_addresses: optional(external),
  }),
  scheduler: Schema.Struct({
    ...common,
    external_addresses: optional(external),
    gateway_addresses: gateways,
    relay_circuit: optional(relayCircuit),
    status_bridge: optional(
      text({
        expected: "an address",
        example: '"127.0.0.1:6006"',
        description: "Where each metric of a trainer is posted: `POST http://ADDRESS/status`.",
      }),
    ),
    executors: optional(
      list(evaluatingExecutor, {
        expected: "tables [[executors]]",
        example: "[]",
        description: "Programs that evaluate models on held-out rows, in cells of this scheduler.",
      }),
    ),
    cell: optional(evaluatingCell),
    scheduler: optional(Schema.Struct({ job: optional(job) })),
  }),
  worker: Schema.Struct({
    ...common,
    external_addresses: optional(external),
    gateway_addresses: gateways,
    relay_circuit: optional(relayCircuit),
    work_dir: path("Directory in which each job gets one of its own.", '"work"', "the path of a directory"),
    resources: wholeResources("This worker"),
    offer: optional(offer),
    executors: list(executor, {
      expected: "tables [[executors]]",
      example: '[{ class = "aggregate", name = "parameter-server", runtime = "parameter-server" }]',
      description: "What this worker can run.",
    }),
    cell: optional(cell),
    fetch: optional(fetch),
  }),
  data: Schema.Struct({
    ...common,
    gateway_addresses: gateways,
    dataset_path: path(
      "Directory whose files are the slices; its name is the dataset's.",
      '"data/digits"',
      "the path of a directory",
    ),
    require_grant: optional(
      flag(
        tomlOf(requireGrantDefault),
        "Whether a slice goes only to a member that shows a scheduler's grant; the existing nodes show none.",
      ),
    ),
  }),
} as const satisfies Record<Role, Schema.Top>;

/** A role's configuration as it was decoded: keys as in TOML. */
export type Decoded<R extends Role> = (typeof roleSchemas)[R]["Type"];
