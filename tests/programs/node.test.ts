/** Nodes as processes: what keeps one from starting, what a probe says, and how one ends. */
import { chmodSync, cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { makeTestPki, type TestNode } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";

const folder = mkdtempSync(join(tmpdir(), "hypha-node-"));
const pki = await makeTestPki();
const stranger = await makeTestPki({ organization: "Elsewhere" });
const port = await freePort();
const address = `/ip4/127.0.0.1/tcp/${port}`;
const dayMs = 86_400_000;

interface Place {
  readonly folder: string;
  readonly config: string;
  readonly certificates: string;
}

/** A folder of its own with a gateway's configuration and files. */
async function place(name: string, node: TestNode, crlsPem: string | undefined, at = port): Promise<Place> {
  const own = join(folder, name);
  const certificates = join(own, "certs");
  mkdirSync(certificates, { recursive: true });
  const issuer = node.chainPem.includes(stranger.intermediate.certPem.trim()) ? stranger : pki;
  const files = await issuer.write(certificates, node, crlsPem);
  const config = join(own, "gateway.toml");
  writeFileSync(
    config,
    [
      `cert_pem = "${files.certPath}"`,
      `key_pem = "${files.keyPath}"`,
      `trust_pem = "${files.trustPath}"`,
      ...(crlsPem === undefined ? [] : [`crls_pem = "${files.crlsPath}"`]),
      `listen_addresses = ["/ip4/127.0.0.1/tcp/${at}"]`,
      `external_addresses = ["/ip4/127.0.0.1/tcp/${at}"]`,
      "exclude_cidr = []",
    ].join("\n"),
  );
  return { folder: own, config, certificates };
}

/** On Deno with the least permissions of the role: nothing here runs with more. */
function startGateway({ config, certificates }: Place, format = "json", env: Record<string, string> = {}): Running {
  const permissions = permissionsFor("gateway", {
    configPath: config,
    certificateFolder: certificates,
    readPaths: [],
    addresses: ["127.0.0.1"],
  });
  return startProgram("gateway", ["run", "-c", config, "--log-format", format], { permissions, env });
}

const probe = ({ config }: Place, ...args: string[]) => runProgramOnce("gateway", ["probe", "-c", config, ...args]);

const gateway = await place("gateway", await pki.node("gateway-01"), await pki.crls({ number: 1n }));
const friend = await place("friend", await pki.node("friend"), undefined);
const intruder = await place("intruder", await stranger.node("intruder"), undefined);
cpSync(join(friend.certificates, "trust.pem"), join(intruder.certificates, "trust.pem"));

const test = suite("hypha-gateway run");
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Spoils a copy of a good gateway's files. */
async function spoilt(name: string, spoil: (certificates: string) => void | Promise<void>): Promise<Place> {
  const made = await place(name, await pki.node(name), await pki.crls());
  await spoil(made.certificates);
  return made;
}

const refusals: [name: string, spoil: (certificates: string) => void | Promise<void>, file: RegExp, mend: RegExp][] = [
  [
    "open-key",
    (at) => chmodSync(join(at, "open-key-key.pem"), 0o644),
    /open-key-key\.pem/,
    /chmod 600 .*open-key-key\.pem/,
  ],
  [
    "wrong-key",
    async (at) => writeFileSync(join(at, "wrong-key-key.pem"), (await pki.node("x")).keyPem),
    /wrong-key-cert\.pem/,
    /openssl/,
  ],
  [
    "expired",
    async (at) => {
      const old = { notBefore: new Date(Date.now() - 20 * dayMs), notAfter: new Date(Date.now() - dayMs) };
      const node = await pki.node("expired", old);
      await pki.write(at, node, await pki.crls());
    },
    /expired-cert\.pem/,
    /hypha-certutil gen-cert/,
  ],
  ["no-bundle", (at) => rmSync(join(at, "trust.pem")), /trust\.pem/, /trust_pem/],
  ["empty-bundle", (at) => writeFileSync(join(at, "trust.pem"), ""), /trust\.pem/, /CA/],
  ["rubbish-crl", (at) => writeFileSync(join(at, "crls.pem"), "rubbish"), /crls\.pem/, /openssl crl|hypha-certutil/],
  ["no-crl", (at) => rmSync(join(at, "crls.pem")), /crls\.pem/, /crls_pem/],
];

test("refuses to start with files that it cannot trust: one message, the file, what is wrong, what mends it", async () => {
  const ended = await Promise.all(refusals.map(async ([name, spoil]) => {
    const made = await spoilt(name, spoil);
    return startGateway(made, name === "no-crl" ? "json" : "text").ended;
  }));
  for (const [index, [name, , file, mend]] of refusals.entries()) {
    const { code, stdout, stderr } = ended[index] ?? { code: 0, stdout: "", stderr: "" };
    assert.is(code, 1, `${name}: ${stderr}`);
    assert.is(stdout, "");
    const end = stderr.trim().split("\n").at(-1) ?? "";
    // With --log-format json the reason is a line of the log like every other.
    const last = end.startsWith("{") ? `hypha-gateway: ${JSON.parse(end).message}` : end;
    assert.match(last, /^hypha-gateway: Cannot load /, name);
    assert.match(last, file, name);
    assert.match(last, mend, name);
    assert.not.match(stderr, /\n\s+at /, "no stack");
  }
});

let running: Running;

test("listens, and answers the probe of a node it knows", async () => {
  running = startGateway(gateway, "json", { OTEL_TRACES_SAMPLER: "always_on" });
  assert.equal(
    (await running.waitFor("config.idle"))["keys"],
    ["telemetry_sampler"],
    "a key without effect is reported",
  );
  const listening = await running.waitFor("node.listening");
  assert.is(listening.node, "gateway-01");
  assert.equal(listening["bound"], [address]);
  assert.match(JSON.stringify(listening["addresses"]), `${address}/p2p/12D3KooW`);
  assert.match(listening.message, `Listening on ${address}; announces ${address}/p2p/`);
  await running.waitFor("node.ready");
  const ended = await probe(friend, address, "--timeout", "5000");
  assert.is(ended.code, 0, ended.stderr);
  assert.match(ended.stdout, `${address} is healthy (12D3KooW`);
});

test("fails a probe with the reason: unknown CA, nobody there, itself, wrong usage", async () => {
  const free = await freePort();
  const [unknown, nobody, self, usage] = await Promise.all([
    probe(intruder, address, "--timeout", "5000"),
    probe(friend, `/ip4/127.0.0.1/tcp/${free}`, "--timeout", "5000"),
    probe(gateway, address, "--timeout", "5000"),
    probe(friend, "127.0.0.1:4001"),
  ]);
  assert.equal([unknown, nobody, self, usage].map((ended) => ended?.code), [1, 1, 1, 2]);
  assert.match(unknown?.stderr ?? "", "hung-up");
  assert.match(nobody?.stderr ?? "", "unreachable");
  assert.match(self?.stderr ?? "", "this node itself");
  assert.match(usage?.stderr ?? "", "does not begin with /");
  const refused = await running.waitFor("peer.refused", ({ code }) => code === "unknown-issuer");
  assert.is(refused.level, "warn");
  assert.is(refused["name"], "intruder");
  assert.match(String(refused["hint"]), "trust_pem");
});

test("keeps the revocation list in force when rubbish takes its place, says so, and takes up the next", async () => {
  const crls = join(gateway.certificates, "crls.pem");
  const put = (text: string) => {
    writeFileSync(`${crls}.new`, text);
    renameSync(`${crls}.new`, crls);
  };
  put("rubbish");
  const kept = await running.waitFor("trust.broken");
  assert.is(kept.level, "warn");
  assert.match(kept.message, "crls.pem");
  assert.is((await probe(friend, address, "--timeout", "5000")).code, 0);
  const leaf = await pki.node("friend");
  const again = await place("again", leaf, undefined);
  put(await pki.crls({ revoked: [leaf], number: 2n }));
  await running.waitFor("trust.loaded", ({ generation }) => generation === 2);
  const revoked = await probe(again, address, "--timeout", "5000");
  assert.is(revoked.code, 1);
  await running.waitFor("peer.refused", ({ code }) => code === "certificate-revoked");
});

test("reads its trust files again at SIGHUP", async () => {
  running.signal("SIGHUP");
  await running.waitFor("trust.loaded", ({ generation }) => generation === 3);
});

test("drains on SIGTERM: says its summary and exits 0, and its port is free", async () => {
  running.signal("SIGTERM");
  const { code, signal, stdout } = await running.ended;
  assert.equal([code, signal, stdout], [0, null, ""]);
  const summary = running.events.find(({ event }) => event === "node.summary");
  const refused = summary?.["refused"] as Record<string, number> | undefined;
  assert.is(refused?.["unknown-issuer"], 1);
  assert.is(refused?.["certificate-revoked"], 1);
});

test("ends with 1 and a line in the log when an error is thrown that nobody caught", async () => {
  const script = new URL("../support/throwing_gateway.ts", import.meta.url);
  const node = startProgram("gateway", ["run", "-c", gateway.config, "--log-format", "json"], { script });
  const crashed = await node.waitFor("node.crashed");
  assert.is(crashed.level, "error");
  assert.match(crashed.message, "boom");
  assert.is((await node.ended).code, 1);
});

test("starts again after kill -9, on the same port", async () => {
  const first = startGateway(gateway);
  await first.waitFor("node.ready");
  first.signal("SIGKILL");
  await first.ended;
  const second = startGateway(gateway);
  await second.waitFor("node.ready");
  second.signal("SIGINT");
  assert.is((await second.ended).code, 0);
});

test.run();
