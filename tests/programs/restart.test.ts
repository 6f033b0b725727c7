/** A node that is started again remembers which revocation lists were in force. */
import { createHash } from "node:crypto";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { parsePem } from "../../pki/pem.ts";
import { permissionsFor } from "../../scripts/program/deno_permissions.ts";
import { makeTestPki } from "../support/pki.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, runProgramOnce, startProgram } from "../support/program.ts";

const test = suite("a restart");
const folder = mkdtempSync(join(tmpdir(), "hypha-restart-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

const pki = await makeTestPki();
const port = await freePort();
const address = `/ip4/127.0.0.1/tcp/${port}`;
const stateDir = join(folder, "gateway", ".hypha", "gateway");

/** A gateway's configuration in a folder of its own. */
async function place(
  name: string,
  crlsPem: string | undefined,
): Promise<{ config: string; crls: string; node: string }> {
  const own = join(folder, name);
  const certificates = join(own, "certs");
  mkdirSync(certificates, { recursive: true });
  const node = await pki.node(name);
  const files = await pki.write(certificates, node, crlsPem);
  const config = join(own, "gateway.toml");
  const lines = [
    `cert_pem = "${files.certPath}"`,
    `key_pem = "${files.keyPath}"`,
    `trust_pem = "${files.trustPath}"`,
    ...(crlsPem === undefined ? [] : [`crls_pem = "${files.crlsPath}"`]),
    `listen_addresses = ["${address}"]`,
    `external_addresses = ["${address}"]`,
    "exclude_cidr = []",
  ];
  writeFileSync(config, lines.join("\n"));
  return { config, crls: files.crlsPath, node: node.serial };
}

const friend = await place("friend", undefined);
const revoked = await place("revoked", undefined);
const older = await pki.crls({ number: 1n });
const gateway = await place("gateway", await pki.crls({ number: 2n, revoked: [revoked.node] }));

/** SHA-256 of the last list in a PEM text. */
function hashOfLast(pem: string): string {
  const { der } = Result.getOrThrow(parsePem(pem)).at(-1)!;
  return createHash("sha256").update(der).digest("hex");
}

/** On Deno with the least permissions of the role. */
function start(): Running {
  const permissions = permissionsFor("gateway", {
    configPath: gateway.config,
    certificateFolder: join(folder, "gateway", "certs"),
    readPaths: [],
    addresses: ["127.0.0.1"],
  });
  return startProgram("gateway", ["run", "-c", gateway.config, "--log-format", "json"], { permissions });
}

const probe = async ({ config }: { config: string }) =>
  (await runProgramOnce("gateway", ["probe", "-c", config, address, "--timeout", "30000"])).code;
const marks = () =>
  (JSON.parse(readFileSync(join(stateDir, "crl_marks.json"), "utf8")) as { marks: { number: string }[] }).marks
    .map(({ number }) => number);

/** Until the marks of root and intermediate are written: the second is known once a peer has shown the intermediate. */
async function untilMarked(): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    try {
      if (marks().join() === "2,2") return;
    } catch (error) {
      if (performance.now() > deadline) throw error;
    }
    assert.ok(performance.now() < deadline, "the marks were not written");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

async function stop(running: Running): Promise<void> {
  running.signal("SIGTERM");
  assert.is((await running.ended).code, 0);
}

test("a list that is put back while the node is down is not taken: what was revoked stays so, and one line says it", async () => {
  const first = start();
  await first.waitFor("node.ready");
  assert.equal([await probe(friend), await probe(revoked)], [0, 1]);
  await untilMarked();
  await stop(first);
  assert.not(first.events.some(({ event }) => event.startsWith("state.")), "nothing is wrong with a fresh directory");
  writeFileSync(gateway.crls, older);
  const second = start();
  await second.waitFor("node.ready");
  const alarms = second.events.filter((event) => event["code"] === "crl-rollback");
  assert.equal(alarms.map(({ level, event }) => [level, event]), [
    ["error", "trust.warning"],
    ["error", "trust.warning"],
  ]);
  for (const { message } of alarms) {
    assert.match(message, gateway.crls);
    assert.match(message, "has number 1, older than 2");
    assert.match(message, `rm -r ${stateDir}/crl_marks.json`);
  }
  assert.equal([await probe(friend), await probe(revoked)], [0, 1], "the kept list is in force");
  assert.equal(marks(), ["2", "2"]);
  await stop(second);
});

test("without the lists that were kept, the older one clears nobody: not even the node itself, which says so and ends", async () => {
  rmSync(join(stateDir, "crls"), { recursive: true });
  const third = start();
  const { code } = await third.ended;
  assert.is(code, 1);
  const alarm = third.events.find((event) => event["code"] === "crl-rollback");
  assert.match(alarm?.message ?? "", gateway.crls);
  const { message } = third.events.at(-1)!;
  assert.match(message, "own trust refuses it (crl-rollback)");
  assert.match(message, "number 1 is older than 2");
});

test("without the marks and with rubbish among the lists, a node with the newest list starts", async () => {
  writeFileSync(join(stateDir, "crl_marks.json"), '{"version": 1, "marks": [{');
  mkdirSync(join(stateDir, "crls", "@own"), { recursive: true });
  writeFileSync(join(stateDir, "crls", "@own", `${"0".repeat(64)}-all.crl`), "rubbish");
  writeFileSync(gateway.crls, await pki.crls({ number: 3n, revoked: [revoked.node] }));
  const fourth = start();
  await fourth.waitFor("node.ready");
  assert.is(fourth.events.filter(({ event }) => event === "state.broken").length, 2);
  assert.equal([await probe(friend), await probe(revoked)], [0, 1]);
  await stop(fourth);
});

test("a number that comes again without a revocation takes nothing back, in the running node and after a restart", async () => {
  const fifth = start();
  await fifth.waitFor("node.ready");
  const before = readFileSync(gateway.crls, "utf8");
  writeFileSync(`${gateway.crls}.new`, await pki.crls({ number: 3n }));
  renameSync(`${gateway.crls}.new`, gateway.crls);
  await fifth.waitFor("trust.warning");
  assert.equal([await probe(friend), await probe(revoked)], [0, 1], "while it runs");
  await stop(fifth);
  const sixth = start();
  await sixth.waitFor("node.ready");
  assert.equal([await probe(friend), await probe(revoked)], [0, 1], "after the restart");
  await stop(sixth);
  const sha256 = [before, readFileSync(gateway.crls, "utf8")].map(hashOfLast);
  for (const { events } of [fifth, sixth]) {
    const alarms = events.filter(({ code }) => code === "crl-equivocation");
    assert.equal(alarms.map(({ level, issuer, number, sha256 }) => ({ level, issuer, number, sha256 })), [
      { level: "error", issuer: "CN=Test Intermediate CA, O=Test", number: "3", sha256 },
    ]);
  }
});

test("what a node keeps is for its user alone", () => {
  const modeOf = (...path: string[]) => (statSync(join(stateDir, ...path)).mode & 0o777).toString(8);
  assert.equal([modeOf(), modeOf("crl_marks.json")], ["700", "600"]);
  assert.equal(readdirSync(stateDir).filter((name) => name.includes(".tmp")), []);
});

test.run();
