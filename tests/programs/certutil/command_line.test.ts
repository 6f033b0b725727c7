/** The real program, as the specification spells its commands. Few processes: each costs a quarter of a second. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certutil, opensslOk } from "../../support/commands.ts";
import { where } from "../../support/prerequisites.ts";

const test = suite("hypha-certutil");
let dir = "";
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-certutil-"));
  await mkdir(join(dir, "pki"));
});
test.after(() => rm(dir, { recursive: true, force: true }));

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout;
}

async function refused(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.is(code, 1, `${args.join(" ")}: ${stdout}${stderr}`);
  assert.is(stdout, "");
  assert.is(stderr.trimEnd().split("\n").length, 1, stderr);
  return stderr.trimEnd();
}

const ca = (name: string) => ["--ca-cert", `${name}-cert.pem`, "--ca-key", `${name}-key.pem`];
const out = (name: string) => ["--out-cert", `${name}-cert.pem`, "--out-key", `${name}-key.pem`];
const mode = async (name: string) => ((await stat(join(dir, name))).mode & 0o777).toString(8);

test("makes the specification's PKI, whatever the umask", async () => {
  const before = process.umask(0);
  try {
    await done("gen-ca", ...out("root"), "--common-name", "Hypha Root CA");
  } finally {
    process.umask(before);
  }
  await done("gen-intermediate-ca", ...ca("root"), ...out("int"), "--common-name", "Hypha Intermediate CA");
  const names = ["--san", "URI:spiffe://hypha.local/gateway/gateway-01"];
  await done("gen-cert", ...ca("int"), ...out("gw"), "--common-name", "gateway-01.hypha.local", ...names, "--chain");
  assert.is(await mode("root-key.pem"), "600");
  assert.is(await mode("root-cert.pem"), "644");
  assert.is(await mode("gw-key.pem"), "600");
  const bundle = await readFile(join(dir, "int-cert.pem"), "utf8") + await readFile(join(dir, "root-cert.pem"), "utf8");
  await writeFile(join(dir, "ca-bundle.pem"), bundle);
  await where("openssl", async () => {
    assert.match(await opensslOk(dir, "verify", "-x509_strict", "-CAfile", "ca-bundle.pem", "gw-cert.pem"), "OK");
  });
});

test("revokes, each CA in its place of one file, and judges by it", async () => {
  await done("gen-crl", ...ca("root"), "--out-crl", "crls.pem");
  await done("gen-crl", ...ca("int"), "--out-crl", "crls.pem");
  const judge = ["verify", "--trust", "root-cert.pem", "--crls", "crls.pem"];
  const said = await done(...judge, "gw-cert.pem");
  assert.match(said, /^accepted\n {2}leaf +CN=gateway-01.*\n {2}issuer +CN=Hypha Int.*\n {2}anchor +CN=Hypha Root/);
  assert.match(said, "role gateway");
  // Two at once lose nothing.
  await done("gen-cert", ...ca("int"), ...out("w"), "--common-name", "worker-01.hypha.local");
  const revoke = (name: string) =>
    done("revoke", ...ca("int"), "--cert", `${name}-cert.pem`, "--reason", "keyCompromise", "--out-crl", "crls.pem");
  await Promise.all([revoke("gw"), revoke("w")]);
  const { code, stdout, stderr } = await certutil(dir, ...judge, "--json", "gw-cert.pem");
  assert.is(code, 1);
  assert.is(stderr, "");
  const verdict = JSON.parse(stdout);
  assert.equal(Object.keys(verdict), ["ok", "code", "path", "reason"]);
  assert.equal([verdict.ok, verdict.code, verdict.path], [false, "certificate-revoked", []]);
  const inspection = JSON.parse(await done("inspect", "crls.pem", "--json"));
  assert.equal(inspection.blocks.map(({ fields }: { fields: { entries: number } }) => fields.entries), [0, 2]);
  await where("openssl", async () => {
    assert.match(await opensslOk(dir, "crl", "-in", "crls.pem", "-noout", "-CAfile", "root-cert.pem"), "verify OK");
  });
});

test("signs a request, and says which names it grants", async () => {
  const san = ["--san", "URI:spiffe://hypha.local/worker/w2"];
  await done("csr", "--common-name", "w2.hypha.local", ...san, "--out-csr", "w2.csr", "--out-key", "w2-key.pem");
  const signer = ["--common-name", "w2", "--role", "worker", "--domain", "hypha.local"];
  const said = await done("sign", ...ca("int"), ...signer, "--csr", "w2.csr", "--out-cert", "w2-cert.pem");
  assert.match(said, "subject CN=w2\nname IP:0.0.0.0\nname DNS:w2\nname URI:spiffe://hypha.local/worker/w2\n");
  assert.match(said, "ignored: subject CN=w2.hypha.local, DNS:w2.hypha.local\n");
  assert.is(await mode("w2-key.pem"), "600");
  const { ok, path } = JSON.parse(await done("verify", "--trust", "ca-bundle.pem", "--json", "w2-cert.pem"));
  assert.ok(ok);
  assert.equal(path.map(({ subject }: { subject: string }) => subject), [
    "CN=w2",
    "CN=Hypha Intermediate CA",
  ]);
});

test("has the existing tool's commands and file names", async () => {
  await done("root", "-o", "Hypha Net", "-d", "pki");
  const root = ["--root-cert", "pki/hypha-net-ca-cert.pem", "--root-key", "pki/hypha-net-ca-key.pem"];
  await done("org", ...root, "-o", "Acme/Co", "-d", "pki");
  const org = ["--ca-cert", "pki/acme-co-ca-cert.pem", "--ca-key", "pki/acme-co-ca-key.pem"];
  await done("node", ...org, "-n", "GW.Acme", "-s", "0.0.0.0,gw.example", "-d", "pki");
  const files = (await readdir(join(dir, "pki"))).sort();
  assert.equal(files, [
    "acme-co-ca-cert.pem",
    "acme-co-ca-cert.pem.issued.tsv",
    "acme-co-ca-cert.pem.revoked.tsv",
    "acme-co-ca-key.pem",
    "gw-acme-cert.pem",
    "gw-acme-key.pem",
    "gw-acme-trust.pem",
    "hypha-net-ca-cert.pem",
    "hypha-net-ca-cert.pem.issued.tsv",
    "hypha-net-ca-cert.pem.revoked.tsv",
    "hypha-net-ca-key.pem",
  ]);
  const shown = JSON.parse(await done("inspect", "pki/gw-acme-trust.pem", "--json"));
  assert.equal(shown.blocks.map(({ fields }: { fields: { subject: string } }) => fields.subject), [
    "CN=GW.Acme",
    "CN=Acme/Co CA, O=Acme/Co",
  ]);
  assert.equal(shown.blocks[0].fields.names, ["IP:0.0.0.0", "DNS:gw.example", "DNS:GW.Acme"]);
  const judged = JSON.parse(await done("verify", "--trust", "pki/gw-acme-trust.pem", "--json", "pki/gw-acme-cert.pem"));
  assert.ok(judged.ok);
  assert.match(
    await refused("node", ...org, "-n", "x", "-d", "gone"),
    "Cannot write into gone: there is no such folder. Make it first: mkdir -p gone",
  );
});

test("overwrites nothing without --force, and says so in one line", async () => {
  const key = await readFile(join(dir, "gw-key.pem"), "utf8");
  const again = ["gen-cert", ...ca("int"), "--out-cert", "new.pem", "--out-key", "gw-key.pem", "--common-name", "x"];
  assert.match(await refused(...again), "Cannot write gw-key.pem: it is there");
  assert.is(await readFile(join(dir, "gw-key.pem"), "utf8"), key);
  assert.not.ok((await readdir(dir)).includes("new.pem"));
  await chmod(join(dir, "gw-key.pem"), 0o644);
  await done(...again, "--force");
  assert.is.not(await readFile(join(dir, "gw-key.pem"), "utf8"), key);
  assert.is(await mode("gw-key.pem"), "600");
});

test("ends with 2 on wrong usage", async () => {
  assert.is((await certutil(dir, "gen-ca", "--out-cert", "x.pem")).code, 2);
  const { code, stdout, stderr } = await certutil(dir, "frobnicate");
  assert.equal([code, stdout, stderr.trimEnd().split("\n").length], [2, "", 2], stderr);
});

test.run();
