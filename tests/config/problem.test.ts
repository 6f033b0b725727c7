/** Everything that can be wrong with a configuration, where it is said to be, and what is said about it. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parseConfig } from "../../actors/config/load.ts";
import { ConfigError, type ConfigProblem, describeProblem, problemsMax } from "../../actors/config/problem.ts";
import type { Surroundings } from "../../actors/config/sources.ts";
import { updatesMax } from "../../actors/learning/mod.ts";
import type { Role } from "../../pki/certificate.ts";

const nothing: Surroundings = { environment: {}, flags: {} };

const pem = ['cert_pem = "c.pem"', 'key_pem = "k.pem"', 'trust_pem = "t.pem"'];
const listen = 'listen_addresses = ["/ip4/0.0.0.0/tcp/4001"]';
const gateway = [...pem, listen, 'external_addresses = ["/dns4/gw.example/tcp/4001"]'];
const data = [...pem, listen, 'gateway_addresses = ["/dns4/gw.example/tcp/4001"]', 'dataset_path = "d"'];
const worker = [
  ...data.slice(0, 5),
  'work_dir = "w"',
  "resources = { cpu = 1, memory = 1, storage = 1, gpu = 0 }",
  'offer = { price = 1, floor = 0, strategy = { type = "whole" } }',
  "executors = []",
];

function problems(role: Role, lines: readonly string[], around = nothing): readonly ConfigProblem[] {
  const parsed = parseConfig(role, { file: "c.toml", text: lines.join("\n") }, around);
  return Result.isFailure(parsed) ? parsed.failure.problems : [];
}

const where = ({ origin, key }: ConfigProblem): string =>
  origin.type === "file" ? `${origin.line}:${origin.column} ${key}` : `${origin.type} ${key}`;

/** `replaced` takes the place of a line (from 1), or comes behind the last. */
type Case = [name: string, role: Role, base: readonly string[], line: number, replaced: string, expected: string];

const cases: Case[] = [
  ["unknown key", "gateway", gateway, 6, "colour = 1", "6:1 colour"],
  ["unknown key, one that another role has", "gateway", gateway, 6, 'work_dir = "w"', "6:1 work_dir"],
  ["unknown table", "gateway", gateway, 6, "[nonsense]\na = 1", "6:1 nonsense"],
  ["unknown key in a table", "gateway", gateway, 6, "[limits]\n  pending_mx = 1", "7:3 limits.pending_mx"],
  ["unknown dotted key", "gateway", gateway, 6, "limits.x = 1", "6:8 limits.x"],
  ["wrong type: number for text", "gateway", gateway, 1, "cert_pem = 7", "1:12 cert_pem"],
  ["wrong type: text for number", "gateway", gateway, 6, 'handshake_timeout_ms = "5"', "6:24 handshake_timeout_ms"],
  ["wrong type: text for list", "gateway", gateway, 4, 'listen_addresses = "x"', "4:20 listen_addresses"],
  ["wrong type: date for text", "gateway", gateway, 6, "crls_pem = 2026-01-01", "6:12 crls_pem"],
  ["wrong type in a list", "gateway", gateway, 6, 'exclude_cidr = ["10.0.0.0/8", 3]', "6:31 exclude_cidr[1]"],
  ["wrong type: value for table", "gateway", gateway, 6, "limits = 3", "6:10 limits"],
  ["empty text", "gateway", gateway, 3, 'trust_pem = ""', "3:13 trust_pem"],
  ["missing key", "gateway", gateway, 3, "", "1:1 trust_pem"],
  [
    "missing key in a table",
    "worker",
    worker,
    7,
    "resources = { cpu = 1, memory = 1, storage = 1 }",
    "7:1 resources.gpu",
  ],
  ["out of range below", "gateway", gateway, 6, "handshake_timeout_ms = 99", "6:24 handshake_timeout_ms"],
  ["out of range above", "gateway", gateway, 6, "handshake_timeout_ms = 60001", "6:24 handshake_timeout_ms"],
  ["infinite", "gateway", gateway, 6, "crl_grace_hours = inf", "6:19 crl_grace_hours"],
  [
    "fraction where whole",
    "worker",
    worker,
    7,
    "resources = { cpu = 1.5, memory = 1, storage = 1, gpu = 0 }",
    "7:21 resources.cpu",
  ],
  ["unknown literal", "gateway", gateway, 6, 'key_exchange = "none"', "6:16 key_exchange"],
  ["empty list of algorithms", "gateway", gateway, 6, "leaf_algorithms = []", "6:19 leaf_algorithms"],
  [
    "a port with leading zeros",
    "data",
    data,
    5,
    'gateway_addresses = ["/ip4/10.0.0.1/tcp/04001"]',
    "5:22 gateway_addresses[0]",
  ],
  ["no multiaddr", "gateway", gateway, 4, 'listen_addresses = ["0.0.0.0:4001"]', "4:21 listen_addresses[0]"],
  [
    "nothing but QUIC",
    "gateway",
    gateway,
    4,
    'listen_addresses = ["/ip4/0.0.0.0/udp/1/quic-v1"]',
    "4:20 listen_addresses",
  ],
  [
    "an address behind one of QUIC",
    "gateway",
    gateway,
    4,
    'listen_addresses = ["/ip4/0.0.0.0/udp/1/quic-v1", "x"]',
    "4:51 listen_addresses[1]",
  ],
  [
    "port too large",
    "gateway",
    gateway,
    4,
    'listen_addresses = ["/ip4/0.0.0.0/tcp/65536"]',
    "4:21 listen_addresses[0]",
  ],
  ["listening on a name", "gateway", gateway, 4, 'listen_addresses = ["/dns4/a.b/tcp/1"]', "4:21 listen_addresses[0]"],
  [
    "port 0 for others",
    "gateway",
    gateway,
    5,
    'external_addresses = ["/ip4/1.2.3.4/tcp/0"]',
    "5:23 external_addresses[0]",
  ],
  [
    "PeerID that is none",
    "data",
    data,
    5,
    'gateway_addresses = ["/ip4/1.2.3.4/tcp/1/p2p/x"]',
    "5:22 gateway_addresses[0]",
  ],
  ["prefix too long", "gateway", gateway, 6, 'exclude_cidr = ["10.0.0.0/33"]', "6:17 exclude_cidr[0]"],
  ["no gateway", "data", data, 5, "gateway_addresses = []", "5:21 gateway_addresses"],
  ["no way in", "worker", [...worker, "relay_circuit = false"], 4, "listen_addresses = []", "4:20 listen_addresses"],
  [
    "process without a command",
    "worker",
    worker,
    9,
    '[[executors]]\nclass = "train"\nname = "n"\nruntime = "process"',
    "9:1 executors[0].cmd",
  ],
  [
    "parameter server that trains",
    "worker",
    worker,
    9,
    '[[executors]]\nclass = "train"\nname = "n"\nruntime = "parameter-server"',
    "12:11 executors[0].runtime",
  ],
  ["unterminated text", "gateway", gateway, 2, 'key_pem = "k', "2:13 "],
  ["key given twice", "gateway", gateway, 6, 'cert_pem = "d"', "6:1 "],
  ["no value", "gateway", gateway, 6, "crls_pem =", "6:11 "],
  ["number too large", "gateway", gateway, 6, "drain_timeout_ms = 99999999999999999999", "6:20 "],
];

const test = suite("ConfigError");

for (const [name, role, base, line, replaced, expected] of cases) {
  test(`places it: ${name}`, () => {
    const lines = [...base];
    lines[line - 1] = replaced;
    assert.equal(problems(role, lines).map(where), [expected]);
  });
}

for (const [role, base] of [["gateway", gateway], ["data", data], ["worker", worker]] as const) {
  test(`has nothing to say about the ${role} that the cases begin with`, () => assert.equal(problems(role, base), []));
}

const whose: [role: Role, base: readonly string[], run: Role, sign: string][] = [
  ["worker", worker, "gateway", "6:1"],
  ["worker", worker, "data", "6:1"],
  ["worker", worker, "scheduler", "6:1"],
  ["data", data, "worker", "6:1"],
  ["data", data, "gateway", "6:1"],
  ["gateway", gateway, "worker", "5:1"],
  ["gateway", gateway, "scheduler", "5:1"],
  ["gateway", gateway, "data", "5:1"],
  ["scheduler", [...data.slice(0, 5), "[scheduler.job]"], "data", "6:1"],
];
for (const [role, base, run, sign] of whose) {
  test(`says whose configuration it is: a ${role}'s, given to hypha-${run}`, () => {
    const found = problems(run, base).map(describeProblem);
    const noun = role === "data" ? "data node" : role;
    assert.equal(found, [`c.toml:${sign}: this is a ${noun}'s configuration: run it with hypha-${role}`]);
  });
}

test("takes no file for another role's that fits its own better", () => {
  assert.equal(problems("gateway", [...gateway, 'work_dir = "w"']).map(where), ["6:1 work_dir"]);
  assert.equal(problems("worker", worker.filter((line) => !line.startsWith("work_dir"))).map(where), ["1:1 work_dir"]);
  const bare = problems("worker", worker.slice(0, 5)).map(where);
  assert.ok(bare.includes("1:1 work_dir") && bare.includes("1:1 executors"), bare.join(", "));
});

test("finds a task that no node knows, and names the likely one", () => {
  const model = 'repository = "a"\nfilenames = ["m"]\ninput_names = ["x"]';
  const lines = [
    ...data.slice(0, 5),
    "[scheduler.job.model]",
    model,
    'type = "image-clasification"',
    "[scheduler.job.preprocessor]",
    model,
    'type = "immage"',
  ];
  const types = problems("scheduler", lines).filter(({ key }) => key.endsWith(".type"));
  assert.equal(types.map(where).slice(1), [
    "10:8 scheduler.job.model.type",
    "15:8 scheduler.job.preprocessor.type",
  ]);
  assert.match(types.map(describeProblem).join("\n"), /"image-clasification", perhaps "image-classification";/);
  assert.match(types.map(describeProblem).join("\n"), /"immage", perhaps "image"; expected one of tokenizer/);
});

test("says that ~ is not expanded, wherever a path is expected", () => {
  const [problem] = problems("data", [...data.slice(0, 5), 'dataset_path = "~/digits"']);
  assert.is(
    problem && describeProblem(problem),
    'c.toml:6:16: dataset_path: "~/digits" begins with ~, which is not expanded; expected the path of a directory; ' +
      'write for instance: dataset_path = "data/digits"',
  );
  const files = ["cert_pem", "key_pem", "trust_pem"];
  assert.equal(
    problems("gateway", [...files.map((key) => `${key} = "~/x.pem"`), ...gateway.slice(3)]).map(where),
    ["1:12 cert_pem", "2:11 key_pem", "3:13 trust_pem"],
  );
});

test("says what to write in place of keys of other releases of the existing nodes", () => {
  const [driver] = problems("worker", [...worker, 'driver = ["diloco-transformer"]']);
  assert.is(
    driver && describeProblem(driver),
    `c.toml:${worker.length + 1}:1: driver: is a key of earlier releases of the existing nodes; ` +
      "name what the worker runs in tables [[executors]]",
  );
  const pool = problems("scheduler", [...data.slice(0, 5), "[scheduler.job.resources]", "worker_pool = { min = 1 }"]);
  assert.match(pool.map(describeProblem).join("\n"), /7:1: scheduler\.job\.resources\.worker_pool: .*num_workers = 2/);
});

const notToml: [line: string, mend: string][] = [
  ["require_roles = True", "write true or false"],
  ["cert_pem = certs/x.pem", 'put text into quotes: key = "text"'],
  ['cert_pem = "C:\\certs"', "write \\\\ for each \\, or put the text into single quotes"],
  ["cert_pem: x.pem", "this looks like YAML: write key = value"],
  ['{ "cert_pem": "x" }', 'this looks like JSON: write key = "text", and tables as [table]'],
  ["crls_pem = ]", "correct the line"],
];
for (const [line, mend] of notToml) {
  test(`says how to write ${line}`, () => {
    const [problem, ...more] = problems("gateway", [line]);
    assert.equal([problem?.mend, more], [mend, []]);
  });
}

test("says in one line that a file is empty", () => {
  assert.equal(problems("worker", ["# nothing"]).map(describeProblem), [
    "c.toml: has no key in it; expected a configuration; write one with: hypha-worker init -o c.toml",
  ]);
});

test("sends a key of the top back there from the table below which it was written", () => {
  const [problem] = problems("worker", [...worker, "[limits]", 'crls_pem = "x"']);
  assert.is(
    problem && describeProblem(problem),
    `c.toml:${worker.length + 2}:1: limits.crls_pem: is no key of limits; expected it at the top of the file; ` +
      "move it above the first [table]",
  );
});

test("bug: a job might have 1,000 trainers, and an aggregator rejected each update after the 256th", () => {
  const [head, table] = [data.slice(0, 5), "[scheduler.job.resources]"];
  for (const key of ["num_workers", "min_trainers"]) {
    const of = (count: number) =>
      problems("scheduler", [...head, table, `${key} = ${count}`]).filter((problem) => problem.key.endsWith(`.${key}`));
    assert.equal(of(updatesMax), []);
    assert.is(of(updatesMax + 1)[0]?.expected, `a whole number from 1 to ${updatesMax}`);
  }
});

test("finds addresses and executors that are there twice", () => {
  const twice =
    'listen_addresses = ["/ip4/0.0.0.0/tcp/1", "/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/tcp/1/"]';
  assert.equal(problems("gateway", [...gateway.filter((line) => line !== listen), twice]).map(where), [
    `5:87 listen_addresses[3]`,
  ]);
  const executor = '[[executors]]\nclass = "aggregate"\nname = "ps"\nruntime = "parameter-server"';
  const lines = [...worker.filter((line) => !line.startsWith("executors")), executor, executor];
  assert.equal(problems("worker", lines).map(({ key }) => key), ["executors[1].name"]);
});

test("refuses a key under both of its names", () => {
  const lines = [...gateway, 'telemetry_endpoint = "http://a"', 'exporter_otlp_endpoint = "http://b"'];
  assert.equal(problems("gateway", lines).map(where), ["7:1 exporter_otlp_endpoint"]);
});

test("places a problem at the former name under which the value stands", () => {
  assert.equal(problems("gateway", [...gateway, 'exporter_otlp_endpoint = "nowhere"']).map(where), [
    "6:26 telemetry_endpoint",
  ]);
});

test("says file, line, column, key, what is wrong, what was expected and what to do, on one line", () => {
  const [problem] = problems("gateway", [...gateway, "handshake_timeout_ms = 1"]);
  assert.is(
    problem && describeProblem(problem),
    "c.toml:6:24: handshake_timeout_ms: is 1; expected a whole number from 100 to 60000; " +
      "write for instance: handshake_timeout_ms = 5000",
  );
});

test("names the likely key for a misspelt one", () => {
  const [problem] = problems("gateway", [...gateway, 'crls_pme = "x"']);
  assert.is(problem?.expected, "perhaps crls_pem");
});

test("finds everything at once, from the top of the file", () => {
  const found = problems("gateway", ["a = 1", ...gateway, "crl_grace_hours = -1", 'key_exchange = "x"']);
  assert.equal(found.map(where), ["1:1 a", "7:19 crl_grace_hours", "8:16 key_exchange"]);
});

test("bounds what it says", () => {
  const lines = Array.from({ length: 500 }, (_, index) => `unknown_${index} = 1`);
  const error = new ConfigError({ problems: problems("gateway", [...gateway, ...lines]) });
  assert.is(error.problems.length, 500);
  assert.is(error.message.split("\n").length, problemsMax + 1);
  assert.match(error.message, /… and 480 more$/);
  const long = problems("gateway", [...gateway, `key_exchange = "${"x".repeat(100_000)}"`, `${"y".repeat(9_999)} = 1`]);
  for (const problem of long) assert.ok(describeProblem(problem).length < 1_000);
});

test("shows control characters escaped, so that a value cannot forge a line", () => {
  const [problem] = problems("gateway", [...gateway, 'key_exchange = "a\\u001b[31m\\nb"']);
  assert.ok(problem !== undefined);
  assert.not.match(describeProblem(problem), /\p{Cc}/u);
  const [unknown] = problems("gateway", [...gateway, '"a\\u001b\\nb" = 1']);
  assert.ok(unknown !== undefined);
  assert.not.match(describeProblem(unknown), /\p{Cc}/u);
});

test("never shows a secret", () => {
  const around = { environment: { HYPHA_TELEMETRY_HEADERS: "" }, flags: {} };
  const said = [
    ...problems("gateway", [...gateway, "telemetry_headers = 77777"]),
    ...problems("gateway", [...gateway, 'telemetry_headers = "77777"']),
    ...problems("gateway", gateway, around),
  ].map(describeProblem);
  assert.is(said.length, 3);
  for (const line of said) {
    assert.not.match(line, /77777/);
    assert.match(line, /not shown/);
  }
});

test("says where a protocol or sampler that is not spoken stands, in the file and in the environment", () => {
  const lines = [...gateway, 'telemetry_protocol = "thrift"', 'telemetry_sampler = "jaeger_remote"'];
  const said = problems("gateway", lines);
  assert.equal(said.map(where), ["6:22 telemetry_protocol", "7:21 telemetry_sampler"]);
  assert.match(said.map(describeProblem).join("\n"), 'expected "http/protobuf" or "http/json"');
  const around = { environment: { OTEL_EXPORTER_OTLP_PROTOCOL: "thrift", OTEL_TRACES_SAMPLER: "xray" }, flags: {} };
  assert.equal(problems("gateway", gateway, around).map(({ origin }) => origin), [
    { type: "environment", variable: "OTEL_EXPORTER_OTLP_PROTOCOL" },
    { type: "environment", variable: "OTEL_TRACES_SAMPLER" },
  ]);
});

test("says which variable or flag is at fault", () => {
  const around = { environment: { HYPHA_CRL_GRACE_HOURS: "many" }, flags: { "handshake-timeout-ms": "7" } };
  assert.equal(problems("gateway", gateway, around).map(describeProblem), [
    'environment HYPHA_CRL_GRACE_HOURS: crl_grace_hours: "many" is not a number; expected a number from 0 to 8760; write for instance 24',
    "flag --handshake-timeout-ms: handshake_timeout_ms: is 7; expected a whole number from 100 to 60000; " +
    "write for instance: handshake_timeout_ms = 5000",
  ]);
});

test("refuses a misspelt variable: it may be the one that turns revocation on", () => {
  const [problem] = problems("gateway", gateway, { environment: { HYPHA_CRLS_PME: "x" }, flags: {} });
  assert.is(problem?.expected, "HYPHA_CRLS_PEM");
  assert.equal(problem?.origin, { type: "environment", variable: "HYPHA_CRLS_PME" });
});

test("refuses booleans that are neither true nor false, and JSON that is none", () => {
  const flags = { "require-roles": "yes", executors: "{}" };
  assert.equal(problems("worker", worker, { environment: {}, flags }).map(where), [
    "flag require_roles",
    "flag executors",
  ]);
});

test("holds a bid above its maximum for a mistake", () => {
  const found = problems("scheduler", [
    ...data.slice(0, 5),
    "[scheduler.job.resources]",
    "worker_price = { bid = 3, max = 2 }",
  ]);
  assert.ok(found.map(where).includes("7:24 scheduler.job.resources.worker_price.bid"));
});

test.run();
