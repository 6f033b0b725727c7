/** Keys in a token of SoftHSM wherever a command takes a key; OpenSSL verifies all that they sign. */
import { rm, writeFile } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certutilHere, certutilWith, opensslOk } from "../support/commands.ts";
import { needing } from "../support/prerequisites.ts";
import { makeSoftToken, type SoftToken } from "../support/soft_token.ts";

const test = needing(suite("readSigner() with a token"), "softhsm2-util", "openssl");

let token: SoftToken;
test.before(() => void (token = makeSoftToken()));
test.after(() => token.remove());

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutilHere(token.dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

async function refused(...args: readonly string[]): Promise<string> {
  const { code, stderr } = await certutilHere(token.dir, ...args);
  assert.is(code, 1, stderr);
  assert.is(stderr.trimEnd().split("\n").length, 1, stderr);
  return stderr;
}

const openssl = (...args: readonly string[]) => opensslOk(token.dir, ...args);

test("root, approved intermediate, node and list are signed in the token", async () => {
  const [root, int, approver] = ["root", "int", "approver"].map((name) => token.uri(name)) as [string, string, string];
  for (const [name, uri] of Object.entries({ root, int, approver })) {
    await done("keygen", uri, "--out-public", `${name}.pub`);
  }
  await done("gen-ca", "--key", root, "--common-name", "Root", "--out-cert", "root.pem");
  await openssl("verify", "-CAfile", "root.pem", "root.pem");
  await done("csr", "--key", int, "--common-name", "Int", "--out-csr", "int.csr");
  assert.match(await openssl("req", "-in", "int.csr", "-verify", "-noout"), /OK/);
  await done("approvers", "--ca-cert", "root.pem", "--approver", "a=approver.pub", "--threshold", "1");
  const asked = ["--ca-cert", "root.pem", "--csr", "int.csr", "--common-name", "Int", "--out", "int.request"];
  await done("request", "issue-intermediate", ...asked);
  await done("approve", "int.request", "--key", approver, "--out", "a.approval");
  const files = ["int.request", "a.approval", "--ca-cert", "root.pem", "--out-cert", "int.pem"];
  await done("execute", ...files, "--ca-key", root);
  const by = ["--ca-cert", "int.pem", "--ca-key", int];
  const node = ["--common-name", "a.example", "--out-cert", "node.pem", "--out-key", "node.key"];
  await done("gen-cert", ...by, ...node);
  await openssl("verify", "-CAfile", "root.pem", "-untrusted", "int.pem", "node.pem");
  await done("revoke", ...by, "--cert", "node.pem", "--out-crl", "int.crl", "--first");
  assert.match(await openssl("crl", "-in", "int.crl", "-CAfile", "int.pem", "-noout", "-verify"), /verify OK/);
  assert.match(await openssl("crl", "-in", "int.crl", "-noout", "-text"), /Serial Number/);
});

test("a key of type ECDSA P-256 certifies itself, an intermediate's and a request", async () => {
  const uri = token.uri("p256");
  await done("keygen", uri, "--algorithm", "ecdsa-p256", "--out-public", "p256.pub");
  await done("gen-ca", "--key", uri, "--common-name", "P", "--out-cert", "p.pem");
  const by = ["--ca-cert", "p.pem", "--ca-key", uri];
  await done("gen-intermediate-ca", ...by, "--key", token.uri("int"), "--common-name", "Q", "--out-cert", "q.pem");
  await openssl("verify", "-CAfile", "p.pem", "q.pem");
  await done("csr", "--key", uri, "--common-name", "p", "--out-csr", "p.csr");
  assert.match(await openssl("req", "-in", "p.csr", "-verify", "-noout"), /OK/);
});

test("--passin names the PIN where the URI has none", async () => {
  const uri = token.uri("int").replace(/&pin.*/, "");
  const request = ["csr", "--key", uri, "--common-name", "i", "--out-csr"];
  assert.match(await refused(...request, "i1.csr"), /\(pin-missing\)\. Add &pin-source/);
  await done(...request, "i2.csr", "--passin", `file:${token.pinFile}`);
});

test("each mistake is one line that says what to do", async () => {
  const uri = token.uri("int");
  const ca = ["gen-ca", "--common-name", "x", "--out-cert", "x.pem"];
  assert.match(await refused(...ca, "--key", token.uri("none")), /object=none.*\(key-missing\).*hypha-certutil keygen/);
  assert.match(await refused(...ca, "--key", uri.replace("acme", "b")), /\(token-missing\).*pkcs11-tool/);
  assert.match(await refused(...ca), /Give --out-key FILE for a new key, or --key/);
  assert.match(await refused(...ca, "--key", uri, "--out-key", "x.key"), /both given/);
  assert.match(await refused("keygen", uri, "--out-public", "x.pub"), /\(key-exists\)/);
  assert.match(await refused("keygen", "x.key", "--out-public", "x.pub"), /not a pkcs11: URI.*gen-ca/);
  await writeFile(join(token.dir, "held.pub"), "");
  assert.match(await refused("keygen", token.uri("new"), "--out-public", "held.pub"), /No key was made/);
  await rm(join(token.dir, "held.pub"));
  await done("keygen", token.uri("new"), "--out-public", "held.pub");
  const wrong = [
    "--ca-cert",
    "int.pem",
    "--ca-key",
    token.uri("root"),
    "--common-name",
    "x",
    "--out-cert",
    "y.pem",
    "--out-key",
    "y.key",
  ];
  assert.match(await refused("gen-cert", ...wrong), /is not the key of the CA's certificate/);
});

test("bug: a URI with a leading blank was shown whole, with its PIN, as the name of a file", async () => {
  const out = ["--common-name", "x", "--out-cert", "x.pem"];
  for (const uri of [` ${token.uri("int")}&pin-value=0000`, "token=acme;object=int?pin-value=0000"]) {
    assert.not.match(await refused("keygen", uri, "--out-public", "x.pub"), "0000");
  }
  const error = await refused("gen-ca", "--key", ` ${token.uri("int")}&pin-value=0000`, ...out);
  assert.not.match(error, "0000");
  assert.match(error, /does not begin with pkcs11:/);
});

test("bug: --passin was read for a key whose URI has a PIN, once for each key, and its secret went to both keys", async () => {
  const pinless = token.uri("p256").replace(/&pin.*/, "");
  const make = (
    key: string,
    out: string,
  ) => ["gen-intermediate-ca", "--ca-cert", "p.pem", "--key", key, "--common-name", "I", "--out-cert", out];
  await done(...make(token.uri("int"), "i1.pem"), "--ca-key", token.uri("p256"), "--passin", "env:HYPHA_NONE");
  const fromInput = [...make(token.uri("int"), "i2.pem"), "--ca-key", pinless, "--passin", "stdin"];
  const { code, stdout, stderr } = await certutilWith(token.dir, "1234\n", ...fromInput);
  assert.is(code, 0, stdout + stderr);
  await openssl("genpkey", "-algorithm", "ED25519", "-aes256", "-pass", "pass:other", "-out", "locked.key");
  const given = ["--ca-key", pinless, "--passin", `file:${token.pinFile}`];
  assert.match(
    await refused(...make("locked.key", "i3.pem"), ...given),
    /locked\.key: it is encrypted.*--passin is of --ca-key/,
  );
  const other = token.uri("int").replace(/&pin.*/, "");
  assert.match(await refused(...make(other, "i4.pem"), ...given), /object=int.*\(pin-missing\)/);
});

test("bug: keygen made a key, and only then found that its public half cannot be written", async () => {
  const uri = token.uri("late");
  assert.match(
    await refused("keygen", uri, "--out-public", "missing/late.pub"),
    /its folder is missing.*mkdir -p missing/,
  );
  assert.match(
    await refused("keygen", uri, "--out-public", "root.pem", "--force"),
    /a CA's certificate, not a public key/,
  );
  await done("keygen", uri, "--out-public", "late.pub");
  const again = await refused("keygen", uri, "--out-public", "late2.pub");
  assert.match(
    again,
    /\(key-exists\).*hypha-certutil csr --key .*openssl req -in KEY\.csr -noout -pubkey -out KEY\.pub/,
  );
  await done("csr", "--key", uri, "--common-name", "late", "--out-csr", "late.csr");
  await openssl("req", "-in", "late.csr", "-noout", "-pubkey", "-out", "late2.pub");
  const [written, exported] = ["late.pub", "late2.pub"].map((name) => readFileSync(join(token.dir, name), "utf8"));
  assert.is(exported, written);
});

test.run();
