/** A CA whose key is lost, where `rotate-ca` waits for approvals: they are given while it does not run. */
import { generateKeyPairSync } from "node:crypto";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certutilHere } from "../support/commands.ts";
import { caPlace, caScript } from "../support/ca_program.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, startProgram } from "../support/program.ts";

const test = suite("a CA whose key is lost");
const { folder, command, file, done } = caPlace("lost");
const config = ["-c", join("ca", "ca.toml")];
let running: Running | undefined;
test.after(() => {
  running?.signal("SIGKILL");
  rmSync(folder, { recursive: true });
});

async function started(): Promise<void> {
  running = startProgram("gateway", ["run", ...config, "--log-format", "json"], {
    script: caScript,
    cwd: folder,
    lifeMs: 90_000,
  });
  await running.waitFor("ca.listening");
}
async function stopped(): Promise<void> {
  running?.signal("SIGTERM");
  assert.is((await running?.ended)?.code, 0);
}

test("bug: it could not be recovered: its rotation was to be approved by the CA that could not start", async () => {
  for (const name of ["alice", "bob"]) {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    writeFileSync(join(folder, `${name}.pub`), publicKey.export({ type: "spki", format: "pem" }));
    writeFileSync(join(folder, `${name}.key`), privateKey.export({ type: "pkcs8", format: "pem" }), { mode: 0o600 });
  }
  const policy = ["--threshold", "2", "--approver", "alice=alice.pub", "--approver", "bob=bob.pub"];
  const url = `https://127.0.0.1:${await freePort()}`;
  await done("init", "--domain", "acme.example", "--url", url, "-d", "ca", ...policy);
  writeFileSync(file("ca.toml"), readFileSync(file("ca.toml"), "utf8").replace("0.0.0.0", "127.0.0.1"));
  await started();
  await done("backup", ...config, "copy.db");
  await stopped();

  rmSync(file("ca-key.pem"));
  for (const name of readdirSync(file("state"))) {
    if (name.startsWith("ca.db")) rmSync(file(`state/${name}`));
  }
  const root = ["--ca-cert", "ca/root-cert.pem", "--ca-key", "ca/root-key.pem"];
  const next = ["--out-cert", "ca/ca2-cert.pem", "--out-key", "ca/ca2-key.pem"];
  const retired = ["--out-cert", "ca/ca0-cert.pem", "--out-key", "ca/ca0-key.pem"];
  for (const [name, ...files] of [["Issuing CA 2", ...next], ["Issuing CA 0", ...retired]] as const) {
    const made = await certutilHere(folder, "gen-intermediate-ca", ...root, "--common-name", name, ...files);
    assert.is(made.code, 0, made.stderr);
  }
  const text = (name: string) => readFileSync(file(name), "utf8");
  writeFileSync(file("chain.pem"), text("ca2-cert.pem") + text("root-cert.pem"));
  writeFileSync(file("chain0.pem"), text("ca0-cert.pem") + text("root-cert.pem"));
  const toml = text("ca.toml").replace("ca-cert.pem", "chain.pem").replace("ca-key.pem", "ca2-key.pem");
  // Bug: with a retired CA, its revocation was looked for in the CA that could not start.
  const table = '[[ca.retired]]\nchain_pem = "chain0.pem"\nkey_pem = "ca0-key.pem"';
  writeFileSync(file("ca.toml"), `${toml}\n${table}\n`);
  const restored = await done("restore", ...config, "copy.db", "--alone", "--above", "9999999999");
  assert.match(restored, /the approvers are those of the backup:\n {2}threshold {4}2 of 2\n {2}approver {5}alice, /);
  const refused = await command("run", ...config);
  assert.is(refused.code, 2);
  assert.match(refused.stderr, /changed without approvals.*hypha-ca rotate -c /);

  const waits = await command("rotate", ...config);
  assert.is(waits.code, 1);
  const [, id = ""] = /rotate-ca waits for 2 approvals.*hypha-ca approve -c \S+ ([0-9a-f]{16})/.exec(waits.stderr) ??
    [];
  assert.match(await done("requests", ...config), id);
  assert.match(await done("approve", ...config, id, "--key", "alice.key"), /waits for 1 approvals/);
  assert.match(await done("approve", ...config, id, "--key", "bob.key"), /executed rotate-ca, approved by alice, bob/);
  assert.match((await command("rotate", ...config)).stderr, /The CA is not running\. Start it/);
  await started();
  await stopped();
  const audit = readdirSync(file("state/audit")).map((name) => readFileSync(file(`state/audit/${name}`), "latin1"))
    .join("");
  for (const type of ["approval.requested", "approval.given", "ca.rotated", "register.restored"]) {
    assert.match(audit, type);
  }
});

test("a CA that does not run decides nothing but rotations", async () => {
  await started();
  const policy = ["--threshold", "2", "--approver", "alice=alice.pub", "--approver", "carol=bob.pub"];
  const waits = await done("change-approvers", ...config, ...policy);
  const [, id = ""] = /hypha-ca approve -c \S+ ([0-9a-f]{16})/.exec(waits) ?? [];
  await stopped();
  for (
    const act of [["approve", id, "--key", "alice.key"], ["deny", id], ["token", "--role", "worker", "--name", "w"]]
  ) {
    const { code, stderr } = await command(...act, ...config);
    assert.is(code, 1);
    assert.match(stderr, /The CA is not running\. Start it/, act[0]);
  }
});

test("bug: a command to a CA that does not run hid why its audit log cannot be opened", async () => {
  const toml = readFileSync(file("ca.toml"), "utf8");
  writeFileSync(file("ca.toml"), toml.slice(0, toml.indexOf("[[ca.retired]]"))); // other CAs: approvals are requested
  writeFileSync(file("state/audit/audit.vkey"), "");
  const { code, stderr } = await command("rotate", ...config);
  assert.is(code, 1);
  assert.match(stderr, /audit\.vkey is empty/);
});

test.run();
