/**
 * What may stand in a configuration: one schema a role, with the keys as they are spelt in TOML.
 *
 * Each key carries what the loader, the command line and `init` need to speak of it: what was expected, a line that
 * shows how to write it, what it is for, and whether its value is a secret.
 *
 * @module
 */
import { Schema } from "effect";
import type { Role } from "../../pki/certificate.ts";
import { defaultLimits } from "../../transport/admission.ts";
import { type AddressUse, readAddress, readCidr } from "./addresses.ts";
import { cellLevels } from "./cell_config.ts";
import { excludeCidrDefault, rotationDefault } from "./defaults.ts";
import {
  readEndpoint,
  readHeaders,
  readListenPlace,
  readPairs,
  telemetryProtocols,
  telemetrySamplers,
} from "./telemetry_values.ts";

/** What a key's schema says about it beside its type. */
export interface KeyNote {
  /** Continues the sentence "expected …". */
  readonly expected: string;
  /** The value as it would stand in TOML. */
  readonly example: string;
  readonly description: string;
  /** Never shown in a message. */
  readonly secret?: boolean;
}

const note = <S extends Schema.Top>(schema: S, said: KeyNote): S["Rebuild"] => schema.annotate({ ...said } as never);
const optional = Schema.optionalKey;

/** Longest text taken as a value, in characters: paths are at most 4,096 (Linux PATH_MAX). */
const textCharactersMax = 4_096;
/** Most entries taken in any list. */
const entriesMax = 256;

const text = (said: KeyNote) =>
  note(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(textCharactersMax)), said);
/** Text that `read` can make something of; what else it says is the complaint. */
const readable = (read: (value: string) => unknown, said: KeyNote) =>
  note(
    Schema.String.check(
      Schema.isMinLength(1),
      Schema.isMaxLength(textCharactersMax),
      Schema.makeFilter((value: string) => {
        const outcome = read(value);
        return typeof outcome === "string" ? outcome : undefined;
      }),
    ),
    said,
  );
const path = (description: string, example: string) => text({ expected: "the path of a file", example, description });
const integer = (minimum: number, maximum: number, example: string, description: string) =>
  note(Schema.Int.check(Schema.isBetween({ minimum, maximum })), {
    expected: `a whole number from ${minimum} to ${maximum}`,
    example,
    description,
  });
const amount = (example: string, description: string, expected = "a number, 0 or more") =>
  note(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)), { expected, example, description });
const fraction = (example: string, description: string) =>
  note(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 1 })), {
    expected: "a number from 0 to 1",
    example,
    description,
  });
const flag = (example: string, description: string) =>
  note(Schema.Boolean, { expected: "true or false", example, description });
const oneOf = <const L extends readonly string[]>(literals: L, example: string, description: string) =>
  note(Schema.Literals(literals), {
    expected: `one of ${literals.map((literal) => JSON.stringify(literal)).join(", ")}`,
    example,
    description,
  });
const list = <S extends Schema.Top>(item: S, said: KeyNote) =>
  note(Schema.Array(item).check(Schema.isMaxLength(entriesMax)), said);

/** An address of `use`; the complaint says what is wrong with it. */
const address = (use: AddressUse, expected: string, example: string) =>
  note(
    Schema.String.check(Schema.makeFilter((value: string) => {
      const read = readAddress(value, use);
      return typeof read === "string" ? read : undefined;
    })),
    { expected, example, description: "" },
  );
const addresses = (use: AddressUse, expected: string, example: string, description: string) =>
  list(address(use, `an address ${expected}`, example.slice(1, -1)), {
    expected: `a list of addresses, each ${expected}`,
    example,
    description,
  });

const algorithm = oneOf(["ed25519", "ecdsa-p256", "ecdsa-p384", "rsa"], '"ed25519"', "");
const algorithms = (of: string) =>
  note(Schema.Array(algorithm).check(Schema.isMinLength(1), Schema.isMaxLength(4)), {
    expected: 'a list of "ed25519", "ecdsa-p256", "ecdsa-p384", "rsa" (2048 bits or more), not empty',
    example: '["ed25519"]',
    description: `Key algorithms allowed in certificates of ${of}.`,
  });

const limit = (standard: number, description: string) => integer(1, 1_000_000, String(standard), description);
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
      example: String(defaultLimits.handshakesPerSecond),
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
      JSON.stringify(rotationDefault.drain),
      "Connections of a former certificate of the same key: until its end, or for drain_ms.",
    ),
  ),
  drain_ms: optional(
    integer(
      0,
      86_400_000,
      String(rotationDefault.drainMs),
      "How long what began under a former key may go on: its connections, leases and jobs.",
    ),
  ),
});

const cidr = note(
  Schema.String.check(Schema.makeFilter((value: string) => {
    const read = readCidr(value);
    return typeof read === "string" ? read : undefined;
  })),
  { expected: "an address range such as 10.0.0.0/8", example: '"10.0.0.0/8"', description: "" },
);

const trustDomain = Schema.Struct({
  name: note(Schema.String.check(Schema.isPattern(/^[a-z0-9._-]{1,255}$/)), {
    expected: "a trust domain: lower-case letters, digits, dots, hyphens",
    example: '"partner.example"',
    description: "Name of the domain, as in spiffe://NAME/….",
  }),
  trust_pem: optional(path("Its CA certificates; or name its bundle.", '"certs/partner-ca.pem"')),
  bundle: optional(path("Its SPIFFE bundle (JSON), in place of trust_pem.", '"certs/partner-bundle.json"')),
  crls_pem: optional(path("Revocation lists of its CAs.", '"certs/partner-crls.pem"')),
  roles: optional(
    list(oneOf(["gateway", "scheduler", "worker", "data"], '"worker"', ""), {
      expected: 'a list of "gateway", "scheduler", "worker", "data"',
      example: '["worker"]',
      description: "Roles that its certificates may claim; all of them where this is not set.",
    }),
  ),
}).check(
  Schema.makeFilter((domain: { readonly trust_pem?: string; readonly bundle?: string }) =>
    (domain.trust_pem === undefined) === (domain.bundle === undefined)
      ? "exactly one of trust_pem and bundle is wanted"
      : undefined
  ),
);

const common = {
  cert_pem: path("This node's certificate, intermediates behind it.", '"certs/node-cert.pem"'),
  key_pem: path("Its private key: PKCS#8, readable by its owner only.", '"certs/node-key.pem"'),
  trust_pem: path("CA certificates that this node trusts.", '"certs/ca-bundle.pem"'),
  crls_pem: optional(path("Revocation lists of those CAs; taken up when the file changes.", '"certs/crls.pem"')),
  trust_domains: optional(
    list(trustDomain, {
      expected: "a list of trust domains, each with a name and either trust_pem or bundle",
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
        example: JSON.stringify(excludeCidrDefault).replaceAll(",", ", "),
        description: "Addresses inside these ranges are neither announced nor dialled; [] excludes nothing.",
      },
    ),
  ),
  handshake_timeout_ms: optional(integer(100, 60_000, "5000", "From a connection's first byte to its verdict.")),
  key_exchange: optional(
    oneOf(["hybrid", "classical"], '"hybrid"', "Post-quantum first where the runtime offers it, or X25519 only."),
  ),
  require_roles: optional(flag("false", "Whether a peer's certificate must name its role.")),
  leaf_algorithms: optional(algorithms("nodes")),
  ca_algorithms: optional(algorithms("CAs")),
  crl_grace_hours: optional(
    note(Schema.Finite.check(Schema.isBetween({ minimum: 0, maximum: 8_760 })), {
      expected: "a number from 0 to 8760",
      example: "24",
      description: "How long a revocation list counts after its next update was due.",
    }),
  ),
  drain_timeout_ms: optional(integer(0, 600_000, "10000", "How long the node may take to end its work when stopped.")),
  state_dir: optional(
    text({
      expected: "the path of a directory",
      example: '".hypha/config"',
      description:
        "What this node remembers between two runs; default: $STATE_DIRECTORY, or .hypha/NAME beside this file.",
    }),
  ),
  rotation: optional(rotation),
  limits: optional(limits),
  telemetry_endpoint: optional(
    readable(readEndpoint, {
      expected: "the URL of a collector that takes OTLP over HTTP",
      example: '"http://127.0.0.1:4318"',
      description: "Collector that metrics are sent to, at /v1/metrics below this address; nothing is sent without it.",
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
  telemetry_protocol: optional(oneOf(telemetryProtocols, '"http/protobuf"', "Telemetry: how OTLP is written.")),
  telemetry_sampler: optional(
    oneOf(telemetrySamplers, '"always_on"', "Telemetry: sampler of traces, of which this version sends none."),
  ),
  telemetry_sample_ratio: optional(
    fraction("0.1", "Telemetry: share of traces kept, of which this version sends none."),
  ),
  telemetry_interval_ms: optional(integer(100, 3_600_000, "60000", "Telemetry: how often metrics are sent.")),
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
  "Addresses under which others reach this node.",
);
const gateways = addresses(
  "gateway",
  "such as /dns4/gateway.example/tcp/4001, with or without /p2p/PEER",
  '["/dns4/gateway.example/tcp/4001"]',
  "Gateways through which this node joins.",
);
const relayCircuit = flag("true", "Whether this node reserves a relay at its gateways.");

const wholeResources = (of: string) =>
  Schema.Struct({
    cpu: integer(0, 1_000_000, "4", `${of}: cores.`),
    memory: integer(0, 1_000_000_000, "8", `${of}: GB of memory.`),
    storage: integer(0, 1_000_000_000, "10", `${of}: GB of storage.`),
    gpu: integer(0, 1_000_000, "0", `${of}: GB of GPU memory.`),
  });
const resources = (of: string) =>
  Schema.Struct({
    cpu: amount("1.0", `${of}: cores.`),
    memory: amount("1.0", `${of}: GB of memory.`),
    storage: amount("1.0", `${of}: GB of storage.`),
    gpu: amount("0.0", `${of}: GB of GPU memory.`),
  });
const price = (of: string) =>
  Schema.Struct({
    bid: amount("1.0", `${of}: what is offered.`),
    max: amount("2.0", `${of}: what is paid at most; nobody is told.`),
  });

const executor = Schema.Struct({
  class: oneOf(["train", "aggregate"], '"train"', "Kind of job."),
  name: text({
    expected: "the name that schedulers ask for",
    example: '"diloco-transformer"',
    description: "Name that schedulers ask for.",
  }),
  runtime: oneOf(["process", "parameter-server"], '"process"', "A program of yours, or the built-in aggregation."),
  cmd: optional(
    text({ expected: "a program", example: '"python3"', description: "Program to start, without a shell." }),
  ),
  args: optional(
    list(Schema.String.check(Schema.isMaxLength(textCharactersMax)), {
      expected: "a list of texts",
      example: '["train.py", "{SOCKET_PATH}"]',
      description: "Its arguments; {SOCKET_PATH}, {WORK_DIR} and {JOB_JSON} are filled in.",
    }),
  ),
  token: optional(
    oneOf(["required", "optional"], '"required"', "Whether the program must show BRIDGE_TOKEN at the job bridge."),
  ),
});

const bytes = (minimum: number, example: string, description: string) =>
  integer(minimum, 2 ** 53 - 1, example, description);
const cell = Schema.Struct({
  level: optional(oneOf(cellLevels, '"full"', "Least confinement at which executors are started.")),
  allow_unconfined: optional(
    flag("false", "Whether executors may be started where nothing confines them: only for programs of your own."),
  ),
  memory_bytes: optional(bytes(16_777_216, "4294967296", "Memory of an executor.")),
  pids_max: optional(integer(8, 100_000, "256", "Processes and threads of an executor.")),
  cpu_seconds: optional(integer(1, 31_536_000, "86400", "Processor time of each of its processes.")),
  open_files_max: optional(integer(32, 1_000_000, "1024", "Files that each of its processes may hold open.")),
  disk_bytes: optional(bytes(65_536, "2147483648", "Size of its work directory.")),
  inodes_max: optional(integer(16, 100_000_000, "100000", "Files in its work directory.")),
  wall_seconds: optional(integer(1, 2_000_000, "86400", "From its start to its end.")),
  environment: optional(
    list(Schema.String.check(Schema.isPattern(/^[A-Za-z_][A-Za-z0-9_]*$/)), {
      expected: "a list of names of variables",
      example: '["LANG"]',
      description: "Variables of the worker's own environment that executors get too.",
    }),
  ),
  read_only: optional(
    list(Schema.String.check(Schema.isPattern(/^\/[^\0]+$/), Schema.isMaxLength(textCharactersMax)), {
      expected: "a list of absolute paths",
      example: '["/opt/models"]',
      description: "What executors may read beside /usr and their own program.",
    }),
  ),
});
const fetch = Schema.Struct({
  schemes: optional(
    list(oneOf(["http", "https"], '"https"', ""), {
      expected: 'a list of "http", "https"',
      example: '["https"]',
      description: "Schemes that are fetched for jobs.",
    }),
  ),
  hosts: optional(
    list(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(253)), {
      expected: "a list of host names",
      example: '["huggingface.co"]',
      description: "Hosts that are fetched from, each with what is below it; all where this is not set.",
    }),
  ),
  deny_cidr: optional(
    list(cidr, {
      expected: "a list of address ranges such as 10.0.0.0/8",
      example: '["127.0.0.0/8", "10.0.0.0/8"]',
      description: "Addresses that are never fetched from, whatever name leads there; [] denies nothing.",
    }),
  ),
  file_bytes_max: optional(bytes(1, "4294967296", "Largest file fetched.")),
  redirects_max: optional(integer(0, 20, "5", "Redirects followed in one fetch.")),
  timeout_ms: optional(integer(100, 86_400_000, "3600000", "Longest time of one fetch.")),
});

const model = Schema.Struct({
  repository: text({ expected: "a repository's name", example: '"acme/model"', description: "Repository." }),
  revision: optional(text({ expected: "a revision", example: '"main"', description: "Revision." })),
  filenames: list(Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(textCharactersMax)), {
    expected: "a list of file names",
    example: '["model.safetensors"]',
    description: "Files.",
  }),
  token: optional(
    text({ expected: "an access token", example: '"hf_…"', description: "Access token.", secret: true }),
  ),
  type: text({ expected: "a task such as causal-lm", example: '"image-classification"', description: "Task." }),
  input_names: list(Schema.String.check(Schema.isMaxLength(textCharactersMax)), {
    expected: "a list of texts",
    example: '["pixel_values"]',
    description: "Names of the model's inputs.",
  }),
});

const rate = amount("0.001", "Learning rate.");
const job = Schema.Struct({
  type: oneOf(["diloco"], '"diloco"', "Kind of training."),
  model,
  preprocessor: optional(model),
  dataset: Schema.Struct({
    dataset: text({ expected: "a dataset's name", example: '"digits"', description: "Name a data node announces." }),
  }),
  inner_optimizer: Schema.Struct({
    "learning-rate": rate,
    betas: optional(
      note(Schema.Tuple([fraction("0.9", ""), fraction("0.999", "")]), {
        expected: "two numbers from 0 to 1",
        example: "[0.9, 0.999]",
        description: "Adam's decay rates.",
      }),
    ),
    epsilon: optional(amount("1e-8", "Adam's epsilon.")),
  }),
  outer_optimizer: Schema.Struct({
    "learning-rate": rate,
    momentum: fraction("0.9", "Nesterov's momentum."),
  }),
  resources: Schema.Struct({
    num_workers: integer(1, 1_000, "2", "Trainers to look for."),
    worker: resources("A trainer"),
    parameter_server: resources("The parameter server"),
    worker_price: price("A trainer"),
    parameter_server_price: price("The parameter server"),
  }),
  rounds: Schema.Struct({
    update_rounds: integer(1, 1_000_000, "10", "Rounds of outer updates."),
    avg_samples_between_updates: integer(1, 1_000_000_000, "1200", "Samples of all trainers together in a round."),
    max_batch_size: optional(integer(1, 1_000_000, "32", "Largest batch a trainer is given.")),
  }),
  executors: optional(Schema.Struct({
    train: optional(
      text({
        expected: "an executor's name",
        example: '"diloco-transformer"',
        description: "Executor asked for to train.",
      }),
    ),
    aggregate: optional(
      text({
        expected: "an executor's name",
        example: '"parameter-server"',
        description: "Executor asked for to aggregate.",
      }),
    ),
  })),
  evaluation: optional(Schema.Struct({
    held_out: path("Rows held out of training: each round's model is evaluated on them.", '"held-out.csv"'),
  })),
});

/** The schema of each role. Cross-field rules are in `rules.ts`. */
export const roleSchemas = {
  gateway: Schema.Struct({
    ...common,
    external_addresses: addresses(
      "external",
      "such as /dns4/gateway.example/tcp/4001",
      '["/dns4/gateway.example/tcp/4001"]',
      "Addresses under which others reach this gateway: at least one.",
    ),
  }),
  scheduler: Schema.Struct({
    ...common,
    external_addresses: optional(external),
    gateway_addresses: gateways,
    relay_circuit: optional(relayCircuit),
    status_bridge: optional(
      text({ expected: "an address", example: '"127.0.0.1:6006"', description: "Where training metrics are sent." }),
    ),
    scheduler: Schema.Struct({ job }),
  }),
  worker: Schema.Struct({
    ...common,
    external_addresses: optional(external),
    gateway_addresses: gateways,
    relay_circuit: optional(relayCircuit),
    work_dir: path("Directory in which each job gets one of its own.", '"work"'),
    resources: wholeResources("This worker"),
    offer: Schema.Struct({
      price: amount("1.0", "What this worker asks."),
      floor: amount("0.0", "Bids under this are not answered."),
      strategy: Schema.Struct({
        type: oneOf(["whole", "flexible"], '"flexible"', "Offer everything, or what was asked for."),
      }),
    }),
    executors: list(executor, {
      expected: "tables [[executors]]",
      example: '[{ class = "train", name = "…", runtime = "process", cmd = "…" }]',
      description: "What this worker can run.",
    }),
    cell: optional(cell),
    fetch: optional(fetch),
  }),
  data: Schema.Struct({
    ...common,
    gateway_addresses: gateways,
    dataset_path: path("Directory whose files are the slices; its name is the dataset's.", '"data/digits"'),
    require_grant: optional(
      flag(
        "false",
        "Whether a slice goes only to a worker that shows a scheduler's grant; the existing nodes show none.",
      ),
    ),
  }),
} as const satisfies Record<Role, Schema.Top>;

/** A role's configuration as it was decoded: keys as in TOML. */
export type Decoded<R extends Role> = (typeof roleSchemas)[R]["Type"];
