/** Inputs in DER, and keys that nodes refuse by default. */
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certutilHere as certutil, opensslOk } from "../../support/commands.ts";
import { needing } from "../../support/prerequisites.ts";

const test = needing(suite("hypha-certutil: DER, and other keys than Ed25519"), "openssl");
let dir = "";
const at = (name: string) => join(dir, name);
const out = (name: string) => ["--out-cert", `${name}.pem`, "--out-key", `${name}.key`, "--common-name", name];

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout + stderr;
}

const der = (tool: string, name: string, to: string) =>
  opensslOk(dir, ...tool.split(" "), "-in", name, "-outform", "DER", "-out", to);

test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-der-"));
  await done("gen-ca", ...out("ca"));
  await done("gen-cert", "--ca-cert", "ca.pem", "--ca-key", "ca.key", ...out("n"));
  await done("gen-crl", "--ca-cert", "ca.pem", "--ca-key", "ca.key", "--out-crl", "crls.pem");
  await done("csr", "--common-name", "w", "--out-csr", "w.csr", "--out-key", "w.key");
  await der("x509", "ca.pem", "ca.der");
  await der("x509", "n.pem", "n.der");
  await der("crl", "crls.pem", "crl.der");
  await der("req", "w.csr", "w.csr.der");
  await der("pkcs8 -topk8 -nocrypt", "ca.key", "ca.key.der");
  await der("pkcs8 -topk8 -v2 aes256 -passout pass:geheim", "ca.key", "locked.der");
  await opensslOk(dir, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "sec1.pem");
  await der("ec", "sec1.pem", "sec1.der");
  for (const key of ["ca.key.der", "locked.der"]) await chmod(at(key), 0o600);
});
test.after(() => rm(dir, { recursive: true, force: true }));

test("reads certificates, keys, requests and lists in DER", async () => {
  const ca = ["--ca-cert", "ca.der", "--ca-key", "ca.key.der"];
  await done("gen-cert", ...ca, ...out("a"));
  await done("gen-cert", "--ca-cert", "ca.der", "--ca-key", "locked.der", "--passin", "pass:geheim", ...out("b"));
  await done("sign", ...ca, "--csr", "w.csr.der", "--out-cert", "w.pem", "--common-name", "w");
  for (const name of ["a", "b", "w"]) {
    assert.match(await opensslOk(dir, "verify", "-x509_strict", "-CAfile", "ca.pem", `${name}.pem`), "OK");
  }
  assert.match(await done("verify", "--trust", "ca.der", "--crls", "crl.der", "n.der"), "accepted");
  await done("revoke", ...ca, "--record", "ca.pem.revoked.tsv", "--cert", "n.der", "--out-crl", "crl.der");
  const { code, stdout } = await certutil(dir, "verify", "--trust", "ca.der", "--crls", "crl.der", "n.der");
  assert.is(code, 1);
  assert.match(stdout, "certificate-revoked");
  const locked = await certutil(dir, "inspect", "locked.der", "--passin", "pass:geheim", "--json");
  assert.is(JSON.parse(locked.stdout).blocks[0].kind, "private-key");
});

test("names the conversion of a key in the traditional format", async () => {
  const { code, stderr } = await certutil(dir, "gen-cert", "--ca-cert", "ca.pem", "--ca-key", "sec1.der", ...out("x"));
  assert.is(code, 1);
  assert.match(stderr, "convert it with: openssl pkcs8 -topk8 -nocrypt -in sec1.der -out NEW");
});

const keys: [name: string, spec: readonly string[], label: string, setting: string][] = [
  ["rsa", ["rsa:2048"], "RSA 2048", '["ed25519", "rsa"]'],
  ["ec", ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], "ECDSA P-256", '["ed25519", "ecdsa-p256"]'],
];
for (const [name, spec, label, setting] of keys) {
  test(`warns of a CA and of a request with a key of ${label}, which nodes refuse`, async () => {
    const files = ["-keyout", `${name}.key`, "-out", `${name}.pem`, "-subj", `/CN=${name}`];
    const usage = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    await opensslOk(dir, "req", "-x509", "-newkey", ...spec, "-nodes", "-days", "400", ...files, ...usage);
    await chmod(at(`${name}.key`), 0o600);
    const ca = ["--ca-cert", `${name}.pem`, "--ca-key", `${name}.key`];
    const { stderr } = await certutil(dir, "gen-cert", ...ca, ...out(`${name}-node`));
    assert.is(
      stderr,
      `warning: the CA's key is ${label}, which nodes refuse by default (they accept Ed25519 only): every peer needs ` +
        `ca_algorithms = ${setting} in its configuration\n`,
    );
    assert.match(await done("gen-crl", "--first", ...ca, "--out-crl", `${name}.crl`), "ca_algorithms");
    await opensslOk(
      dir,
      "req",
      "-new",
      "-newkey",
      ...spec,
      "-nodes",
      "-keyout",
      "leaf.key",
      "-out",
      "leaf.csr",
      "-subj",
      "/CN=l",
    );
    const own = ["--ca-cert", "ca.pem", "--ca-key", "ca.key", "--csr", "leaf.csr", "--common-name", "l"];
    const said = await done("sign", ...own, "--out-cert", `${name}-leaf.pem`);
    assert.match(said, `the node's key is ${label}, which nodes refuse by default`);
    assert.match(said, `leaf_algorithms = ${setting}`);
  });
}

test("says nothing of Ed25519", async () => {
  const { stderr } = await certutil(
    dir,
    "gen-cert",
    "--ca-cert",
    "ca.pem",
    "--ca-key",
    "ca.key",
    ...out("quiet"),
    "--days",
    "30",
  );
  assert.is(stderr, "");
  assert.match(await readFile(at("quiet.pem"), "utf8"), "BEGIN CERTIFICATE");
});

test.run();
