/** A gateway with `[audit]` as a process: what it records, and that its log verifies. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { certutilHere } from "../support/commands.ts";
import { makeTestPki, type TestNode, type TestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { runProgramOnce, startProgram } from "../support/program.ts";

const test = suite("hypha-gateway run with [audit]");
const folder = mkdtempSync(join(tmpdir(), "hypha-audit-program-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));
const pki = await makeTestPki();
const stranger = await makeTestPki({ organization: "Elsewhere" });
const port = await freePort();

async function place(name: string, issuer: TestPki, node: TestNode): Promise<string> {
  const certificates = join(folder, name);
  mkdirSync(certificates);
  const files = await issuer.write(certificates, node, undefined);
  writeFileSync(files.trustPath, await trustOf());
  const config = join(folder, `${name}.toml`);
  writeFileSync(
    config,
    `cert_pem = "${files.certPath}"
key_pem = "${files.keyPath}"
trust_pem = "${files.trustPath}"
listen_addresses = ["/ip4/127.0.0.1/tcp/${port}"]
external_addresses = ["/ip4/127.0.0.1/tcp/${port}"]
exclude_cidr = []
state_dir = "${join(folder, `${name}-state`)}"
`,
  );
  return config;
}

const trustOf = () => Promise.resolve(pki.root.certPem + pki.intermediate.certPem);

test("records who was let in and who was refused; the log verifies after its end", async () => {
  const config = await place("gateway", pki, await pki.node("gateway-01", { role: "gateway" }));
  const intruder = await place("intruder", stranger, await stranger.node("intruder", { role: "worker" }));
  const permissions = permissionsFor("gateway", {
    ...{ configPath: config, stateDir: join(folder, "gateway-state"), certificateFolder: join(folder, "gateway") },
    ...{ readPaths: [], addresses: ["127.0.0.1"] },
  });
  const env = { HYPHA_AUDIT__KEEP: "30d" };
  const gateway = startProgram("gateway", ["run", "-c", config, "--log-format", "json"], { permissions, env });
  await gateway.waitFor("audit.opened");
  await gateway.waitFor("node.ready");
  await runProgramOnce("gateway", ["probe", "-c", intruder, `/ip4/127.0.0.1/tcp/${port}`]);
  await gateway.waitFor("peer.refused");
  gateway.signal("SIGTERM");
  assert.is((await gateway.ended).code, 0);
  const log = join(folder, "gateway-state", "audit");
  const verified = await certutilHere(folder, "audit", "verify", log, "--json");
  assert.is(verified.code, 0, verified.stdout + verified.stderr);
  const { origin, records, covered } = JSON.parse(verified.stdout);
  assert.is(origin, "test.hypha/audit/gateway/gateway-01");
  assert.is(covered, records);
  const shown = await certutilHere(folder, "audit", "show", "-d", log, "--json");
  const found = shown.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  for (const type of ["log.opened", "trust.loaded", "node.ready", "node.draining", "refusal"]) {
    assert.ok(found.some((record) => record.type === type), `${type} in ${found.map((record) => record.type)}`);
  }
  const refusal = found.find(({ type }) => type === "refusal");
  assert.is(refusal.outcome, "unknown-issuer");
  assert.match(refusal.peer, /^intruder 12D3KooW/);
});

test("bug: a node whose own certificate was refused at its start lost the records of its start", async () => {
  const config = await place("refused", stranger, await stranger.node("gateway-03", { role: "gateway" }));
  const permissions = permissionsFor("gateway", {
    ...{ configPath: config, stateDir: join(folder, "refused-state"), certificateFolder: join(folder, "refused") },
    ...{ readPaths: [], addresses: ["127.0.0.1"] },
  });
  const env = { HYPHA_AUDIT__KEEP: "30d" };
  const refused = await runProgramOnce("gateway", ["run", "-c", config], { permissions, env });
  assert.is(refused.code, 1);
  assert.not.match(refused.stderr, "not open when the program ended");
  const shown = await certutilHere(folder, "audit", "show", "-d", join(folder, "refused-state", "audit"), "--json");
  const records = shown.stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
  const types = records.map(({ type }) => type);
  assert.ok(types.includes("trust.loaded"), `${types}`);
  // Bug: why the node ended was in no record.
  const [failed, ...more] = records.filter(({ type }) => type === "node.failed");
  assert.equal(more, []);
  assert.match(failed?.detail.message ?? "", /own trust refuses it \(unknown-issuer\)/);
});

test("bug: a second process with the same state_dir wrote over the audit log of the first", async () => {
  const config = await place("twice", pki, await pki.node("gateway-02", { role: "gateway" }));
  const intruder = await place("intruder-02", stranger, await stranger.node("intruder", { role: "worker" }));
  const permissions = permissionsFor("gateway", {
    ...{ configPath: config, stateDir: join(folder, "twice-state"), certificateFolder: join(folder, "twice") },
    ...{ readPaths: [], addresses: ["127.0.0.1"] },
  });
  const env = { HYPHA_AUDIT__KEEP: "30d" };
  const args = ["run", "-c", config, "--log-format", "json"];
  const first = startProgram("gateway", args, { permissions, env });
  await first.waitFor("audit.opened");
  await first.waitFor("node.ready");
  const second = await runProgramOnce("gateway", args, { permissions, env });
  assert.is(second.code, 1, "the port is taken");
  await runProgramOnce("gateway", ["probe", "-c", intruder, `/ip4/127.0.0.1/tcp/${port}`]);
  await first.waitFor("peer.refused");
  first.signal("SIGKILL");
  await first.ended;
  const again = startProgram("gateway", args, { permissions, env });
  await again.waitFor("audit.opened");
  await again.waitFor("node.ready");
  again.signal("SIGTERM");
  assert.is((await again.ended).code, 0);
  const verified = await certutilHere(folder, "audit", "verify", join(folder, "twice-state", "audit"));
  assert.is(verified.code, 0, verified.stdout + verified.stderr);
  assert.match(second.stderr, "End that process, or give this one a folder of its own");
  assert.not.match(second.stderr, "audit.opened");
});

test.run();
