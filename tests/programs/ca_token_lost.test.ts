/** A CA whose key is in a token that is destroyed: another CA is rotated in, and the lost one out. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ShownCa } from "../../actors/ca/operator_views.ts";
import { caPlace, caScript } from "../support/ca_program.ts";
import { certutilHere } from "../support/commands.ts";
import { needing } from "../support/prerequisites.ts";
import { freePort } from "../../scripts/program/free_ports.ts";
import { type Running, startProgram } from "../support/program.ts";
import { makeSoftToken, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("a CA whose token is destroyed"), "softhsm2-util");
const { folder, command, file, done } = caPlace("token-lost");
const config = ["-c", join("ca", "ca.toml")];
let token: SoftToken | undefined;
let running: Running | undefined;
test.after(() => {
  running?.signal("SIGKILL");
  token?.remove();
  rmSync(folder, { recursive: true });
});

async function started(): Promise<void> {
  const options = { script: caScript, cwd: folder, lifeMs: 90_000 };
  running = startProgram("gateway", ["run", ...config, "--log-format", "json"], options);
  await running.waitFor("ca.listening");
}
async function stopped(): Promise<void> {
  running?.signal("SIGTERM");
  assert.is((await running?.ended)?.code, 0);
}
const toml = () => readFileSync(file("ca.toml"), "utf8");
const root = ["--ca-cert", "ca/root-cert.pem", "--ca-key", "ca/root-key.pem"];
async function certutil(...args: readonly string[]): Promise<void> {
  const { code, stderr } = await certutilHere(folder, ...args);
  assert.is(code, 0, stderr);
}
/** Publishes a CA, and lets it issue. */
async function rotated(cert: string, key: string): Promise<void> {
  assert.match(await done("rotate", ...config, "--cert", cert, "--key", key), /is published/);
  assert.match(await done("rotate", ...config), /issues from the next start on/);
}
const status = async () => JSON.parse(await done("status", ...config, "--json")) as ShownCa;

test("the current CA's token: the error names the way out, and nothing is written before it is taken", async () => {
  token = makeSoftToken();
  const key = token.uri("ca2");
  await done("init", "--domain", "acme.example", "--url", `https://127.0.0.1:${await freePort()}`, "-d", "ca");
  writeFileSync(file("ca.toml"), toml().replace("0.0.0.0", "127.0.0.1"));
  await certutil("keygen", key, "--out-public", "ca/ca2.pub");
  const [second, third] = ["ca/ca2-cert.pem", "ca/ca3-cert.pem"];
  await certutil("gen-intermediate-ca", ...root, "--common-name", "CA 2", "--key", key, "--out-cert", second);
  const out = ["--out-cert", third, "--out-key", "ca/ca3-key.pem"];
  await certutil("gen-intermediate-ca", ...root, "--common-name", "CA 3", ...out);
  await rotated(second, key);

  for (const name of readdirSync(join(token.dir, "tokens"))) {
    rmSync(join(token.dir, "tokens", name), { recursive: true });
  }
  const written = () => [toml(), readdirSync(file(""))];
  const before = written();
  const lost = await command("run", ...config);
  assert.is(lost.code, 1);
  assert.match(lost.stderr, /token-missing.*If the key is lost: hypha-ca rotate --cert FILE --key KEY/);
  const refused = await command("rotate", ...config);
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /^hypha-ca: Cannot rotate: The CA is not running\..*with --cert FILE --key KEY\n$/);
  assert.match((await command("rotate", ...config, "--cert", third, "--key", key)).stderr, /token-missing/);
  assert.equal(written(), before);
  await rotated(third, "ca/ca3-key.pem");
});

test("a retired CA's token, with its PIN: the CA runs, and takes the lost one out once the root has revoked it", async () => {
  rmSync(token!.pinFile);
  await started();
  assert.is((await status()).problem, "signer-unavailable: CN=CA 2, retired");
  assert.match(await done("token", ...config, "--role", "worker", "--name", "w-1"), /^hyp1\./);
  const before = toml();
  assert.match((await command("rotate", ...config)).stderr, /none of CN=Issuing CA.*; CN=CA 2 is revoked/);
  assert.is(toml(), before);
  const list = ["--cert", "ca/ca2-cert.pem", "--reason", "superseded", "--out-crl", "ca/root-crl.pem"];
  await certutil("revoke", ...root, ...list);
  await done("root-list", ...config, "ca/root-crl.pem");
  assert.match(await done("rotate", ...config), /^CN=CA 2 is taken out/);
  assert.not.match(toml(), /pkcs11:/);
  await stopped();
  await started();
  const { problem, issuers } = await status();
  assert.is(problem, null);
  assert.equal(issuers.map(({ state }) => state), ["issuing", "retired"]);
  await stopped();
});

test.run();
