/** `--force` replaces a file by one of its kind, and no key of a CA. */
import { mkdir, mkdtemp, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPairSync } from "node:crypto";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certutilHere as certutil } from "../support/commands.ts";

const test = suite("--force");
let dir = "";
const at = (name: string) => join(dir, name);
const ca = (name: string) => ["--ca-cert", `${name}.pem`, "--ca-key", `${name}.key`];
const out = (cert: string, key: string) => ["--out-cert", cert, "--out-key", key];

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout + stderr;
}

test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-force-"));
  await done("gen-ca", ...out("root.pem", "root.key"), "--common-name", "Root");
  await done("gen-intermediate-ca", ...ca("root"), ...out("int.pem", "int.key"), "--common-name", "Intermediate");
  await done("gen-cert", ...ca("int"), ...out("node.pem", "node.key"), "--common-name", "node");
  await done("csr", "--common-name", "node", "--out-csr", "node.csr", "--out-key", "csr.key");
  await done("gen-crl", ...ca("int"), "--out-crl", "crls.pem");
  await done("bundle", "--spiffe", "--out", "bundle.json", "root.pem");
  await writeFile(at("notes.txt"), "important notes");
  const locked = generateKeyPairSync("ed25519").privateKey.export(
    { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" },
  );
  await writeFile(at("locked.key"), locked);
  const pair = await readFile(at("node.pem"), "utf8") + await readFile(at("node.key"), "utf8");
  await writeFile(at("pair.pem"), pair);
});
test.after(() => rm(dir, { recursive: true, force: true }));

const gen = (
  cert: string,
  key: string,
) => ["gen-cert", ...ca("int"), ...out(cert, key), "--common-name", "x", "--force"];
const sign = (
  cert: string,
) => ["sign", ...ca("int"), "--csr", "node.csr", "--common-name", "node", "--out-cert", cert, "--force"];
const cases: [file: string, holds: string, args: readonly string[]][] = [
  ["node.key", "a private key, not a node's certificate", sign("node.key")],
  ["pair.pem", "a private key, not a node's certificate", sign("pair.pem")],
  ["crls.pem", "a revocation list, not a node's certificate", sign("crls.pem")],
  ["node.csr", "the command reads it", sign("node.csr")],
  ["root.pem", "a CA's certificate, not a node's certificate", sign("root.pem")],
  ["int.pem.issued.tsv", "two of the files have this name", sign("int.pem.issued.tsv")],
  ["root.pem.issued.tsv", "a CA's record, not a node's certificate", sign("root.pem.issued.tsv")],
  ["bundle.json", "a SPIFFE bundle, not a node's certificate", sign("bundle.json")],
  ["notes.txt", "something else, not a node's certificate", sign("notes.txt")],
  ["node.pem", "a node's certificate, not a private key", gen("new.pem", "node.pem")],
  ["crls.pem", "a revocation list, not a private key", gen("new.pem", "crls.pem")],
  ["locked.key", "an encrypted private key, not a private key", gen("new.pem", "locked.key")],
  ["root.key", "it is the key of the CA CN=Root (root.pem)", gen("new.pem", "root.key")],
  ["root.key", "it is the key of the CA CN=Root (root.pem)", [
    "gen-ca",
    ...out("root.pem", "root.key"),
    "--common-name",
    "Other",
    "--force",
  ]],
  ["node.key", "a private key, not a signing request", [
    "csr",
    "--common-name",
    "x",
    "--out-csr",
    "node.key",
    "--out-key",
    "new.key",
    "--force",
  ]],
  ["node.key", "a private key, not a CA's certificate", ["bundle", "--out", "node.key", "root.pem", "--force"]],
  ["node.pem", "a node's certificate, not a SPIFFE bundle", [
    "bundle",
    "--spiffe",
    "--out",
    "node.pem",
    "root.pem",
    "--force",
  ]],
];
for (const [file, holds, args] of cases) {
  test(`${args[0]} leaves ${file} as it is: ${holds}`, async () => {
    const before = await readFile(at(file));
    const { code, stdout, stderr } = await certutil(dir, ...args);
    assert.equal([code, stdout], [1, ""], stderr);
    assert.ok(stderr.includes(`${file}: `) && stderr.includes(holds), stderr);
    assert.is(stderr.trimEnd().split("\n").length, 1, stderr);
    assert.equal(await readFile(at(file)), before);
  });
}

test("replaces like with like, and empty files", async () => {
  for (const name of ["node.pem", "node.key"]) {
    const before = await readFile(at(name), "utf8");
    await done(...gen("node.pem", "node.key"));
    assert.is.not(await readFile(at(name), "utf8"), before);
  }
  await writeFile(at("empty"), "");
  await done(...sign("empty"));
  await done("bundle", "--out", "bundle.pem", "root.pem");
  await done("bundle", "--out", "bundle.pem", "int.pem", "root.pem", "--force");
});

test("finds a CA's key behind a link, and where its certificate lies beside another output", async () => {
  await mkdir(at("keys"));
  await rename(at("root.key"), at("keys/root.key"));
  await symlink("keys/root.key", at("link.key"));
  for (const key of ["keys/root.key", "link.key"]) {
    const { code, stderr } = await certutil(dir, ...gen("new.pem", key));
    assert.is(code, 1);
    assert.match(stderr, "it is the key of the CA CN=Root (");
  }
});

test.run();
