/** Each command and the real `openssl`, both ways, as an operator would mix the two. */
import { chmod, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { certutilHere as certutil, certutilWith, openssl, opensslOk } from "../../support/commands.ts";
import { makeTestPki } from "../../support/pki.ts";
import { needing } from "../../support/prerequisites.ts";

const test = needing(suite("hypha-certutil and openssl"), "openssl");
let dir = "";
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-both-ways-"));
});
test.after(() => rm(dir, { recursive: true, force: true }));

const at = (name: string) => join(dir, name);
const read = (name: string) => readFile(at(name), "utf8");

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout + stderr;
}

const ca = (name: string) => ["--ca-cert", `${name}.pem`, "--ca-key", `${name}.key`];
const out = (name: string) => ["--out-cert", `${name}.pem`, "--out-key", `${name}.key`];

test("a CA that `openssl ca` keeps: it verifies here, and goes on here where it stopped there", async () => {
  const conf = `[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\ncrlnumber=crlnumber\ndefault_md=default
policy=p\nnew_certs_dir=.\nx509_extensions=leaf\ndefault_days=30\ndefault_crl_days=7\ncrl_extensions=crl
certificate=oca.pem\nprivate_key=oca.key\n[p]\ncountryName=optional\norganizationName=optional\ncommonName=supplied
[crl]\nauthorityKeyIdentifier=keyid\n[leaf]\nbasicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature
subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nextendedKeyUsage=serverAuth,clientAuth
subjectAltName=DNS:n.example\n`;
  await writeFile(at("ca.conf"), conf);
  await writeFile(at("index.txt"), "");
  await writeFile(at("serial"), "1000\n");
  await writeFile(at("crlnumber"), "0A\n");
  const self = [
    "-addext",
    "keyUsage=critical,keyCertSign,cRLSign",
    "-subj",
    "/C=DE/O=Acme/CN=OpenSSL CA",
    "-days",
    "60",
  ];
  await opensslOk(
    dir,
    "req",
    "-x509",
    "-newkey",
    "ed25519",
    "-nodes",
    "-keyout",
    "oca.key",
    "-out",
    "oca.pem",
    ...self,
  );
  await chmod(at("oca.key"), 0o600);
  // Our request, their CA; then their list, which ours continues.
  await done("csr", "--common-name", "n.example", "--out-csr", "n.csr", "--out-key", "n.key");
  await opensslOk(dir, "ca", "-batch", "-notext", "-config", "ca.conf", "-in", "n.csr", "-out", "n.pem");
  await opensslOk(
    dir,
    "ca",
    "-batch",
    "-notext",
    "-config",
    "ca.conf",
    "-in",
    "n.csr",
    "-out",
    "n2.pem",
    "-subj",
    "/CN=b",
  );
  await opensslOk(dir, "ca", "-config", "ca.conf", "-revoke", "n2.pem", "-crl_reason", "superseded");
  await opensslOk(dir, "ca", "-config", "ca.conf", "-gencrl", "-out", "crls.pem");
  await done("verify", "--trust", "oca.pem", "--crls", "crls.pem", "n.pem");
  assert.is((await certutil(dir, "verify", "--trust", "oca.pem", "--crls", "crls.pem", "n2.pem")).code, 1);
  const said = await done(
    "revoke",
    ...ca("oca"),
    "--cert",
    "n.pem",
    "--reason",
    "keyCompromise",
    "--out-crl",
    "crls.pem",
  );
  assert.match(said, "took 1 revocations over from the list");
  const text = await opensslOk(dir, "crl", "-in", "crls.pem", "-noout", "-text", "-CAfile", "oca.pem");
  assert.match(text, "verify OK");
  assert.match(text, /CRL Number: *\n *11\n/);
  assert.match(text, /Serial Number: 1001[\s\S]*Superseded[\s\S]*Serial Number: 1000[\s\S]*Key Compromise/);
  const refused = await openssl(dir, "verify", "-crl_check", "-CRLfile", "crls.pem", "-CAfile", "oca.pem", "n.pem");
  assert.match(refused.stderr, "certificate revoked");
  // Our certificate of their CA.
  await done("gen-cert", ...ca("oca"), ...out("ours"), "--common-name", "ours.example");
  assert.match(await opensslOk(dir, "verify", "-x509_strict", "-CAfile", "oca.pem", "ours.pem"), "OK");
  // The issuer's name, PrintableString and all, is the CA's byte for byte.
  const name = (file: string, which: string) =>
    opensslOk(dir, "x509", "-in", file, "-noout", which, "-nameopt", "show_type");
  const issuer = (await name("ours.pem", "-issuer")).replace("issuer=", "");
  assert.is(issuer, (await name("oca.pem", "-subject")).replace("subject=", ""));
  assert.match(issuer, "PRINTABLESTRING:DE");
});

test("a PKI of ours, with encrypted keys: what openssl reads, and what it encrypts", async () => {
  await done("gen-ca", ...out("root"), "--common-name", "Root");
  await opensslOk(
    dir,
    "pkcs8",
    "-topk8",
    "-v2",
    "aes256",
    "-passout",
    "pass:geheim",
    "-in",
    "root.key",
    "-out",
    "locked.key",
  );
  await chmod(at("locked.key"), 0o600);
  await writeFile(at("phrase"), "geheim\nsecond line\n");
  const locked = ["--ca-cert", "root.pem", "--ca-key", "locked.key"];
  const issue = (name: string, passin: string) =>
    certutil(dir, "gen-cert", ...locked, "--passin", passin, ...out(name), "--common-name", `${name}.example`);
  for (const [name, passin] of [["p1", "pass:geheim"], ["p2", "file:phrase"], ["p3", "env:HYPHA_TEST_PHRASE"]]) {
    process.env["HYPHA_TEST_PHRASE"] = "geheim";
    assert.is((await issue(name!, passin!)).code, 0);
    assert.match(await opensslOk(dir, "verify", "-x509_strict", "-CAfile", "root.pem", `${name}.pem`), "OK");
  }
  const before = await readdir(dir);
  for (
    const [passin, why] of [
      ["pass:falsch", "the passphrase is wrong. Check what --passin names."],
      ["env:HYPHA_NO_SUCH", "the environment has no HYPHA_NO_SUCH"],
      ["file:gone", "Cannot read passphrase gone: there is no such file"],
      [
        "geheim",
        "it does not say where the passphrase is. Write it as pass:TEXT, env:NAME, file:PATH, fd:NUMBER or stdin.",
      ],
    ]
  ) {
    const { code, stdout, stderr } = await issue("bad", passin!);
    assert.equal([code, stdout], [1, ""]);
    assert.match(stderr, why!);
    assert.not.match(stderr, "geheim");
  }
  assert.equal(await readdir(dir), before);
});

/** An Ed25519 key, encrypted by OpenSSL with AES-256-CBC; one wrong passphrase in 250 leaves what looks padded. */
const lockedWithGeheim = `-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGaMFYGCSqGSIb3DQEFDTBJMCgGCSqGSIb3DQEFDDAbBAiXYOxqICNL3gIBCjAM
BggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQnkb4ayLHqSG3SrQ8/Gq5igRAcPeC
3FZDvmrSxyYgzSBFs8WFRH2YWs5eW1llz/1PNCWFR8+Bw69Qb5KeX/KWrN7nbjf7
05aLkD1/wCQKQZ/4jw==
-----END ENCRYPTED PRIVATE KEY-----
`;

test("a wrong passphrase is called wrong where what it makes happens to be padded", async () => {
  await writeFile(at("padded.key"), lockedWithGeheim);
  const inspect = (phrase: string) => certutil(dir, "inspect", "padded.key", "--passin", `pass:${phrase}`);
  for (const phrase of ["falsch", "falsch474"]) {
    assert.match((await inspect(phrase)).stderr, "the passphrase is wrong. Check what --passin names.");
  }
  assert.is((await inspect("geheim")).code, 0);
});

test("standard input gives a passphrase; inspect shows the public part of a key, and DER", async () => {
  const { code, stdout } = await certutilWith(dir, "geheim\n", "inspect", "locked.key", "--passin", "stdin", "--json");
  assert.is(code, 0);
  const { fields } = JSON.parse(stdout).blocks[0];
  const spki = await opensslOk(dir, "pkey", "-in", "root.key", "-pubout", "-text_pub", "-noout");
  assert.is(fields.publicKey, [...spki.matchAll(/[0-9a-f]{2}(?=:|\n)/g)].map(([octet]) => octet).join(""));
  await opensslOk(dir, "x509", "-in", "p1.pem", "-outform", "DER", "-out", "p1.der");
  await opensslOk(dir, "crl", "-in", "crls.pem", "-outform", "DER", "-out", "crl.der");
  await opensslOk(dir, "req", "-in", "n.csr", "-outform", "DER", "-out", "csr.der");
  await opensslOk(dir, "pkcs8", "-topk8", "-nocrypt", "-in", "p1.key", "-outform", "DER", "-out", "key.der");
  for (
    const [file, kind] of [
      ["p1.der", "certificate"],
      ["crl.der", "revocation-list"],
      ["csr.der", "signing-request"],
      ["key.der", "private-key"],
    ]
  ) {
    const shown = JSON.parse(await done("inspect", file!, "--json"));
    assert.equal([shown.ok, shown.blocks.length, shown.blocks[0].kind], [true, 1, kind]);
    if (kind === "certificate") {
      assert.match(
        await opensslOk(dir, "x509", "-in", "p1.pem", "-noout", "-serial"),
        shown.blocks[0].fields.serial.toUpperCase(),
      );
    }
  }
});

test("delta lists: what openssl reads, and what a node makes of base and delta", async () => {
  const pki = await makeTestPki();
  const [a, b] = [await pki.node("a"), await pki.node("b")];
  const files = { "i.pem": pki.intermediate.certPem, "i.key": pki.intermediate.keyPem, "r.pem": pki.trustPem };
  for (
    const [name, text] of Object.entries({
      ...files,
      "r.key": pki.root.keyPem,
      "a.pem": a.chainPem,
      "b.pem": b.chainPem,
    })
  ) {
    await writeFile(at(name), text, { mode: 0o600 });
  }
  const none = await certutil(dir, "gen-crl", "--delta", "--first", ...ca("i"), "--out-crl", "d.pem");
  assert.match(none.stderr, "there is no complete list to build on. Make one first");
  await done("gen-crl", "--first", ...ca("r"), "--out-crl", "d.pem");
  await done("revoke", "--first", ...ca("i"), "--cert", "a.pem", "--out-crl", "d.pem");
  await done("revoke", "--delta", ...ca("i"), "--cert", "b.pem", "--reason", "keyCompromise", "--out-crl", "d.pem");
  await done("gen-crl", "--delta", ...ca("i"), "--out-crl", "d.pem");
  const { blocks } = JSON.parse(await done("inspect", "d.pem", "--json"));
  const shape = (
    { fields }: { fields: Record<string, unknown> },
  ) => [fields["number"], fields["baseNumber"], fields["entries"]];
  assert.equal(blocks.map(shape), [["1", null, 0], ["1", null, 1], ["3", "1", 1]]);
  const delta = (await read("d.pem")).split(/(?=-----BEGIN)/)[2]!;
  await writeFile(at("delta.pem"), delta);
  const text = await opensslOk(dir, "crl", "-in", "delta.pem", "-noout", "-text", "-CAfile", "i.pem");
  assert.match(text, /verify OK/);
  assert.match(text, /Delta CRL Indicator: critical\n *1\n/);
  for (const name of ["a", "b"]) {
    const { code, stdout } = await certutil(
      dir,
      "verify",
      "--trust",
      "r.pem",
      "--crls",
      "d.pem",
      "--json",
      `${name}.pem`,
    );
    assert.equal([code, JSON.parse(stdout).code], [1, "certificate-revoked"]);
  }
  // A complete list takes the place of base and delta.
  await done("gen-crl", ...ca("i"), "--out-crl", "d.pem");
  const after = JSON.parse(await done("inspect", "d.pem", "--json"));
  assert.equal(after.blocks.map(shape), [["1", null, 0], ["4", null, 2]]);
});

test("the record of what was issued: one line a certificate, none lost, none for what failed", async () => {
  const names = ["w1", "w2", "w3"];
  const role = ["--role", "worker", "--trust-domain", "acme.example"];
  await Promise.all(names.map((name) => done("gen-cert", ...ca("root"), ...out(name), "--common-name", name, ...role)));
  const lines = (await read("root.pem.issued.tsv")).trimEnd().split("\n").slice(1).map((line) => line.split("\t"));
  const rows = lines.filter(([, , , , subject]) => names.map((name) => `CN=${name}`).includes(subject!));
  assert.is(rows.length, 3);
  for (const [serial, , , fingerprint, subject, alternative] of rows) {
    const name = subject!.slice(3);
    const shown = await opensslOk(dir, "x509", "-in", `${name}.pem`, "-noout", "-serial", "-fingerprint", "-sha256");
    assert.match(shown.toLowerCase(), `serial=${serial}`);
    assert.match(shown.replaceAll(":", "").toLowerCase(), fingerprint!);
    assert.is(alternative, `IP:0.0.0.0,DNS:${name},URI:spiffe://acme.example/worker/${name}`);
  }
  const before = await read("root.pem.issued.tsv");
  const { code, stderr } = await certutil(dir, "gen-cert", ...ca("root"), ...out("w1"), "--common-name", "w1");
  assert.is(code, 1);
  assert.match(stderr, "it is there");
  assert.is(await read("root.pem.issued.tsv"), before);
  assert.is(
    (await certutil(dir, "gen-cert", ...ca("root"), ...out("x"), "--common-name", "x", "--role", "data")).code,
    1,
  );
  assert.not.ok((await readdir(dir)).some((name) => name.startsWith("x.")));
});

test.run();
