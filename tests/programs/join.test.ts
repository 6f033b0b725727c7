/**
 * `join`, as an operator runs it: from a token to a node that runs, and one line for each mistake. On Deno with the least
 * permissions that `docs/deno.md` names.
 */
import { Buffer } from "node:buffer";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Role } from "../../pki/certificate.ts";
import { joinPermissions, permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Ended, type Running, runProgramOnce, startCommand, startProgram } from "../support/program.ts";

const test = suite("join");
const caScript = new URL("../../scripts/hypha_ca.ts", import.meta.url);
const folder = mkdtempSync(join(tmpdir(), "hypha-join-"));
const [caPort, gatewayPort] = [await freePort(), await freePort()];
const url = `https://127.0.0.1:${caPort}`;
const gatewayAddress = `/ip4/127.0.0.1/tcp/${gatewayPort}`;
const running: Running[] = [];
test.after(() => {
  for (const each of running) each.signal("SIGKILL");
  rmSync(folder, { recursive: true });
});

const ca = (...args: readonly string[]) => runProgramOnce("gateway", args, { script: caScript, cwd: folder });
/** Of one test's token the CA is not there, but at port 1. */
const permissions = joinPermissions({ folder, readPaths: [], ca: `127.0.0.1:${caPort},127.0.0.1:1` });
const join_ = (role: Role, ...args: readonly string[]) =>
  runProgramOnce(role, ["join", ...args], { cwd: folder, permissions });
const read = (name: string) => readFileSync(join(folder, name), "utf8");

async function token(role: Role, name: string, ...more: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await ca("token", "-c", "ca/ca.toml", "--role", role, "--name", name, ...more);
  assert.is(code, 0, stderr);
  const file = `${name}.token`;
  writeFileSync(join(folder, file), stdout, { mode: 0o600 });
  return file;
}

function started(role: Role, args: readonly string[], script?: URL): Running {
  const made = startProgram(role, [...args, "--log-format", "json"], {
    cwd: folder,
    lifeMs: 150_000,
    ...(script ? { script } : {
      permissions: permissionsFor(role, {
        configPath: join(folder, args[2] ?? ""),
        certificateFolder: folder,
        certificates: "renewed",
        readPaths: [],
        addresses: ["0.0.0.0", `127.0.0.1:${caPort}`],
      }),
    }),
  });
  running.push(made);
  return made;
}

const succeeded = ({ code, stdout, stderr }: Ended) => {
  assert.is(code, 0, stderr);
  return stdout;
};

test("a CA, a gateway and a worker from nothing, each by one command", async () => {
  // The CA knows two gateways; the second one never runs. The first one knows by its name which it is.
  const gateways = [`gateway-02=/ip4/127.0.0.1/tcp/1`, `gateway-01=${gatewayAddress}`];
  const named = gateways.flatMap((each) => ["--gateway", each]);
  succeeded(await ca("init", "--domain", "acme.local", "--url", url, ...named, "-d", "ca"));
  await started("gateway", ["run", "-c", "ca/ca.toml"], caScript).waitFor("ca.listening");
  const newKey = ["--membership-new-key-every", "1h"];
  const said = succeeded(await join_("gateway", await token("gateway", "gateway-01"), ...newKey));
  assert.match(said, /^joined acme\.local as gateway-01, until .*\nwrote gateway\.toml, gateway-cert\.pem, /);
  assert.is(statSync(join(folder, "gateway-key.pem")).mode & 0o777, 0o600);
  const config = read("gateway.toml");
  for (
    const line of [
      `listen_addresses = ["/ip4/0.0.0.0/tcp/${gatewayPort}"]`,
      `external_addresses = ["${gatewayAddress}"]`,
      "require_roles = true",
      'trust_domain = "acme.local"',
      `[membership]`,
      `ca = ["${url}"]`,
      'crls = "required"',
    ]
  ) assert.ok(config.split("\n").includes(line), line);
  assert.not.match(config, /^exclude_cidr = .*127\.0\.0\.0/m);
  assert.ok(existsSync(join(folder, ".hypha", "gateway", "crls", "@own")));
  const gateway = started("gateway", ["run", "-c", "gateway.toml"]);
  const [worker] = await Promise.all([
    token("worker", "worker-01").then((file) => join_("worker", file)),
    gateway.waitFor("node.ready"),
  ]);
  succeeded(worker);
  await started("worker", ["run", "-c", "worker.toml"]).waitFor("node.ready");
  await gateway.waitFor("peer.established", ({ name }) => name === "worker-01");
  assert.not(gateway.events.some(({ event }) => event === "state.broken"));
});

const gateway = () => running.find(({ events }) => events.some(({ node }) => node === "gateway-01"))!;

function datedBack(name: string): void {
  const longAgo = new Date(Date.now() - 40 * 24 * 3_600_000);
  utimesSync(join(folder, name), longAgo, longAgo);
}

test("SIGHUP: a node whose key has grown old renews with another key", async () => {
  const file = await token("worker", "worker-08");
  succeeded(await join_("worker", file, "-o", "eight.toml", "--membership-new-key-every", "1h", "--work-dir", "eight"));
  const worker = started("worker", ["run", "-c", "eight.toml"]);
  await worker.waitFor("node.ready");
  const before = read("eight-key.pem");
  datedBack("eight-key.pem");
  worker.signal("SIGHUP");
  await worker.waitFor("identity.renewed", ({ key }) => key === "new");
  assert.is.not(read("eight-key.pem"), before);
  await worker.waitFor("node.rekeying");
});

/** It reads the list when it fetches lists again, within a minute or so: the other tests run meanwhile. */
let revoked: Running;

test("revoked: the gateway's log names the CA's command", async () => {
  const worker = running.at(-1)!;
  // It would read the list too, and end its connection itself where it is the first.
  worker.signal("SIGSTOP");
  succeeded(await ca("revoke", "-c", "ca/ca.toml", "worker-08"));
  const closed = await gateway().waitFor("peer.closed", ({ name, code }) => name === "worker-08" && code !== undefined);
  worker.signal("SIGCONT");
  assert.is(closed["code"], "certificate-revoked");
  assert.match(String(closed["hint"]), "hypha-ca token --replace");
  revoked = worker;
});

test("takes the token from standard input, into another folder, with keys of the configuration as flags", async () => {
  mkdirSync(join(folder, "east"));
  const file = await token("worker", "worker-02");
  const deno = "Deno" in globalThis;
  const script = fileURLToPath(new URL("../../scripts/hypha_worker.ts", import.meta.url));
  const before = deno ? ["run", "--quiet", "--no-check", ...permissions] : ["--no-warnings"];
  const args = [
    ...before,
    script,
    "join",
    "-",
    "-o",
    "east/worker.toml",
    "--resources-cpu",
    "2",
    "--key",
    "own-key.pem",
  ];
  const command = startCommand("sh", [
    "-c",
    'file=$1; shift; exec "$@" < "$file"',
    "sh",
    file,
    process.execPath,
    ...args,
  ], {
    cwd: folder,
  });
  assert.match(succeeded(await command.ended), /joined acme\.local as worker-02/);
  const config = read("east/worker.toml");
  assert.match(config, `cert_pem = "${join(folder, "east", "worker-cert.pem")}"`);
  assert.match(config, /^cpu = 2$/m);
  assert.match(config, /^key_pem = "own-key\.pem"$/m);
  assert.is(statSync(join(folder, "own-key.pem")).mode & 0o777, 0o600);
  assert.ok(existsSync(join(folder, "east", ".hypha", "worker", "crls")));
});

test("as an argument the token works, with a warning", async () => {
  const text = read(await token("worker", "worker-03")).trim();
  const ended = await join_("worker", text, "-o", "three.toml");
  assert.match(succeeded(ended), /joined acme\.local as worker-03/);
  assert.match(ended.stderr, /history/);
});

test("where the configuration was not written, the same command goes on with the same key and certificate", async () => {
  const file = await token("worker", "worker-04");
  // The CA names its gateway; a folder in the place of the configuration is noticed before the token is used.
  succeeded(await join_("worker", file, "-o", "four.toml"));
  const [cert, key] = [read("four-cert.pem"), read("four-key.pem")];
  renameSync(join(folder, "four.toml"), join(folder, "four.bak"));
  const again = await join_("worker", file, "-o", "four.toml");
  assert.is(again.code, 1);
  assert.match(again.stderr, /four-cert\.pem or four-key\.pem is there already: move both away/);
  const state = join(folder, ".hypha", "four", "enrolment.json");
  const purpose = `token ${Buffer.from(read(file).split(".")[1] ?? "", "base64url").toString("hex")}`;
  writeFileSync(state, JSON.stringify({ version: 1, purpose, key_pem: key }), { mode: 0o600 });
  succeeded(await join_("worker", file, "-o", "four.toml"));
  assert.equal([read("four-cert.pem"), read("four-key.pem")], [cert, key]);
  assert.not(existsSync(state));
});

const swap = (text: string, part: number, change: (part: string) => string) =>
  text.split(".").map((each, index) => index === part ? change(each) : each).join(".");
const flip = (part: string) => (part.startsWith("A") ? "B" : "A") + part.slice(1);
const elsewhere = Buffer.from("https://127.0.0.1:1").toString("base64url");

const mistakes: [name: string, change: (text: string) => string, expected: RegExp][] = [
  ["nothing", () => "", /there is no token\. Make one: hypha-ca token/],
  ["half a token", (text) => text.slice(0, 60), /token-malformed.* Copy the whole token/],
  ["a bit of the id", (text) => swap(text, 1, flip), /token-unknown.*changed on its way.*hypha-ca token/],
  ["a bit of the secret", (text) => swap(text, 2, flip), /token-unknown.*changed on its way.*hypha-ca token/],
  [
    "a bit of the anchor",
    (text) => swap(text, 3, flip),
    /ca-foreign.*another root than the token names.*hypha-ca token/,
  ],
  ["a CA that is not there", (text) => swap(text, 4, () => elsewhere), /ca-unreachable.*Check that the CA runs/],
];
for (const [index, [name, change, expected]] of mistakes.entries()) {
  test(`${name} is answered in one line that says what helps`, async () => {
    writeFileSync(join(folder, "wrong.token"), change(read("worker-01.token").trim()));
    const { code, stdout, stderr } = await join_("worker", "wrong.token", "-o", `wrong-${index}.toml`);
    assert.equal([code, stdout], [1, ""]);
    assert.match(stderr, expected);
    assert.is(stderr.trim().split("\n").length, 1, stderr);
    assert.not(existsSync(join(folder, `wrong-${index}.toml`)));
  });
}

test("a used token, an expired one, and one of another role say which command helps", async () => {
  const used = await join_("worker", "worker-01.token", "-o", "used.toml");
  assert.match(used.stderr, /token-used.*hypha-ca nodes.*hypha-ca token --replace/);
  const expired = await token("worker", "worker-05", "--lifetime", "1");
  const role = await join_("worker", await token("data", "data-01"), "-o", "role.toml");
  assert.match(role.stderr, /token-role.*hypha-ca token --role ROLE/);
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  assert.match((await join_("worker", expired, "-o", "late.toml")).stderr, /token-expired.*hypha-ca token/);
});

test("bug: a token was used before the values of flags were checked", async () => {
  const file = await token("worker", "worker-07");
  const wrong = await join_("worker", file, "-o", "seven.toml", "--resources-cpu", "many");
  assert.is(wrong.code, 2);
  assert.match(wrong.stderr, /resources-cpu/);
  const outside = await join_("worker", file, "-o", "seven.toml", "--crl-grace-hours", "99999");
  assert.is(outside.code, 2);
  assert.match(outside.stderr, /flag --crl-grace-hours: /);
  for (const name of ["seven.toml", "seven-cert.pem"]) assert.not(existsSync(join(folder, name)), name);
  succeeded(await join_("worker", file, "-o", "seven.toml"));
});

test("bug: a secret given as a flag was written into a file that all users could read", async () => {
  const headers = ["--telemetry-headers", "authorization=Bearer abc"];
  const pin = ["--audit-key", "pkcs11:token=none;object=none?module-path=/none.so&pin-value=1234"];
  for (const [index, secret] of [headers, pin].entries()) {
    const file = await token("worker", `worker-secret-${index}`);
    succeeded(await join_("worker", file, "-o", `secret-${index}.toml`, ...secret));
    assert.match(read(`secret-${index}.toml`), index === 0 ? "Bearer abc" : "pin-value=1234");
    assert.is(statSync(join(folder, `secret-${index}.toml`)).mode & 0o777, 0o600, secret[0]);
  }
});

test("a configuration that is there is not replaced, and the token stays unused", async () => {
  const file = await token("worker", "worker-06");
  const { code, stderr } = await join_("worker", file);
  assert.is(code, 1);
  assert.match(stderr, /worker\.toml is there already/);
  succeeded(await join_("worker", file, "-o", "six.toml"));
});

test("a node without a pair waits for one where it has [membership], and takes up the one that comes", async () => {
  for (const name of ["six-cert.pem", "six-key.pem"]) renameSync(join(folder, name), join(folder, `${name}.bak`));
  const worker = started("worker", ["run", "-c", "six.toml", "--work-dir", "six"]);
  await worker.waitFor("node.awaiting");
  await worker.waitFor("enrolment.absent");
  for (const name of ["six-cert.pem", "six-key.pem"]) renameSync(join(folder, `${name}.bak`), join(folder, name));
  await worker.waitFor("identity.found");
  await worker.waitFor("node.ready");
});

test("a gateway renews too: on Deno with the least permissions", async () => {
  datedBack("gateway-key.pem");
  gateway().signal("SIGHUP");
  await gateway().waitFor("identity.renewed", ({ key }) => key === "new");
  await gateway().waitFor("node.rekeying");
});

test("revoked: the worker that its gateway closed reads the list, and ends with code 3", async () => {
  assert.is((await revoked.ended).code, 3);
});

test.run();
