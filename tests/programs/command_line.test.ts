/** The command line of the programs, as processes: exit codes, what is said where, `init`. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { version } from "../../scripts/program/version.ts";
import { makeTestPki } from "../support/pki.ts";
import { runProgramOnce } from "../support/program.ts";

const folder = mkdtempSync(join(tmpdir(), "hypha-cli-"));
const test = suite("hypha-<role>");
test.after(() => rmSync(folder, { recursive: true, force: true }));

test("says the version of the package with -v, and exits 0", async () => {
  const packaged = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
  assert.is(packaged, version);
  const { code, stdout } = await runProgramOnce("gateway", ["-v"]);
  assert.is(code, 0);
  assert.match(stdout, version);
});

test("shows every key as a flag in the help of run", async () => {
  const { code, stdout } = await runProgramOnce("worker", ["run", "--help"]);
  assert.is(code, 0);
  for (const flag of ["--config, -c", "--offer-price", "--limits-pending-max", "--log-format"]) {
    assert.match(stdout, flag);
  }
});

const wrongUsage: [args: readonly string[], said: string, help: string][] = [
  [[], "a command is missing: init, join, run, probe, status, renew, reload, drain, log-level", ""],
  [["rum"], 'there is no command "rum"; perhaps run', ""],
  [["run", "--geteway", "x"], "there is no flag --geteway; perhaps --gateway", " run"],
  [["probe"], "the argument <address> is missing", " probe"],
  [["run", "--cert", "a", "--cert", "b"], "the flag --cert-pem is given more than once", " run"],
  [
    ["probe", "/ip4/1.2.3.4/tcp/1", "--timeout", "soon"],
    '--timeout: "soon". Expected a string representing a finite number',
    " probe",
  ],
];

test("says wrong usage in one line and where to read more, on standard error, and exits 2", async () => {
  const ended = await Promise.all(wrongUsage.map(([args]) => runProgramOnce("worker", args)));
  for (const [index, [args, said, help]] of wrongUsage.entries()) {
    const { code, stdout, stderr } = ended[index] ?? { code: 0, stdout: "", stderr: "" };
    assert.equal([code, stdout], [2, ""], args.join(" "));
    assert.is(stderr, `hypha-worker: ${said}\nhypha-worker: read more with: hypha-worker${help} --help\n`);
  }
});

test("bug: exited 1, as a failure does. Says everything that is wrong with a configuration on standard error, and exits 2", async () => {
  const file = join(folder, "bad.toml");
  writeFileSync(
    file,
    'cert_pem = 3\nkey_pem = "k"\ntrust_pem = "t"\nlisten_addresses = ["/ip4/0.0.0.0/tcp/1"]\ncolour = 1\n',
  );
  const { code, stdout, stderr } = await runProgramOnce("data", ["run", "-c", file, "--dataset-path", "d"], {
    env: { HYPHA_KEY_EXCHANGE: "none" },
  });
  assert.is(code, 2);
  assert.is(stdout, "");
  assert.equal(stderr.trim().split("\n").map((line) => line.replace(file, "F").split(": ").slice(0, 3).join(": ")), [
    "hypha-data: environment HYPHA_KEY_EXCHANGE: key_exchange",
    "hypha-data: F:1:1: gateway_addresses",
    "hypha-data: F:1:12: cert_pem",
    "hypha-data: F:5:1: colour",
  ]);
});

test("names a missing configuration and how to make one", async () => {
  const { code, stderr } = await runProgramOnce("gateway", ["run", "-c", join(folder, "none.toml")]);
  assert.is(code, 2);
  assert.match(
    stderr,
    /none\.toml: there is no such file; expected .*; write one with: hypha-gateway init -o .*none\.toml\n$/,
  );
  const [unnamed, directory] = await Promise.all([
    runProgramOnce("gateway", ["run"], { cwd: folder }),
    runProgramOnce("gateway", ["run", "-c", folder]),
  ]);
  assert.match(unnamed.stderr, `config.toml: there is no such file (tried ${folder}/config.toml)`);
  assert.match(directory.stderr, `${folder}: is a directory; expected a configuration file; name the file in it`);
});

test("writes a configuration with init, whole, and replaces none without --force", async () => {
  const file = join(folder, "new.toml");
  assert.is((await runProgramOnce("scheduler", ["init", "-o", file, "-n", "Sched 1"])).code, 0);
  assert.match(readFileSync(file, "utf8"), 'cert_pem = "certs/sched-1-cert.pem"');
  writeFileSync(file, "mine");
  const again = await runProgramOnce("scheduler", ["init", "-o", file]);
  assert.is(again.code, 1);
  assert.match(again.stderr, "--force");
  assert.is(readFileSync(file, "utf8"), "mine");
  assert.is((await runProgramOnce("scheduler", ["init", "-o", file, "--force"])).code, 0);
  assert.match(readFileSync(file, "utf8"), "[scheduler.job]");
  assert.is(statSync(file).mode & 0o022, 0, "nobody else may write it");
  assert.equal(readdirSync(folder).filter((name) => name.includes("new.toml.")), [], "nothing is left beside it");
});

test("init refuses what it cannot write or name, in one line, and writes nothing", async () => {
  const file = join(folder, "a-file");
  writeFileSync(file, "");
  const output = join(folder, "refused.toml");
  const cases: [args: readonly string[], code: number, said: RegExp][] = [
    [["-o", join(folder, "none", "c.toml")], 1, /mkdir -p/],
    [["-o", join(file, "c.toml")], 1, /Cannot write .*a-file.c\.toml: /],
    [["-o", folder], 1, /Cannot write /],
    [["-o", output, "-n", "a/b"], 2, /the name "a\/b" .* none of them a slash/],
    [["-o", output, "--gateway", "here"], 2, /flag --gateway-addresses: gateway_addresses\[0\]: "here" does not begin/],
    [["-o", output, "--exclude-cidr", "10.0.0.0"], 2, /flag --exclude-cidr: exclude_cidr\[0\]: "10\.0\.0\.0" has no/],
    [["-o", output, "--listen", "/ip4/0.0.0.0/tcp/x"], 2, /flag --listen-addresses: /],
  ];
  const ended = await Promise.all(cases.map(([args]) => runProgramOnce("data", ["init", ...args])));
  for (const [index, [args, code, said]] of cases.entries()) {
    assert.equal([ended[index]?.code, ended[index]?.stdout], [code, ""], args.join(" "));
    assert.match(ended[index]?.stderr ?? "", said);
    assert.is(ended[index]?.stderr.trimEnd().split("\n").length, 1, args.join(" "));
  }
  assert.not(existsSync(join(folder, "none")));
  assert.not(existsSync(output));
});

test("init --force replaces no key and no certificate, and keeps a secret to its user", async () => {
  const key = join(folder, "precious.pem");
  const text = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA==\n-----END PRIVATE KEY-----\n";
  writeFileSync(key, text, { mode: 0o600 });
  const headers = join(folder, "headers.toml");
  const [refused, written] = await Promise.all([
    runProgramOnce("worker", ["init", "-o", key, "--force"]),
    runProgramOnce("worker", ["init", "-o", headers, "--telemetry-headers", "authorization=Bearer abc"]),
  ]);
  assert.equal([refused.code, refused.stdout], [1, ""]);
  assert.is(
    refused.stderr,
    `hypha-worker: Cannot replace ${key}: it holds a private key, not a configuration; name another file\n`,
  );
  assert.is(readFileSync(key, "utf8"), text);
  assert.is(written.code, 0, written.stderr);
  assert.is(statSync(headers).mode & 0o777, 0o600);
});

test("init writes config.toml, takes up the files that it finds, and says what is still to do", async () => {
  const own = join(folder, "own");
  mkdirSync(join(own, "certs"), { recursive: true });
  for (const name of ["certs/w-1-cert.pem", "w-1-key.pem", "w-1-trust.pem", "crls.pem"]) {
    writeFileSync(join(own, name), "");
  }
  const { code, stdout } = await runProgramOnce("worker", ["init", "-n", "W.1"], { cwd: own });
  assert.equal([code, stdout.split("\n")], [0, [
    "wrote config.toml",
    "found certs/w-1-cert.pem, w-1-key.pem, w-1-trust.pem, crls.pem",
    "to be filled in: gateway_addresses",
    "",
  ]]);
  const text = readFileSync(join(own, "config.toml"), "utf8");
  for (
    const line of [
      'cert_pem = "certs/w-1-cert.pem"',
      'key_pem = "w-1-key.pem"',
      'trust_pem = "w-1-trust.pem"',
      'crls_pem = "crls.pem"',
      'listen_addresses = ["/ip4/0.0.0.0/tcp/0"]',
      "external_addresses = []",
      "gateway_addresses = []",
    ]
  ) assert.ok(text.includes(`\n${line}\n`), line);
  assert.not.match(text, /^[^#\n]*\.example/m, "no address for examples holds");
});

test("init takes the flags of the existing network's programs", async () => {
  const job = join(folder, "job.toml");
  writeFileSync(
    job,
    `type = "diloco"
dataset = { dataset = "mnist" }
inner_optimizer = { learning-rate = 0.001 }
outer_optimizer = { learning-rate = 0.7, momentum = 0.9 }
[model]
repository = "acme/lenet"
filenames = ["model.safetensors"]
type = "image-classification"
input_names = ["pixel_values", "labels"]
[rounds]
update_rounds = 7
avg_samples_between_updates = 1200
[resources]
num_workers = 2
worker = { cpu = 1.0, memory = 1.0, storage = 0.0, gpu = 0.11 }
parameter_server = { cpu = 1.0, memory = 1.0, storage = 0.0, gpu = 0.0 }
worker_price = { bid = 100.0, max = 100.0 }
parameter_server_price = { bid = 100.0, max = 100.0 }
`,
  );
  const gateways = ["--gateway", "/ip4/127.0.0.1/tcp/8080", "--gateway", "/dns4/gw.lab/tcp/443"];
  const files = ["--cert", "c.pem", "--key", "k.pem", "--trust", "t.pem", "--crls", "r.pem"];
  const lists = ["--listen", "/ip4/10.0.0.1/tcp/9090", "--external", "/ip4/10.0.0.1/tcp/9090"];
  const ranges = ["--exclude-cidr", "192.0.2.0/24", "--exclude-cidr", "fc00::/7"];
  const scheduler = join(folder, "s.toml");
  const data = join(folder, "d.toml");
  const ended = await Promise.all([
    runProgramOnce("scheduler", ["init", "-o", scheduler, ...gateways, ...files, ...lists, ...ranges, "--job", job]),
    runProgramOnce("data", ["init", "-o", data, ...gateways, ...ranges, "-d", "mnist/mnist"]),
  ]);
  assert.equal(ended.map(({ code }) => code), [0, 0], ended.map(({ stderr }) => stderr).join(""));
  const lines = (file: string) => new Set(readFileSync(file, "utf8").split("\n"));
  const both = [
    'gateway_addresses = ["/ip4/127.0.0.1/tcp/8080", "/dns4/gw.lab/tcp/443"]',
    'exclude_cidr = ["192.0.2.0/24", "fc00::/7"]',
  ];
  const expected: [file: string, lines: readonly string[]][] = [
    [data, [...both, 'dataset_path = "mnist/mnist"']],
    [scheduler, [
      ...both,
      'cert_pem = "c.pem"',
      'key_pem = "k.pem"',
      'trust_pem = "t.pem"',
      'crls_pem = "r.pem"',
      'listen_addresses = ["/ip4/10.0.0.1/tcp/9090"]',
      'external_addresses = ["/ip4/10.0.0.1/tcp/9090"]',
      'repository = "acme/lenet"',
      "update_rounds = 7",
    ]],
  ];
  for (const [file, wanted] of expected) for (const line of wanted) assert.ok(lines(file).has(line), line);
});

test("run and probe take the short flags too, over the file", async () => {
  const file = join(folder, "short.toml");
  // The key alone is missing: where the trust bundle is too, either of them is named.
  mkdirSync(join(folder, "certs"));
  writeFileSync(join(folder, "certs", "ca-bundle.pem"), (await makeTestPki()).trustPem);
  assert.is((await runProgramOnce("worker", ["init", "-o", file], { cwd: folder })).code, 0);
  const given = ["--key", "its-key.pem", "--gateway", "/ip4/127.0.0.1/tcp/1", "--exclude-cidr", "::1/128"];
  const [run, probe, joinless] = await Promise.all([
    runProgramOnce("worker", ["run", "-c", file, ...given, "--work-dir", folder], { cwd: folder }),
    runProgramOnce("worker", ["probe", "-c", file, ...given, "/ip4/127.0.0.1/tcp/1"], { cwd: folder }),
    runProgramOnce("worker", ["probe", "-c", file, "--key", "its-key.pem", "/ip4/127.0.0.1/tcp/1"], { cwd: folder }),
  ]);
  for (const { code, stderr } of [run, probe, joinless]) {
    assert.is(code, 1);
    assert.match(
      stderr,
      `Cannot load its-key.pem: there is no such file for the private key (tried ${folder}/its-key.pem)`,
    );
  }
});

test("says where in the job's own file a problem stands, or that the flag has it", async () => {
  const job = join(folder, "bad-job.toml");
  writeFileSync(job, '[scheduler.job.model]\ntype = "caussal-lm"\n');
  const run = (given: string) =>
    runProgramOnce("scheduler", ["run", "-c", join(folder, "s.toml"), "--job", given, "--crls", "x"]);
  const [inFile, inText, none, noJson] = await Promise.all([
    run(job),
    run('{"model":{"type":"caussal-lm"}}'),
    run(join(folder, "no-job.toml")),
    run("{"),
  ]);
  assert.match(inFile.stderr, `${job}:2:8: scheduler.job.model.type: is "caussal-lm", perhaps "causal-lm"`);
  assert.match(inText.stderr, 'flag --job: scheduler.job.model.type: is "caussal-lm", perhaps "causal-lm"');
  assert.match(none.stderr, /flag --job: ".*no-job\.toml" is no file; expected a training job/);
  assert.match(noJson.stderr, /flag --job: is not JSON: /);
  assert.equal([inFile, inText, none, noJson].map(({ code }) => code), [2, 2, 2, 2]);
});

test.run();
