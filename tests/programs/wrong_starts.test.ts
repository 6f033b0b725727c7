/** Programs that cannot run as they are configured: each ends with code 1 or 2 before it joins, and one line says what mends it. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stringify } from "@std/toml";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Role } from "../../pki/certificate.ts";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { needing } from "../support/prerequisites.ts";
import { type Ended, runProgramOnce } from "../support/program.ts";

const folder = mkdtempSync(join(tmpdir(), "hypha-wrong-"));
const pki = await makeTestPki();
const stranger = await makeTestPki({ organization: "Elsewhere" });
const dayMs = 86_400_000;
const onDeno = "Deno" in globalThis;

const resources = { cpu: 1, memory: 1, storage: 1, gpu: 0 };
const own: Record<Role, Record<string, unknown>> = {
  gateway: { external_addresses: ["/ip4/192.0.2.1/tcp/4001"] },
  data: {},
  worker: { external_addresses: [], resources, offer: { price: 1, floor: 1, strategy: { type: "whole" } } },
  scheduler: {
    external_addresses: [],
    scheduler: {
      job: {
        type: "diloco",
        model: {
          repository: "builtin/mlp-64-32-10",
          filenames: ["m"],
          type: "image-classification",
          input_names: ["x"],
        },
        dataset: { dataset: "digits" },
        inner_optimizer: { "learning-rate": 0.1 },
        outer_optimizer: { "learning-rate": 0.7, momentum: 0.9 },
        resources: {
          num_workers: 1,
          worker: resources,
          parameter_server: resources,
          worker_price: { bid: 1, max: 2 },
          parameter_server_price: { bid: 1, max: 2 },
        },
        rounds: { update_rounds: 1, avg_samples_between_updates: 1 },
        evaluation: { held_out: join(folder, "no-rows.csv") },
      },
    },
  },
};

interface Start {
  readonly role?: Role;
  readonly node?: TestNode;
  readonly crls?: string;
  readonly config?: Record<string, unknown>;
  readonly args?: readonly string[];
  readonly format?: "text" | "json";
  /** Of what the role needs on Deno, all but this. */
  readonly without?: string;
}

let starts = 0;
async function start({ role = "gateway", args = [], format = "text", without, ...with_ }: Start): Promise<Ended> {
  const name = `${role}-${++starts}`;
  const certificates = join(folder, name);
  const files = await pki.write(
    certificates,
    with_.node ?? await pki.node(name, { role }),
    with_.crls ?? await pki.crls(),
  );
  const config = join(folder, `${name}.toml`);
  const common = {
    cert_pem: files.certPath,
    key_pem: files.keyPath,
    trust_pem: files.trustPath,
    crls_pem: files.crlsPath,
    listen_addresses: ["/ip4/127.0.0.1/tcp/0"],
    exclude_cidr: [],
    ...(role === "gateway" ? {} : { gateway_addresses: ["/ip4/127.0.0.1/tcp/1"] }),
  };
  writeFileSync(config, stringify({ ...common, ...own[role], ...with_.config }));
  const needs = permissionsFor("gateway", {
    configPath: config,
    certificateFolder: certificates,
    readPaths: [],
    addresses: without === "--allow-sys" ? [] : ["127.0.0.1"],
  });
  return runProgramOnce(role, ["run", "-c", config, "--log-format", format, ...args], {
    ...(without === undefined ? {} : { permissions: needs.filter((flag) => !flag.startsWith(without)) }),
    env: { NO_COLOR: "1" },
  });
}

/** What the program said last, in either format; and that it was quiet, and quick, about it. Code 2: the configuration is wrong. */
function endOf({ code, stdout, stderr }: Ended, name: string, expected: 1 | 2 = 1): string {
  assert.is(code, expected, `${name}: ${stderr}`);
  assert.is(stdout, "", name);
  assert.not.match(stderr, /\n\s+at |faultTolerance|node\.ready|peer\.established/, name);
  const end = stderr.trim().split("\n").at(-1) ?? "";
  return end.startsWith("{") ? `hypha-gateway: ${JSON.parse(end).message}` : end;
}

const taken = createServer();
await new Promise<void>((listening) => taken.listen(0, "127.0.0.1", listening));
const { port } = taken.address() as { readonly port: number };

const test = suite("starts that cannot work");
test.after(() => {
  taken.close();
  rmSync(folder, { recursive: true, force: true });
});

type Row = readonly [name: string, start: Start, end: RegExp];

/** Runs all rows at once, and compares how each ended. */
async function check(rows: readonly Row[], code: 1 | 2 = 1): Promise<void> {
  const ended = await Promise.all(rows.map(([, each]) => start(each)));
  for (const [index, [name, , end]] of rows.entries()) {
    assert.match(endOf(ended[index] as Ended, name, code), end, name);
  }
}

test("a certificate that the own CA revoked ends a node with [membership] with code 3", async () => {
  const node = await pki.node("gone", { role: "gateway" });
  const config = { membership: { ca: ["https://127.0.0.1:1"] } };
  const { code, stderr } = await start({ node, crls: await pki.crls({ revoked: [node] }), config });
  assert.is(code, 3, stderr);
  assert.match(
    stderr.trim().split("\n").at(-1) ?? "",
    /^hypha-gateway: Cannot go on with own certificate \S+gone-cert\.pem \(own-certificate-revoked\)/,
  );
});

test("a place to listen that is taken or not of this machine is named, with what to look at", async () => {
  const at = `/ip4/127.0.0.1/tcp/${port}`;
  await check([
    [
      "taken",
      { config: { listen_addresses: ["/ip4/127.0.0.1/tcp/0", at] } },
      new RegExp(`^hypha-gateway: Cannot listen on ${at}: another process uses the port \\(ss -ltnp shows which\\)$`),
    ],
    [
      "taken, as JSON",
      { config: { listen_addresses: [at] }, format: "json" },
      new RegExp(`^hypha-gateway: Cannot listen on ${at}: another process uses the port`),
    ],
    [
      "elsewhere",
      { config: { listen_addresses: ["/ip4/192.0.2.77/tcp/4001"] } },
      /^hypha-gateway: Cannot listen on \/ip4\/192\.0\.2\.77\/tcp\/4001: this machine does not have this address/,
    ],
  ]);
});

test("a certificate that the node's own trust refuses ends the start: which file, why, and what mends it", async () => {
  const revoked = await pki.node("revoked", { role: "gateway" });
  const now = Date.now();
  const leafAlone = await pki.node("leaf-alone", { role: "gateway" });
  await check([
    [
      "of another CA",
      { node: await stranger.node("foreign", { role: "gateway" }) },
      /^hypha-gateway: Cannot use own certificate \S+foreign-cert\.pem, own trust refuses it \(unknown-issuer\): .*Elsewhere Root CA.* trust_pem/,
    ],
    [
      "without its intermediate",
      { node: { ...leafAlone, chainPem: leafAlone.certPem } },
      /leaf-alone-cert\.pem.*\(unknown-issuer\): .*Test Intermediate CA.* cert_pem/,
    ],
    [
      "revoked",
      { node: revoked, crls: await pki.crls({ revoked: [revoked] }) },
      /^hypha-gateway: Cannot use own certificate \S+revoked-cert\.pem, own trust refuses it \(certificate-revoked\): .*gen-cert/,
    ],
    [
      "with lists that ran out",
      { crls: await pki.crls({ thisUpdate: new Date(now - 9 * dayMs), nextUpdate: new Date(now - 2 * dayMs) }) },
      /\(crl-expired\): .*crls_pem/,
    ],
    [
      "of another role",
      { node: await pki.node("trainer", { role: "worker" }) },
      /^hypha-gateway: Cannot load \S+trainer-cert\.pem: the certificate is a worker's, and this node is a gateway \(role-not-allowed\)\. .*gen-cert --san URI:spiffe:\/\/test\.hypha\/gateway\/trainer;/,
    ],
    [
      "of tomorrow",
      { node: await pki.node("ahead", { notBefore: new Date(now + dayMs) }) },
      /Cannot load \S+ahead-cert\.pem: the certificate is valid from .*timedatectl/,
    ],
  ]);
});

needing(test, "sh")(
  "what a role's configuration names and this machine lacks is found before the node joins",
  async () => {
    const file = join(folder, "a-file");
    writeFileSync(file, "");
    const empty = join(folder, "empty");
    mkdirSync(empty);
    writeFileSync(join(folder, "not-executable"), "");
    chmodSync(join(folder, "not-executable"), 0o644);
    const executors = (...cmds: readonly string[]) => [
      ...cmds.map((cmd, index) => ({ class: "train", name: `trainer-${index}`, runtime: "process", cmd })),
      { class: "aggregate", name: "parameter-server", runtime: "parameter-server" },
    ];
    const data = (dataset_path: string): Start => ({ role: "data", config: { dataset_path } });
    const worker = (work_dir: string, ...cmds: readonly string[]): Start => ({
      role: "worker",
      config: { work_dir, executors: executors(...cmds) },
    });
    await check([
      [
        "no data set",
        data(join(folder, "nothing")),
        /^hypha-data: \S+\.toml:\d+:\d+: dataset_path: there is no \/.*nothing; .*make it/,
      ],
      ["a data set that is a file", data(file), /dataset_path: \S+a-file is no directory/],
      ["a data set without slices", data(empty), /dataset_path: \S+empty is empty; .*one file a slice/],
      [
        "no executor of that name",
        worker(empty, "sh", "no-such-program"),
        /^hypha-worker: \S+\.toml:\d+:\d+: executors\[1\]\.cmd: there is no program "no-such-program" in PATH .*install it/,
      ],
      [
        "an executor that may not be run",
        worker(empty, join(folder, "not-executable")),
        /executors\[0\]\.cmd: there is no program \/\S+not-executable; .*chmod \+x/,
      ],
      [
        "a work directory inside a file",
        worker(join(file, "work"), "sh"),
        /work_dir: \S+a-file\S* (is no directory|cannot be used)/,
      ],
      ["no held-out rows", { role: "scheduler" }, /evaluation\.held_out: there is no \/\S+no-rows\.csv/],
    ]);
  },
);

if (onDeno) {
  test("on Deno, a permission that is missing is named with its flag, and with all that the role needs", async () => {
    const all =
      /A gateway runs with: deno run .*--allow-read=CONFIG\.toml,CERTIFICATE-FOLDER,\S+CONFIG --allow-write=\S+CONFIG --allow-net/;
    const at = `127.0.0.1:${port + 1}`;
    const listen = { listen_addresses: [`/ip4/127.0.0.1/tcp/${port + 1}`] };
    const [net, env, read] = await Promise.all([
      start({ without: "--allow-net", config: listen }),
      start({ without: "--ignore-env" }),
      start({ without: "--allow-read" }),
    ]);
    const said = endOf(net, "net");
    assert.match(said, `Deno allows no net access to "${at}": add --allow-net=${at}.`);
    assert.match(said, all);
    assert.match(
      endOf(env, "env"),
      // With FORCE_COLOR, what looks for colours lists the whole environment.
      /^hypha-gateway: Deno allows no env access( to "\w+")?: add --allow-env(=\w+)?\. A gateway/,
    );
    assert.match(
      endOf(read, "read", 2),
      /^hypha-gateway: \S+: cannot be read: Deno allows no read access to "\S+": add --allow-read=\//,
    );
    const interfaces = await start({ without: "--allow-sys", config: { listen_addresses: ["/ip4/0.0.0.0/tcp/0"] } });
    assert.match(
      endOf(interfaces, "sys"),
      /Deno allows no sys access to "networkInterfaces": add --allow-sys=networkInterfaces/,
    );
  });

  test("on Deno, init names the permission to write its folder", async () => {
    const needs = { configPath: "-", certificateFolder: "-", readPaths: [], addresses: ["127.0.0.1"] };
    const ended = await runProgramOnce("gateway", ["init", "-o", join(folder, "new.toml")], {
      permissions: permissionsFor("gateway", needs),
    });
    assert.is(ended.code, 1, ended.stderr);
    assert.match(ended.stderr, `Deno does not allow its folder: add --allow-write=${folder} `);
    assert.is(ended.stderr.trim().split("\n").length, 1);
  });
}

test.run();
