/** Slips of an operator, and forms of input that OpenSSL has too: each with what comes of it, and what does not. */
import { createHash } from "node:crypto";
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as NodeFileSystem from "@effect/platform-node-shared/NodeFileSystem";
import * as NodePath from "@effect/platform-node-shared/NodePath";
import { Effect, Layer } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { writeOutputs } from "../../../actors/certutil/outcome.ts";
import { certutilHere as certutil, certutilThroughShell, opensslOk } from "../../support/commands.ts";
import { needing, where } from "../../support/prerequisites.ts";

const test = suite("hypha-certutil and its operator");
const withOpenssl = needing(test, "openssl");
const services = Layer.merge(NodeFileSystem.layer, NodePath.layer);
let dir = "";
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-operator-"));
  await done("gen-ca", ...out("root"), "--common-name", "Root");
  await done("gen-intermediate-ca", ...ca("root"), ...out("int"), "--common-name", "Intermediate");
  await done("gen-cert", ...ca("int"), ...out("node"), "--common-name", "node");
});
test.after(() => rm(dir, { recursive: true, force: true }));

const at = (name: string) => join(dir, name);
const ca = (name: string) => ["--ca-cert", `${name}.pem`, "--ca-key", `${name}.key`];
const out = (name: string) => ["--out-cert", `${name}.pem`, "--out-key", `${name}.key`];

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout + stderr;
}

/** Every file and its hash: what a command that fails must leave as it was. */
async function folder(): Promise<string[]> {
  const names = (await readdir(dir)).toSorted();
  const hash = async (name: string) => createHash("sha256").update(await readFile(at(name))).digest("hex");
  return await Promise.all(names.map(async (name) => `${name} ${await hash(name)}`));
}

async function refused(why: string, ...args: readonly string[]): Promise<void> {
  const before = await folder();
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.equal([code, stdout], [1, ""], `${args.join(" ")}: ${stdout}${stderr}`);
  assert.match(stderr, why);
  assert.is(stderr.trimEnd().split("\n").length, 1, stderr);
  assert.equal(await folder(), before);
}

const cert = (...more: string[]) => ["gen-cert", ...ca("int"), "--common-name", "x", ...more];

test("no output takes the place of another, or of what the command reads, with --force neither", async () => {
  for (const force of [[], ["--force"]]) {
    await refused("x.pem: two of the files", ...cert("--out-cert", "x.pem", "--out-key", "./x.pem", ...force));
  }
  await refused("int.key: the command reads it", ...cert("--out-cert", "x.pem", "--out-key", "int.key", "--force"));
  await refused("int.pem: the command reads it", ...cert("--out-cert", "int.pem", "--out-key", "x.key", "--force"));
  await refused("int.pem.issued.tsv: two of", ...cert("--out-cert", "int.pem.issued.tsv", "--out-key", "x.key"));
});

test("a record of issued certificates is none but its own", async () => {
  await refused(
    "Cannot use record of issued certificates int.key: it is none",
    ...cert(...out("x"), "--issued", "int.key"),
  );
});

test("a CA does not revoke itself", async () => {
  const list = ["--out-crl", "crls.pem"];
  await refused("Take the root out of every node's trust_pem", "revoke", ...ca("root"), "--cert", "root.pem", ...list);
  await refused("of the CA above it", "revoke", ...ca("int"), "--cert", "int.pem", ...list);
  await done("revoke", ...ca("root"), "--cert", "int.pem", ...list);
  await where("openssl", async () => {
    assert.match(await opensslOk(dir, "crl", "-in", "crls.pem", "-noout", "-CAfile", "root.pem"), "verify OK");
  });
  await rm(at("crls.pem"));
});

test("warns of a role that no node accepts, where it is made and where it is signed", async () => {
  const boss = "URI:spiffe://acme.example/boss/b";
  const warning = /warning: no node accepts boss: a role is one URI:spiffe:/;
  assert.match(await done(...cert(...out("boss"), "--san", boss)), warning);
  await done("csr", "--common-name", "b", "--san", boss, "--out-csr", "b.csr", "--out-key", "b.key");
  const signer = ["--common-name", "b", "--san", boss];
  assert.match(await done("sign", ...ca("int"), ...signer, "--csr", "b.csr", "--out-cert", "b.pem"), warning);
  const worker = "URI:spiffe://acme.example/worker/b";
  assert.not.match(await done(...cert(...out("worker"), "--san", worker)), "no node accepts");
});

withOpenssl("judges and revokes what openssl wrote as DER", async () => {
  await opensslOk(dir, "x509", "-in", "node.pem", "-outform", "DER", "-out", "node.der");
  await done("bundle", "--out", "bundle.pem", "root.pem", "int.pem");
  assert.match(await done("verify", "--trust", "bundle.pem", "node.der"), "accepted");
  assert.match(await done("revoke", ...ca("int"), "--cert", "node.der", "--out-crl", "int-crl.pem"), "1 revoked");
  await writeFile(at("noise.der"), Uint8Array.of(0x30, 0x03, 0x02, 0x01));
  await refused(
    "Cannot read certificate noise.der: it is neither a certificate nor another file that is known here, or it is damaged",
    ...["revoke", ...ca("int"), "--cert", "noise.der"],
    "--out-crl",
    "i.pem",
  );
  await refused("node.key: it holds a private key, not a certificate", "verify", "--trust", "bundle.pem", "node.key");
});

test("bug: the key in a CA's file went into the certificates of nodes", async () => {
  const both = await readFile(at("int.pem"), "utf8") + await readFile(at("int.key"), "utf8");
  await writeFile(at("both.pem"), both, { mode: 0o600 });
  const authority = ["--ca-cert", "both.pem", "--ca-key", "both.pem"];
  await done("gen-cert", ...authority, ...out("chained"), "--common-name", "chained", "--chain");
  await done("csr", "--common-name", "s", "--out-csr", "s.csr", "--out-key", "s.key");
  await done("sign", ...authority, "--csr", "s.csr", "--out-cert", "s.pem", "--common-name", "s", "--chain");
  await done("node", ...authority, "-n", "tool", "-d", ".");
  const expected = await readFile(at("int.pem"), "utf8");
  for (const name of ["chained.pem", "s.pem", "tool-trust.pem"]) {
    const written = await readFile(at(name), "utf8");
    assert.not.match(written, "PRIVATE KEY", name);
    assert.ok(written.endsWith(expected), name);
  }
});

test("bug: an output that is no key was written with a private key in it", async () => {
  const content = `${await readFile(at("node.pem"), "utf8")}${await readFile(at("node.key"), "utf8")}`;
  for (const each of [content, new TextEncoder().encode(content)]) {
    const write = writeOutputs([{ path: at("leak.pem"), kind: "certificate", content: each }], "keep");
    const written = await Effect.runPromise(Effect.provide(Effect.flip(write), services));
    assert.match(written.message, /leak\.pem: it would hold a private key/);
  }
  assert.not.ok((await readdir(dir)).includes("leak.pem"));
});

needing(test, "openssl", "bash")(
  "takes a passphrase from a descriptor, and a certificate from a pipe, as openssl does",
  async () => {
    await opensslOk(
      dir,
      "pkcs8",
      "-topk8",
      "-v2",
      "aes256",
      "-passout",
      "pass:geheim",
      "-in",
      "int.key",
      "-out",
      "locked.key",
    );
    await chmod(at("locked.key"), 0o600);
    const locked = ["--ca-cert", "int.pem", "--ca-key", "locked.key", "--common-name", "fd"];
    const issue = await certutilThroughShell(
      dir,
      "3<<<geheim",
      "gen-cert",
      ...locked,
      ...out("fd"),
      "--passin",
      "fd:3",
    );
    assert.equal([issue.code, issue.stderr], [0, ""]);
    assert.match(
      await opensslOk(dir, "verify", "-x509_strict", "-partial_chain", "-CAfile", "int.pem", "fd.pem"),
      "OK",
    );
    const shown = await certutilThroughShell(dir, "< <(cat fd.pem)", "inspect", "/dev/stdin", "--json");
    assert.is(JSON.parse(shown.stdout).blocks[0].fields.subject, "CN=fd");
    await refused("/dev/zero: it is a device", "inspect", "/dev/zero");
    await refused("fd:three is no descriptor", "gen-cert", ...locked, ...out("x"), "--passin", "fd:three");
    await refused("/dev/fd/999", "gen-cert", ...locked, ...out("x"), "--passin", "fd:999");
  },
);

withOpenssl(
  "writes a SPIFFE bundle, counts its versions, and reads it back into PEM that openssl verifies by",
  async () => {
    const spiffe = ["bundle", "--spiffe", "--out", "b.json"];
    const told = await done(...spiffe, "--refresh-hint", "300", "int.pem", "root.pem");
    const spki = await opensslOk(dir, "x509", "-in", "root.pem", "-noout", "-pubkey", "-out", "root.pub")
      .then(() => opensslOk(dir, "pkey", "-pubin", "-in", "root.pub", "-outform", "DER", "-out", "root.spki"))
      .then(() => readFile(at("root.spki")));
    assert.match(told, `bundle_pin = "sha256:${createHash("sha256").update(spki).digest("hex")}"`);
    const first = JSON.parse(await readFile(at("b.json"), "utf8"));
    assert.equal([first.spiffe_sequence, first.spiffe_refresh_hint, first.keys.length], [1, 300, 2]);
    for (const [index, name] of ["int", "root"].entries()) {
      const der = await opensslOk(dir, "x509", "-in", `${name}.pem`, "-outform", "DER", "-out", `${name}.der`)
        .then(() => readFile(at(`${name}.der`)));
      assert.equal(first.keys[index].x5c, [der.toString("base64")]);
      assert.equal([first.keys[index].use, first.keys[index].kty], ["x509-svid", "OKP"]);
    }
    await refused("it is there", ...spiffe, "root.pem");
    await done(...spiffe, "--force", "b.json");
    assert.is(JSON.parse(await readFile(at("b.json"), "utf8")).spiffe_sequence, 2);
    await done(...spiffe, "--force", "--sequence", "9", "b.json");
    assert.is(JSON.parse(await readFile(at("b.json"), "utf8")).spiffe_sequence, 9);
    await done("bundle", "--out", "again.pem", "b.json");
    assert.match(await opensslOk(dir, "verify", "-x509_strict", "-CAfile", "again.pem", "node.pem"), "OK");
    assert.match(await done("verify", "--trust", "b.json", "node.pem"), "accepted");
    await writeFile(at("leaf.json"), JSON.stringify({ keys: [{ ...first.keys[0], x5c: ["AAAA"] }] }));
    await refused("leaf.json: Cannot read SPIFFE bundle: key 0", "bundle", "--out", "x.pem", "leaf.json");
    await writeFile(at("empty.json"), `{"keys": []}`);
    await refused("empty.json: it holds no certificate", "bundle", "--out", "x.pem", "empty.json");
  },
);

test.run();
