/** What `init` writes loads as it stands, and shows every key. */
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { keysOf } from "../../actors/config/keys.ts";
import { type ConfigOf, parseConfig } from "../../actors/config/load.ts";
import type { Role } from "../../pki/certificate.ts";
import { fileNameOf } from "../../scripts/program/init_files.ts";
import { initText } from "../../scripts/program/init_text.ts";

/** What a node needs to join, and the text does not know. */
const gateway = ["/dns4/gw.lab/tcp/4001"];

function load<R extends Role>(role: R, text: string): ConfigOf<R> {
  const flags: Record<string, readonly string[]> = role === "gateway" ? {} : { "gateway-addresses": gateway };
  const parsed = parseConfig(role, { file: "c.toml", text }, { environment: {}, flags });
  if (Result.isFailure(parsed)) throw parsed.failure;
  return parsed.success;
}

/** Takes the # off every key and table that may be left out. */
const uncomment = (text: string): string => text.replaceAll(/^#(?=[\w[])/gm, "");

const test = suite("initText()");

for (const role of ["gateway", "scheduler", "worker", "data"] as const) {
  test(`writes a ${role}'s configuration that loads`, () => {
    const config = load(role, initText({ role, name: "Node.1" }));
    assert.is(config.role, role);
    assert.is(config.certPem, "certs/node-1-cert.pem");
    assert.is(config.keyPem, "certs/node-1-key.pem");
    assert.is(config.trustPem, "certs/ca-bundle.pem");
  });

  test(`shows every key of a ${role}`, () => {
    const text = initText({ role, name: "n" });
    for (const { path } of keysOf(role)) assert.match(text, String(path[path.length - 1]));
  });

  test(`shows defaults of a ${role}: what may be left out changes nothing where it is put in`, () => {
    const text = initText({ role, name: "n" });
    const plain = load(role, text);
    // Weights stand in place of a repository.
    const full = load(role, uncomment(text.replace(/^#weights = .*$/m, "")));
    for (
      const key of [
        "handshakeTimeoutMs",
        "keyExchange",
        "requireRoles",
        "leafAlgorithms",
        "caAlgorithms",
        "crlGraceHours",
        "drainTimeoutMs",
        "limits",
        "rotation",
        "excludeCidr",
        "relayCircuit",
      ] as const
    ) {
      assert.equal(full[key], plain[key], key);
    }
  });

  test(`asks only for gateways where a ${role}'s configuration is run as it was written`, () => {
    const parsed = parseConfig(role, { file: "c.toml", text: initText({ role, name: "n" }) }, {
      environment: {},
      flags: {},
    });
    const keys = Result.isSuccess(parsed) ? [] : parsed.failure.problems.map(({ key }) => key);
    assert.equal(keys, role === "gateway" ? [] : ["gateway_addresses"]);
  });
}

test("writes values of every kind as they were given, tables too", () => {
  const given = {
    listen_addresses: ["/ip4/127.0.0.1/tcp/0"],
    gateway_addresses: ["/ip4/10.0.0.1/tcp/4001"],
    work_dir: 'a "quoted" \\ path',
    crl_grace_hours: 1.5,
    require_roles: true,
    offer: { price: 3, strategy: { type: "whole" } },
    executors: [{ class: "train", name: "n", runtime: "process", cmd: "x", args: ["{JOB_JSON}"] }],
    trust_domains: [{ name: "p.lab", trust_pem: "p.pem" }],
  };
  const config = load("worker", initText({ role: "worker", name: "n", given }));
  assert.equal(config.listenAddresses, given.listen_addresses);
  assert.equal([config.workDir, config.crlGraceHours, config.requireRoles], ['a "quoted" \\ path', 1.5, true]);
  assert.equal(config.offer, { price: 3, floor: 0, strategy: "whole" });
  assert.equal(config.executors.map(({ cmd, args }) => [cmd, args]), [["x", ["{JOB_JSON}"]]]);
  assert.equal(config.trustDomains?.map(({ name, trust }) => [name, trust]), [["p.lab", "p.pem"]]);
});

test("init dropped a scheduler's programs, which were given as a flag", () => {
  const executors = [{ class: "evaluate", name: "digits", runtime: "process", cmd: "x", args: ["y"] }];
  const given = { gateway_addresses: gateway, executors, cell: { read_only: ["/srv/y"] } };
  const config = load("scheduler", initText({ role: "scheduler", name: "n", given }));
  assert.equal(config.executors, [{ name: "digits", cmd: "x", args: ["y"] }]);
  assert.equal(config.cell?.readOnly, ["/srv/y"]);
});

test("a job that begins with weights names no repository", () => {
  const job = {
    type: "diloco",
    model: { weights: "w.safetensors", type: "image-classification", input_names: ["pixel_values"] },
    dataset: { dataset: "digits" },
    inner_optimizer: { "learning-rate": 0.01 },
    outer_optimizer: { "learning-rate": 0.7, momentum: 0.5 },
    resources: {
      num_workers: 1,
      worker: { cpu: 1, memory: 1, storage: 1, gpu: 0 },
      parameter_server: { cpu: 1, memory: 1, storage: 1, gpu: 0 },
    },
    rounds: { update_rounds: 1, avg_samples_between_updates: 100, max_batch_size: 32 },
  };
  const given = { gateway_addresses: gateway, scheduler: { job } };
  const model = load("scheduler", initText({ role: "scheduler", name: "n", given })).job?.model;
  assert.equal(model !== undefined && "weights" in model && model.weights, "w.safetensors");
});

test("shows the state directory that holds where none is set", () => {
  for (const [file, expected] of [["w.toml", ".hypha/w"], ["etc/hypha/w.toml", "etc/hypha/.hypha/w"]] as const) {
    const text = initText({ role: "worker", name: "n", file });
    assert.match(text, `\n#state_dir = "${expected}"\n`);
    const flags = { "gateway-addresses": gateway };
    const parsed = Result.getOrThrow(parseConfig("worker", { file, text }, { environment: {}, flags }));
    assert.is(parsed.stateDir, expected);
  }
});

test("keeps a name's special characters out of the text", () => {
  assert.is(fileNameOf('A/b "\n\\c'), "a-b-c");
  load("gateway", initText({ role: "gateway", name: '"]\nevil = "', file: '"\n[evil]' }));
});

test.run();
