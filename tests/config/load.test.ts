/** Good configurations, defaults, and which source wins. */
import { Effect, Result } from "effect";
import { type File, FileSystem, makeNoop } from "effect/FileSystem";
import { systemError } from "effect/PlatformError";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { excludeCidrDefault } from "../../actors/config/defaults.ts";
import { keysOf } from "../../actors/config/keys.ts";
import { type ConfigOf, fileBytesMax, loadConfig, parseConfig } from "../../actors/config/load.ts";
import { describeProblem } from "../../actors/config/problem.ts";
import type { Surroundings } from "../../actors/config/sources.ts";
import type { Role } from "../../pki/certificate.ts";
import { policyOf, trustPathsOf } from "../../actors/node/inputs.ts";

const roles: readonly Role[] = ["gateway", "scheduler", "worker", "data"];
const nothing: Surroundings = { environment: {}, flags: {} };

const pem =
  'cert_pem = "c.pem"\nkey_pem = "k.pem"\ntrust_pem = "t.pem"\nlisten_addresses = ["/ip4/0.0.0.0/tcp/4001"]\n';
const gateway = `${pem}external_addresses = ["/dns4/gw.example/tcp/4001"]\n`;
const joined = `${pem}gateway_addresses = ["/dns4/gw.example/tcp/4001"]\n`;
const worker = `${joined}work_dir = "w"
[resources]
cpu = 4
memory = 8
storage = 10
gpu = 0
[offer]
price = 1
floor = 0.5
[offer.strategy]
type = "whole"
[[executors]]
class = "train"
name = "mlp"
runtime = "process"
cmd = "node"
args = ["train.ts", "{SOCKET_PATH}"]
[[executors]]
class = "aggregate"
name = "parameter-server"
runtime = "parameter-server"
token = "optional"
`;
const scheduler = `${joined}
[scheduler.job]
type = "diloco"
[scheduler.job.model]
repository = "acme/mlp"
filenames = ["model.safetensors"]
type = "image-classification"
input_names = ["pixel_values"]
[scheduler.job.dataset]
dataset = "digits"
[scheduler.job.inner_optimizer]
learning-rate = 0.01
betas = [0.9, 0.99]
[scheduler.job.outer_optimizer]
learning-rate = 0.7
momentum = 0.9
[scheduler.job.resources]
num_workers = 3
worker = { cpu = 1, memory = 1.5, storage = 0, gpu = 0 }
parameter_server = { cpu = 1, memory = 1, storage = 1, gpu = 0 }
worker_price = { bid = 1.0, max = 2.0 }
parameter_server_price = { bid = 1.0, max = 1.0 }
[scheduler.job.rounds]
update_rounds = 4
avg_samples_between_updates = 600
[scheduler.job.evaluation]
held_out = "held-out.csv"
`;

function load<R extends Role>(role: R, text: string, around: Surroundings = nothing): ConfigOf<R> {
  return Result.match(parseConfig(role, { file: "c.toml", text }, around), {
    onSuccess: (config) => config,
    onFailure: (error) => {
      throw error;
    },
  });
}

function complaints(role: Role, text: string, around: Surroundings = nothing): readonly string[] {
  const read = parseConfig(role, { file: "c.toml", text }, around);
  return Result.isFailure(read) ? read.failure.problems.map(describeProblem) : [];
}

const test = suite("parseConfig()");

test("gives a gateway its defaults", () => {
  const config = load("gateway", gateway);
  assert.is(config.role, "gateway");
  assert.equal(config.excludeCidr, excludeCidrDefault);
  assert.is(config.handshakeTimeoutMs, 5_000);
  assert.is(config.keyExchange, "hybrid");
  assert.is(config.requireRoles, false);
  assert.equal(config.leafAlgorithms, ["ed25519"]);
  assert.is(config.crlGraceHours, 24);
  assert.is(config.crlsPem, undefined);
  assert.is(config.relayCircuit, false, "a gateway reserves no relay");
});

test("reads trust domains, of PEM or of a SPIFFE bundle", () => {
  const read = (table: string) =>
    parseConfig("gateway", { file: "g.toml", text: `${gateway}[[trust_domains]]\n${table}` }, nothing);
  const both = read(`name = "a.example"
trust_pem = "a.pem"
crls_pem = "a-crls.pem"
roles = ["worker"]
[[trust_domains]]
name = "b.example"
bundle = "b.json"
[[trust_domains]]
name = "c.example"
bundle_url = "https://ca.c.example:8443/bundle.json"
bundle_pin = "sha256:${"0f".repeat(32)}"
[[trust_domains]]
name = "d.example"
bundle_url = "https://www.d.example/bundle.json"
profile = "https_web"
`);
  assert.equal((Result.getOrThrow(both) as ConfigOf<"gateway">).trustDomains, [
    { name: "a.example", trust: "a.pem", crlsPem: "a-crls.pem", roles: ["worker"] },
    { name: "b.example", trust: "b.json", crlsPem: undefined, roles: undefined },
    {
      name: "c.example",
      trust: { url: "https://ca.c.example:8443/bundle.json", pin: "0f".repeat(32), profile: "https_ca" },
      crlsPem: undefined,
      roles: undefined,
    },
    {
      name: "d.example",
      trust: { url: "https://www.d.example/bundle.json", pin: undefined, profile: "https_web" },
      crlsPem: undefined,
      roles: undefined,
    },
  ]);
  const fetched = (url: string, pin = `bundle_pin = "sha256:${"0f".repeat(32)}"`) =>
    `name = "a.example"\nbundle_url = "${url}"\n${pin}\n`;
  for (
    const wrong of [
      'name = "a.example"\n',
      'name = "a.example"\ntrust_pem = "a.pem"\nbundle = "a.json"\n',
      'name = "spiffe://a"\ntrust_pem = "a.pem"\n',
      'name = "a.example"\ntrust_pem = "a.pem"\nroles = ["queen"]\n',
      'name = "a.example"\ntrust_pem = "a.pem"\nbundle_pin = "sha256:00"\n',
      fetched("https://a.example/b.json", ""),
      fetched("https://a.example/b.json", 'profile = "https_ca"'),
      fetched("https://a.example/b.json", 'profile = "web"'),
      'name = "a.example"\ntrust_pem = "a.pem"\nprofile = "https_web"\n',
      fetched("https://a.example/b.json", `bundle_pin = "sha256:${"0F".repeat(32)}"`),
      fetched("http://a.example/b.json"),
      fetched("https://user@a.example/b.json"),
      fetched("https://a.example//evil.example/b.json"),
      fetched("https://a.example/b.json#here"),
      `${fetched("https://a.example/b.json")}bundle = "a.json"\n`,
    ]
  ) assert.ok(Result.isFailure(read(wrong)), wrong);
});

test("reads the node's own trust domain, and the policy of another one where it differs", () => {
  const domain = (keys: string) => `[[trust_domains]]\nname = "a.example"\ntrust_pem = "a.pem"\n${keys}`;
  const read = (own: string, table: string) =>
    parseConfig("gateway", { file: "g.toml", text: `trust_domain = "${own}"\n${gateway}${table}` }, nothing);
  const strict = 'require_roles = true\nca_algorithms = ["rsa"]\ncrl_grace_hours = 1\n';
  const config = Result.getOrThrow(read("home.example", domain(strict))) as ConfigOf<"gateway">;
  const { ownName, domains: [other] = [] } = trustPathsOf(config);
  assert.is(ownName, "home.example");
  assert.equal(other?.policy, { ...policyOf(config), roles: "require", caAlgorithms: ["rsa"], crlGraceMs: 3_600_000 });
  assert.equal([policyOf(config).roles, other && "policy" in other], ["optional", true]);
  const plain = Result.getOrThrow(read("home.example", domain(""))) as ConfigOf<"gateway">;
  assert.equal(trustPathsOf(plain).domains?.map((each) => "policy" in each), [false]);
  const same = read("a.example", domain(""));
  assert.ok(Result.isFailure(same));
  assert.match(same.failure.problems.map(({ wrong }) => wrong).join(), "this node's own trust_domain");
  assert.ok(Result.isFailure(read("Home.example", "")));
});

test("bug: a domain that is there twice was reported as a fault of the first one's file", () => {
  const domain = (name: string) => `[[trust_domains]]\nname = "${name}"\ntrust_pem = "a.pem"\n`;
  for (const own of ["", 'trust_domain = "home.example"\n']) {
    const text = `${own}${gateway}${domain("a.example")}${domain("b.example")}${domain("a.example")}`;
    const said = complaints("gateway", text);
    const line = text.slice(0, text.lastIndexOf("name =")).split("\n").length;
    assert.is(said.length, 1, said.join("\n"));
    assert.match(
      said[0] ?? "",
      new RegExp(`^c\\.toml:${line}:8: trust_domains\\[2\\]\\.name: "a\\.example" is there already`),
    );
  }
});

test("reads a worker with its executors", () => {
  const config = load("worker", worker);
  assert.equal(config.resources, { cpu: 4, memory: 8, storage: 10, gpu: 0 });
  assert.equal(config.offer, { price: 1, floor: 0.5, strategy: "whole" });
  assert.is(config.relayCircuit, true);
  assert.equal(config.executors, [
    {
      class: "train",
      name: "mlp",
      runtime: "process",
      cmd: "node",
      args: ["train.ts", "{SOCKET_PATH}"],
      token: undefined,
    },
    {
      class: "aggregate",
      name: "parameter-server",
      runtime: "parameter-server",
      cmd: undefined,
      args: [],
      token: "optional",
    },
  ]);
});

test("reads a scheduler's job, whole numbers where fractions may stand", () => {
  const { job } = load("scheduler", scheduler);
  assert.ok(job !== undefined);
  assert.is(job.dataset, "digits");
  assert.equal(job.innerOptimizer, { learningRate: 0.01, betas: [0.9, 0.99], epsilon: undefined });
  assert.equal(job.outerOptimizer, { learningRate: 0.7, momentum: 0.9 });
  assert.is(job.resources.numWorkers, 3);
  assert.equal(job.resources.worker, { cpu: 1, memory: 1.5, storage: 0, gpu: 0 });
  assert.equal(job.executors, { train: "diloco-transformer", aggregate: "parameter-server" });
  assert.equal(job.evaluation, { heldOut: "held-out.csv" });
  assert.is(job.rounds.maxBatchSize, undefined);
});

test("a model is a repository with files or weights, not both; weights want an outer learning rate over 0", () => {
  const hub = /repository = .*\nfilenames = .*/;
  const own = scheduler.replace(hub, 'weights = "init.safetensors"');
  const commit = "0123456789abcdef0123456789abcdef01234567";
  const keeping = (model: string) => scheduler.replace(hub, `repository = "acme/model"\nkeep = true\n${model}`);
  const pinned = `revision = "${commit}"\nfilenames = ["config.json", "a.safetensors"]`;
  const { job } = load("scheduler", own);
  assert.ok(job !== undefined);
  assert.equal(job.model, { weights: "init.safetensors", type: "image-classification", inputNames: ["pixel_values"] });
  assert.is(job.rounds.keepRounds, 3);
  const wrong: readonly (readonly [text: string, keys: readonly string[]])[] = [
    [scheduler.replace(hub, ""), ["repository", "filenames"]],
    [scheduler.replace(/filenames = .*/, ""), ["filenames"]],
    [scheduler.replace(hub, '$&\nweights = "init.safetensors"'), ["weights"]],
    [own.replace("learning-rate = 0.7", "learning-rate = 0"), ["learning-rate"]],
    [`${scheduler}\n[scheduler.job.aggregation]\nquorum = 0.5\n`, ["quorum"]],
    [keeping('revision = "main"\nfilenames = ["a.safetensors"]'), ["revision"]],
    [keeping('filenames = ["a.safetensors"]'), ["revision"]],
    [keeping(`revision = "${commit}"\nfilenames = ["a.safetensors", "b.safetensors"]`), ["filenames"]],
    [keeping(pinned).replace("learning-rate = 0.7", "learning-rate = 0"), ["learning-rate"]],
  ];
  const kept = load("scheduler", keeping(pinned)).job?.model;
  assert.ok(kept !== undefined && "keep" in kept);
  assert.equal([kept.keep, kept.revision], [true, commit]);
  const rules = load("scheduler", `${own}\n[scheduler.job.aggregation]\nquorum = 0.5\ntrim = 0.1\n`).job?.aggregation;
  assert.equal([rules?.quorum, rules?.trim, rules?.method], [0.5, 0.1, "mean"]);
  for (const [text, keys] of wrong) {
    const read = parseConfig("scheduler", { file: "c.toml", text }, nothing);
    assert.equal(Result.isFailure(read) && read.failure.problems.map(({ key }) => key.split(".").at(-1)), keys);
  }
});

test("bug: Adam's epsilon of 0 and a decay rate of 1 were valid, and made every update NaN", () => {
  const betas = "betas = [0.9, 0.99]";
  const wrong: readonly (readonly [text: string, key: string, expected: string])[] = [
    [`${betas}\nepsilon = 0`, "epsilon", "a number over 0"],
    ["betas = [0.9, 1.0]", "betas", "a number from 0 to below 1"],
    ["betas = [1, 0.99]", "betas", "a number from 0 to below 1"],
  ];
  for (const [text, name, expected] of wrong) {
    const read = parseConfig("scheduler", { file: "c.toml", text: scheduler.replace(betas, text) }, nothing);
    assert.ok(Result.isFailure(read), text);
    assert.match(
      read.failure.problems.map(({ key }) => key).join(),
      new RegExp(`^scheduler\\.job\\.inner_optimizer\\.${name}`),
    );
    assert.match(read.failure.message, expected);
  }
  const { innerOptimizer } = load("scheduler", scheduler.replace(betas, "betas = [0, 0.999]\nepsilon = 1e-8")).job ??
    {};
  assert.equal(innerOptimizer, { learningRate: 0.01, betas: [0, 0.999], epsilon: 1e-8 });
});

test("reads a data node, which always reserves a relay", () => {
  const config = load("data", `${joined}dataset_path = "d/digits"\n`);
  assert.is(config.datasetPath, "d/digits");
  assert.is(config.relayCircuit, true);
});

test("lets the environment win over the file, and a flag over both", () => {
  const environment = { HYPHA_OFFER__PRICE: "2.5", HYPHA_OFFER__FLOOR: "0.25", HYPHA_CRLS_PEM: "env.pem" };
  const config = load("worker", worker, { environment, flags: { "offer-price": "3", "key-exchange": "classical" } });
  assert.is(config.offer.price, 3);
  assert.is(config.offer.floor, 0.25);
  assert.is(config.crlsPem, "env.pem");
  assert.is(config.keyExchange, "classical");
});

test("makes the tables that environment and flags need", () => {
  const config = load("gateway", gateway, {
    environment: { HYPHA_LIMITS__PENDING_MAX: "7" },
    flags: { "limits-handshakes-per-second": "0.5" },
  });
  assert.is(config.limits.pendingMax, 7);
  assert.is(config.limits.handshakesPerSecond, 0.5);
});

test("reads lists as commas or as JSON", () => {
  const flags = { "exclude-cidr": "10.0.0.0/8, fc00::/7", "leaf-algorithms": '["rsa","ed25519"]' };
  const config = load("gateway", gateway, { environment: {}, flags });
  assert.equal(config.excludeCidr, ["10.0.0.0/8", "fc00::/7"]);
  assert.equal(config.leafAlgorithms, ["rsa", "ed25519"]);
});

test("bug: an empty variable of a list was an empty list, and turned a guard off. It is a problem; [] is the empty list", () => {
  const lists = ["HYPHA_FETCH__DENY_CIDR", "HYPHA_EXCLUDE_CIDR", "HYPHA_EXECUTORS"];
  for (const variable of lists) {
    for (const text of ["", " "]) {
      const said = complaints("worker", worker, { environment: { [variable]: text }, flags: {} });
      assert.is(said.length, 1, variable);
      assert.match(said[0] ?? "", new RegExp(`^environment ${variable}: .* is empty; .*write \\[\\]`));
    }
  }
  const numbers = { HYPHA_SCHEDULER__JOB__INNER_OPTIMIZER__BETAS: "" };
  assert.match(complaints("scheduler", scheduler, { environment: numbers, flags: {} })[0] ?? "", "is empty");
  for (const text of ["[]", " [ ] "]) {
    const config = load("worker", worker, { environment: { HYPHA_FETCH__DENY_CIDR: text }, flags: {} });
    assert.equal(config.fetch?.denyCidr, []);
  }
  for (const flags of [{ "exclude-cidr": "" }, { "exclude-cidr": ["10.0.0.0/8", ""] }]) {
    const [said = ""] = complaints("gateway", gateway, { environment: {}, flags });
    assert.match(said, /^flag --exclude-cidr: exclude_cidr: .*is empty/);
  }
});

test("reads executors from the environment as JSON", () => {
  const executors = '[{"class":"train","name":"n","runtime":"process","cmd":"x"}]';
  const config = load("worker", worker, { environment: { HYPHA_EXECUTORS: executors }, flags: {} });
  assert.is(config.executors.length, 1);
  assert.is(config.executors[0]?.name, "n");
});

test("reads kebab-case keys and pairs of numbers from the environment", () => {
  const config = load("scheduler", scheduler, {
    environment: {
      HYPHA_SCHEDULER__JOB__INNER_OPTIMIZER__LEARNING_RATE: "0.5",
      HYPHA_SCHEDULER__JOB__INNER_OPTIMIZER__BETAS: "0.1,0.2",
    },
    flags: {},
  });
  assert.equal(config.job?.innerOptimizer, { learningRate: 0.5, betas: [0.1, 0.2], epsilon: undefined });
});

test("takes telemetry from OTEL_*, unless HYPHA_* says otherwise", () => {
  const environment = {
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://otel",
    OTEL_TRACES_SAMPLER_ARG: "0.25",
    OTEL_RESOURCE_ATTRIBUTES: "a=b",
    HYPHA_TELEMETRY_ATTRIBUTES: "c=d",
    OTEL_METRIC_EXPORT_INTERVAL: "500",
    OTEL_EXPORTER_OTLP_PROTOCOL: "", // unset, says its specification
  };
  const { telemetry } = load("gateway", `${gateway}telemetry_endpoint = "http://file"\n`, { environment, flags: {} });
  assert.is(telemetry.endpoint, "http://otel");
  assert.is(telemetry.sampleRatio, 0.25);
  assert.is(telemetry.attributes, "c=d");
  assert.is(telemetry.intervalMs, 500);
  assert.is(telemetry.protocol, undefined);
});

const ends: [line: string, accepted: boolean][] = [
  ["handshake_timeout_ms = 99", false],
  ["handshake_timeout_ms = 100", true],
  ["handshake_timeout_ms = 60000", true],
  ["handshake_timeout_ms = 60001", false],
  ["crl_grace_hours = -0.1", false],
  ["crl_grace_hours = 0", true],
  ["crl_grace_hours = 8760", true],
  ["crl_grace_hours = 8760.5", false],
  ["drain_timeout_ms = 0", true],
  ["drain_timeout_ms = 600001", false],
  ["limits = { pending_max = 0 }", false],
  ["limits = { pending_max = 1 }", true],
  ["limits = { handshakes_per_second = 0.01 }", true],
  ["limits = { handshakes_per_second = 0.001 }", false],
  ["telemetry_sample_ratio = 1", true],
  ["telemetry_sample_ratio = 1.01", false],
  ['telemetry_protocol = "http/json"', true],
  ['telemetry_protocol = "grpc"', true],
  ['telemetry_protocol = "thrift"', false],
  ['telemetry_sampler = "parentbased_always_on"', true],
  ['telemetry_sampler = "xray"', false],
  ["telemetry_interval_ms = 99", false],
  ["telemetry_interval_ms = 3600000", true],
  ['telemetry_endpoint = "collector:4318"', false],
  ['metrics_listen_address = "9464"', true],
  ['metrics_listen_address = "localhost:9464"', false],
  [`crls_pem = "${"x".repeat(4_096)}"`, true],
  [`crls_pem = "${"x".repeat(4_097)}"`, false],
];
for (const [line, accepted] of ends) {
  test(`${accepted ? "accepts" : "refuses"} ${line.slice(0, 60)}`, () => {
    const parsed = parseConfig("gateway", { file: "c.toml", text: gateway + line }, nothing);
    assert.is(Result.isSuccess(parsed), accepted);
  });
}

test("ignores the variables of other roles", () => {
  load("gateway", gateway, { environment: { HYPHA_WORK_DIR: "w", HYPHA_DATASET_PATH: "d", PATH: "x" }, flags: {} });
});

test("takes a gateway inside an excluded range, as it is configured by hand, and says so in one line", () => {
  const inside = joined.replace("/dns4/gw.example", "/ip4/127.0.0.1").replace("0.0.0.0", "10.0.0.1") +
    'dataset_path = "d"\n';
  const { warnings, gatewayAddresses } = load("data", inside);
  assert.equal(gatewayAddresses, ["/ip4/127.0.0.1/tcp/4001"]);
  assert.equal(warnings, [{
    event: "config.excluded",
    message: "Used although exclude_cidr has their ranges, because they are configured by hand: " +
      "listen_addresses[0] (10.0.0.0/8), gateway_addresses[0] (127.0.0.0/8)",
    keys: ["listen_addresses[0]", "gateway_addresses[0]"],
  }]);
  assert.equal(load("data", `${inside}exclude_cidr = ["11.0.0.0/8"]\n`).warnings, []);
});

const examples: [address: string, isExample: boolean][] = [
  ["/dns4/gateway.example/tcp/4001", true],
  ["/dns4/gw.lab.test/tcp/4001", true],
  ["/dns6/gw.invalid/tcp/4001", true],
  ["/dns4/example.org/tcp/4001", true],
  ["/ip4/192.0.2.255/tcp/4001", true],
  ["/ip4/198.51.100.0/tcp/4001", true],
  ["/ip4/203.0.113.7/tcp/4001", true],
  ["/ip6/2001:db8:ffff::1/tcp/4001", true],
  ["/dns4/gateway.example.de/tcp/4001", false],
  ["/dns4/latest/tcp/4001", false],
  ["/ip4/192.0.3.0/tcp/4001", false],
  ["/ip6/2001:db9::1/tcp/4001", false],
];
for (const [address, isExample] of examples) {
  test(`${isExample ? "warns of" : "takes"} a gateway at ${address}`, () => {
    const announced = load("gateway", gateway.replace("/dns4/gw.example/tcp/4001", address)).warnings ?? [];
    const dialled = load("data", `${joined.replace("/dns4/gw.example/tcp/4001", address)}dataset_path = "d"\n`);
    const events = isExample ? ["config.example"] : [];
    assert.equal(announced.map(({ event }) => event), events);
    assert.equal((dialled.warnings ?? []).map(({ event }) => event), events);
    if (isExample) assert.match(announced[0]?.message ?? "", `announces ${address}, an address for examples`);
  });
}

test("skips QUIC addresses with one warning, whatever list they are in", () => {
  const quic = "/ip4/0.0.0.0/udp/4001/quic-v1";
  const text = gateway.replaceAll('/tcp/4001"', `/tcp/4001\", "${quic}"`);
  const { listenAddresses, externalAddresses, warnings } = load("gateway", text.replaceAll("gw.example", "gw.net"));
  assert.equal([listenAddresses.length, externalAddresses.length], [1, 1]);
  assert.equal(warnings, [{
    event: "config.quic",
    message: "Skipped the QUIC addresses listen_addresses[1], external_addresses[1]: these programs speak TCP only",
    keys: ["listen_addresses[1]", "external_addresses[1]"],
  }]);
});

test("bug: an address in another spelling was kept so: a connection to it was not taken for the gateway's", () => {
  const text = joined.replace("/dns4/gw.example/tcp/4001", "/ip6/2001:DB9:0:0::1/tcp/4001/")
    .replace("/ip4/0.0.0.0/tcp/4001", "/ip6/0:0::1/tcp/4001/") + 'dataset_path = "d"\n';
  const { gatewayAddresses, listenAddresses } = load("data", text);
  assert.equal([gatewayAddresses, listenAddresses], [["/ip6/2001:db9::1/tcp/4001"], ["/ip6/::1/tcp/4001"]]);
  const { externalAddresses } = load("gateway", gateway.replace("/dns4/gw.example", "/ip6/2001:DB9::1"));
  assert.equal(externalAddresses, ["/ip6/2001:db9::1/tcp/4001"]);
});

test("sends telemetry over HTTP where gRPC is asked for, with a warning", () => {
  const real = gateway.replace("gw.example", "gw.net");
  const asked = `${real}telemetry_endpoint = "http://collector:4317"\ntelemetry_protocol = "grpc"\n`;
  const { telemetry, warnings } = load("gateway", asked);
  assert.is(telemetry.protocol, "http/protobuf");
  assert.equal(warnings?.map(({ event }) => event), ["config.protocol"]);
  assert.match(warnings?.[0]?.message ?? "", "port 4318");
  const around = { environment: { OTEL_EXPORTER_OTLP_PROTOCOL: "grpc" }, flags: {} };
  assert.equal(load("gateway", real, around).warnings?.map(({ event }) => event), ["config.protocol"]);
});

test("takes the former names of keys, and the spellings of the existing network's documents", () => {
  const { telemetry } = load(
    "gateway",
    `${gateway}exporter_otlp_endpoint = "http://c"
exporter_otlp_headers = "a=b"
exporter_otlp_protocol = "http/json"
resource_attributes = "c=d"
traces_sampler = "traceidratio"
traces_sampler_arg = 0.5
`,
  );
  const { endpoint, headers, protocol, attributes, sampler, sampleRatio } = telemetry;
  assert.equal(
    [endpoint, headers, protocol, attributes, sampler, sampleRatio],
    ["http://c", "a=b", "http/json", "c=d", "traceidratio", 0.5],
  );
  const { job } = load("scheduler", scheduler.replaceAll("learning-rate", "learning_rate"));
  assert.equal([job?.innerOptimizer.learningRate, job?.outerOptimizer.learningRate], [0.01, 0.7]);
  const offered = worker.replace('[offer.strategy]\ntype = "whole"', 'strategy = "whole"');
  assert.is(load("worker", offered).offer.strategy, "whole");
});

test("gives a worker without [offer] a price", () => {
  const bare = worker.replace(/\[offer\][^]*?(?=\[\[executors)/, "");
  assert.not.match(bare, "offer");
  assert.equal(load("worker", bare).offer, { price: 1, floor: 0, strategy: "flexible" });
});

test("joins what a repeated flag gives, each with its commas", () => {
  const flags = { "exclude-cidr": ["10.0.0.0/8", "fc00::/7,fe80::/10"], "listen-addresses": ["/ip4/10.0.0.1/tcp/1"] };
  const config = load("gateway", gateway, { environment: {}, flags });
  assert.equal(config.excludeCidr, ["10.0.0.0/8", "fc00::/7", "fe80::/10"]);
  assert.equal(config.listenAddresses, ["/ip4/10.0.0.1/tcp/1"]);
});

test("a probe needs no way into the network", () => {
  const alone = `${pem}gateway_addresses = []\ndataset_path = "d"\n`;
  assert.ok(Result.isFailure(parseConfig("data", { file: "f", text: alone }, nothing)));
  load("data", alone, { ...nothing, purpose: "probe" });
});

for (const role of roles) {
  test(`gives every key of a ${role} a flag and a variable of its own, with something to say`, () => {
    const keys = keysOf(role);
    assert.is(new Set(keys.map(({ flag }) => flag)).size, keys.length);
    assert.is(new Set(keys.map(({ variable }) => variable)).size, keys.length);
    for (const { key, expected, example, description } of keys) {
      assert.ok(expected && example && description, key);
    }
  });
}

test("the state directory lies beside the file, or where systemd made one, unless it is named", () => {
  const stateDirOf = (file: string, environment: Record<string, string>, more = "") => {
    const parsed = parseConfig("gateway", { file, text: more + gateway }, { environment, flags: {} });
    return Result.getOrThrow(parsed).stateDir;
  };
  assert.is(stateDirOf("/etc/hypha/gateway.toml", {}), "/etc/hypha/.hypha/gateway");
  assert.is(stateDirOf("conf.d/east.conf", {}), "conf.d/.hypha/east.conf");
  assert.is(stateDirOf("gateway.toml", {}), ".hypha/gateway");
  const systemd = { STATE_DIRECTORY: "/var/lib/hypha:/var/lib/other" };
  assert.is(stateDirOf("/etc/hypha/gateway.toml", systemd), "/var/lib/hypha");
  assert.is(stateDirOf("/etc/hypha/gateway.toml", { STATE_DIRECTORY: "" }), "/etc/hypha/.hypha/gateway");
  assert.is(stateDirOf("/etc/hypha/gateway.toml", systemd, 'state_dir = "state"\n'), "state");
  assert.is(stateDirOf("/etc/hypha/gateway.toml", { ...systemd, HYPHA_STATE_DIR: "/srv" }), "/srv");
});

test("bug: for a configuration that is there and cannot be read, the error named init, which would write another one", async () => {
  const said = async (stat: FileSystem["stat"]) => {
    const read = loadConfig("gateway", "c.toml", nothing);
    const { problems: [problem] } = await Effect.runPromise(
      Effect.flip(Effect.provideService(read, FileSystem, FileSystem.of({ ...makeNoop({}), stat }))),
    );
    return problem === undefined ? "" : describeProblem(problem);
  };
  const failing = (_tag: "PermissionDenied" | "NotFound" | "Unknown", code: string) =>
    said(() => Effect.fail(systemError({ _tag, module: "FileSystem", method: "stat", cause: { code } })));
  assert.match(
    await failing("NotFound", "ENOENT"),
    /there is no such file.*; write one with: hypha-gateway init -o c\.toml$/,
  );
  const denied = await failing("PermissionDenied", "EACCES");
  const others = [
    await failing("Unknown", "EIO"),
    await failing("Unknown", "EMFILE"),
    await said(() => Effect.succeed({ type: "File", size: BigInt(fileBytesMax + 1) } as File.Info)),
  ];
  for (const each of [denied, ...others]) assert.not.match(each, "init");
  assert.match(
    denied,
    "cannot be read: permission denied; expected a readable configuration file; let the node's user read it, and run it as that user",
  );
  assert.match(others[0] ?? "", "its disk has a fault");
  assert.match(others[1] ?? "", "this process has too many files open");
  assert.match(others[2] ?? "", "has more than 1048576 bytes; expected a configuration; name the node's configuration");
});

test.run();
