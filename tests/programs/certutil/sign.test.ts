/** `sign`: nothing but the key is taken from a request. */
import { appendFile, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { issueCsr } from "../../../pki/issue/mod.ts";
import { certutilHere as certutil } from "../../support/commands.ts";

const test = suite("hypha-certutil sign");
let dir = "";
const at = (name: string) => join(dir, name);
const ca = (name: string) => ["--ca-cert", `${name}.pem`, "--ca-key", `${name}.key`];
const out = (name: string) => ["--out-cert", `${name}.pem`, "--out-key", `${name}.key`];

async function done(...args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.is(code, 0, `${args.join(" ")}: ${stdout}${stderr}`);
  return stdout + stderr;
}

async function refused(why: RegExp, ...args: readonly string[]): Promise<void> {
  const { code, stdout, stderr } = await certutil(dir, ...args);
  assert.equal([code, stdout], [1, ""], `${args.join(" ")}: ${stdout}${stderr}`);
  assert.match(stderr, why);
  assert.is(stderr.trimEnd().split("\n").length, 1, stderr);
}

interface Shown {
  readonly subject: string;
  readonly names: readonly string[];
  readonly peer: string;
  readonly notAfter: string;
}

async function shown(file: string): Promise<Shown> {
  return JSON.parse(await done("inspect", file, "--json")).blocks[0].fields;
}

/** A request with these wishes, and its key beside it. */
async function request(name: string, commonName: string, san?: readonly string[]): Promise<void> {
  const { csrPem, keyPem } = await issueCsr({ commonName, ...(san === undefined ? {} : { san }) });
  await writeFile(at(`${name}.csr`), csrPem);
  await writeFile(at(`${name}.key`), keyPem, { mode: 0o600 });
}

const sign = (
  name: string,
  ...more: readonly string[]
) => ["sign", ...ca("int"), "--csr", `${name}.csr`, "--out-cert", `${name}.pem`, ...more];
const worker = ["--common-name", "w1", "--role", "worker", "--domain", "acme.example"];

test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-sign-"));
  await done("gen-ca", ...out("root"), "--common-name", "Root");
  await done("gen-intermediate-ca", ...ca("root"), ...out("int"), "--common-name", "Intermediate", "--days", "30");
  await done("gen-intermediate-ca", ...ca("root"), ...out("int2"), "--common-name", "Intermediate");
});
test.after(() => rm(dir, { recursive: true, force: true }));

test("makes no certificate of localhost because the request is named so", async () => {
  await request("lo", "localhost", ["DNS:localhost", "IP:127.0.0.1", "DNS:w1"]);
  const said = await done(...sign("lo", ...worker));
  assert.match(said, "ignored: subject CN=localhost, DNS:localhost, IP:127.0.0.1\n");
  const { subject, names } = await shown("lo.pem");
  assert.is(subject, "CN=w1");
  assert.equal(names, ["IP:0.0.0.0", "DNS:w1", "URI:spiffe://acme.example/worker/w1"]);
});

test("wants a common name of the signer", async () => {
  await request("w", "w1");
  await refused(/--common-name is missing; nothing but the key is taken from a request\. Give .*--role/, ...sign("w"));
  await refused(/and --role cannot be given without it/, ...sign("w", "--role", "data", "--domain", "d.example"));
  await refused(/--domain is missing/, ...sign("w", "--common-name", "w1", "--role", "data"));
});

test("refuses a request for another role than the signer gives, and takes one for the same", async () => {
  const wish = "spiffe://acme.example/gateway/w1";
  await request("g", "w1", [`URI:${wish}`]);
  const why =
    /asks for URI:spiffe:\/\/acme\.example\/gateway\/w1, and the signer gives spiffe:\/\/acme\.example\/worker\//;
  await refused(why, ...sign("g", ...worker));
  await refused(
    /, and the signer gives no URI\. Give it with --role and --domain/,
    ...sign("g", "--common-name", "w1"),
  );
  await done(...sign("g", "--common-name", "w1", "--role", "gateway", "--trust-domain", "acme.example"));
  assert.ok((await shown("g.pem")).names.includes(`URI:${wish}`));
});

test("refuses a request about the CA's own key", async () => {
  const { csrPem } = await issueCsr({ commonName: "w1", keyPem: await readFile(at("int.key"), "utf8") });
  await writeFile(at("steal.csr"), csrPem);
  await refused(/the request is about the CA's own key/, ...sign("steal", ...worker));
});

test("ends a certificate with its CA's, and says so", async () => {
  await request("long", "w1");
  const end = (await shown("int.pem")).notAfter;
  assert.match(await done(...sign("long", ...worker)), `the certificate ends with its issuer at ${end}, not at `);
  assert.is((await shown("long.pem")).notAfter, end);
});

test("renews a certificate in its place, with its names and another key", async () => {
  await done("gen-cert", ...ca("int"), ...out("r"), ...worker, "--organization", "Acme", "--san", "DNS:w.example");
  const before = await shown("r.pem");
  await request("r", "gateway-01", ["DNS:gateway-01"]);
  await refused(/and r\.pem is there\. To renew that certificate, with its names, add --force/, ...sign("r"));
  const said = await done(...sign("r", "--force"));
  assert.match(said, "subject CN=w1, O=Acme\nname DNS:w.example\nname URI:spiffe://acme.example/worker/w1\n");
  assert.match(said, "ignored: subject CN=gateway-01, DNS:gateway-01\n");
  const after = await shown("r.pem");
  assert.equal([after.subject, after.names], [before.subject, before.names]);
  assert.is.not(after.peer, before.peer);
});

test("bug: a certificate was renewed without the issuers that its file had", async () => {
  const certificates = async (file: string) =>
    [...(await readFile(at(file), "utf8")).matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)]
      .map(([block]) => block);
  await done("gen-cert", ...ca("int"), ...out("k"), ...worker, "--chain");
  const [int = ""] = await certificates("int.pem");
  const [root = ""] = await certificates("root.pem");
  await request("k", "w1");
  await done(...sign("k", "--force"));
  assert.equal((await certificates("k.pem")).slice(1), [int]);
  await appendFile(at("k.pem"), `${root}\n`);
  await done(...sign("k", "--force", "--chain"));
  assert.equal((await certificates("k.pem")).slice(1), [int, root]);
  await done(...sign("k", ...worker, "--force"));
  assert.equal((await certificates("k.pem")).slice(1), []);
});

test("renews nothing of another CA, of the same name too, no CA, and nothing that is revoked", async () => {
  await request("o", "w1");
  await done("gen-cert", ...ca("int2"), ...out("o"), ...worker, "--force");
  await refused(/o\.pem is of another CA than int\.pem: its names are not taken over/, ...sign("o", "--force"));
  await request("c", "w1");
  await done("gen-intermediate-ca", ...ca("root"), ...out("sub"), "--common-name", "Sub");
  const over = ["sign", ...ca("root"), "--csr", "c.csr", "--out-cert", "sub.pem", "--force"];
  await refused(/sub\.pem is a CA's/, ...over);
  await request("x", "w1");
  await done(...sign("x", ...worker));
  await done("revoke", ...ca("int"), "--cert", "x.pem", "--out-crl", "crls.pem");
  await refused(/x\.pem is revoked: its names are not taken over/, ...sign("x", "--force"));
  await done(...sign("x", ...worker, "--force"));
});

test("renews nothing without the CA's record of revocations, or with another CA's", async () => {
  await done("gen-intermediate-ca", ...ca("root"), ...out("int3"), "--common-name", "Third");
  const third = (
    ...more: readonly string[]
  ) => ["sign", ...ca("int3"), "--csr", "z.csr", "--out-cert", "z.pem", "--force", ...more];
  await request("z", "w1");
  await done(...third(...worker));
  await done("revoke", ...ca("int3"), "--cert", "z.pem", "--out-crl", "z-crls.pem", "--record", "else.tsv", "--first");
  await refused(/z\.pem is revoked/, ...third("--record", "else.tsv"));
  await refused(/int\.pem\.revoked\.tsv is the record of another CA/, ...third("--record", "int.pem.revoked.tsv"));
  await rm(at("int3.pem.revoked.tsv"));
  const none =
    /there is no record int3\.pem\.revoked\.tsv .*the certificate may be revoked\. Name the record with --record/;
  await refused(none, ...third());
  await done(...third(...worker));
});

test("refuses a request whose signature is wrong", async () => {
  await request("bent", "w1");
  const [first, ...lines] = (await readFile(at("bent.csr"), "utf8")).split("\n");
  const body = lines.slice(0, -2);
  const last = body.at(-1)!;
  body[body.length - 1] = `${last[0] === "A" ? "B" : "A"}${last.slice(1)}`;
  await writeFile(at("bent.csr"), [first, ...body, ...lines.slice(-2)].join("\n"));
  await refused(/Cannot sign bent\.csr: the request is not signed by the key it is about/, ...sign("bent", ...worker));
});

test("names ten wishes that it ignores, and counts the others", async () => {
  const san = Array.from({ length: 14 }, (_, index) => `DNS:n${index}.example`);
  await request("many", "w1", san);
  assert.match(await done(...sign("many", ...worker)), /ignored: DNS:n0\.example, .*DNS:n9\.example, and 4 more\n/);
});

test("does not replace the request by the certificate", async () => {
  await request("same", "w1");
  await appendFile(at("same.csr"), "\n");
  const args = ["sign", ...ca("int"), "--csr", "same.csr", "--out-cert", "./same.csr", ...worker, "--force"];
  await refused(/same\.csr: the command reads it/, ...args);
});

test.run();
