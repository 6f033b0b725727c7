/** A second opinion: OpenSSL reads and verifies what is issued here, and the other way round. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Result } from "effect";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { issueCsr, issueNode, issueRoot, signCsr } from "../../pki/issue/mod.ts";
import { verifyPath } from "../../pki/path.ts";
import { parsePem } from "../../pki/pem.ts";
import { defaultPolicy, makeTrustSnapshot } from "../../pki/trust.ts";
import { openssl, opensslOk } from "../support/commands.ts";
import { makeTestPki } from "../support/pki.ts";
import { needing } from "../support/prerequisites.ts";

const test = needing(suite("OpenSSL and what is issued"), "openssl");
let dir = "";
test.before(async () => {
  dir = await mkdtemp(join(tmpdir(), "hypha-openssl-"));
});
test.after(() => rm(dir, { recursive: true, force: true }));

const now = new Date();
const dayMs = 86_400_000;
const period = { notBefore: new Date(now.getTime() - dayMs), notAfter: new Date(now.getTime() + 90 * dayMs) };
const put = (files: Readonly<Record<string, string>>) =>
  Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(dir, name), text)));

function verdict(chainPem: string, trustPem: string, crlsPem?: string): string {
  const blocks = Result.getOrThrow(parsePem(chainPem));
  const trust = makeTrustSnapshot({ trustPem, crlsPem, policy: defaultPolicy, generation: 1, at: new Date() });
  const { snapshot } = Result.getOrThrow(trust);
  const outcome = verifyPath(blocks.map(({ der }) => der), snapshot, { at: new Date() });
  return Result.match(outcome, { onSuccess: () => "accepted", onFailure: ({ code }) => code });
}

test("verifies our chain and our lists, strictly", async () => {
  const pki = await makeTestPki();
  const [good, bad] = [await pki.node("good"), await pki.node("bad", { role: "worker" })];
  await put({
    "root.pem": pki.trustPem,
    "int.pem": pki.intermediate.certPem,
    "good.pem": good.certPem,
    "bad.pem": bad.certPem,
    "crls.pem": await pki.crls({ revoked: [bad], reason: "keyCompromise" }),
    "int.crl.pem": await pki.crl(pki.intermediate, { revoked: [bad], reason: "keyCompromise" }),
    "good-key.pem": good.keyPem,
  });
  const strict = ["verify", "-x509_strict", "-CAfile", "root.pem", "-untrusted", "int.pem"];
  assert.match(await opensslOk(dir, ...strict, "-purpose", "sslserver", "good.pem"), "good.pem: OK");
  assert.match(await opensslOk(dir, ...strict, "-purpose", "sslclient", "bad.pem"), "bad.pem: OK");
  const checked = [...strict, "-crl_check_all", "-CRLfile", "crls.pem"];
  assert.match(await opensslOk(dir, ...checked, "good.pem"), "good.pem: OK");
  const refused = await openssl(dir, ...checked, "bad.pem");
  assert.is.not(refused.code, 0);
  assert.match(refused.stderr, "certificate revoked");
  assert.match(await opensslOk(dir, "crl", "-in", "int.crl.pem", "-noout", "-CAfile", "int.pem"), "verify OK");
  const text = await opensslOk(dir, "x509", "-in", "bad.pem", "-noout", "-text");
  assert.match(text, "URI:spiffe://test.hypha/worker/bad");
  assert.match(text, "X509v3 Key Usage: critical\n                Digital Signature, Key Agreement");
  assert.match(await opensslOk(dir, "crl", "-in", "int.crl.pem", "-noout", "-text"), "Key Compromise");
  const pub = await opensslOk(dir, "pkey", "-in", "good-key.pem", "-pubout");
  assert.is(pub, await opensslOk(dir, "x509", "-in", "good.pem", "-noout", "-pubkey"));
});

test("reads our requests", async () => {
  const { csrPem } = await issueCsr({ commonName: "node-1", san: ["URI:spiffe://acme/worker/w1"] });
  await put({ "csr.pem": csrPem });
  const text = await opensslOk(dir, "req", "-in", "csr.pem", "-noout", "-verify", "-text");
  assert.match(text, "self-signature verify OK");
  assert.match(text, "IP Address:0.0.0.0, DNS:node-1, URI:spiffe://acme/worker/w1");
});

test("makes keys and requests that are signed here", async () => {
  const pki = await makeTestPki();
  for (
    const [name, ...key] of [["ed", "ed25519"], ["rsa", "rsa:2048"], [
      "ec",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
    ]]
  ) {
    const out = ["-keyout", `${name}.key`, "-out", `${name}.csr`, "-nodes"];
    const subject = ["-subj", "/C=DE/O=Acme/CN=n.example", "-addext", "subjectAltName=DNS:n.example,IP:10.1.2.3"];
    await opensslOk(dir, "req", "-new", "-newkey", ...key, ...out, ...subject);
    const csrPem = await readFile(join(dir, `${name}.csr`), "utf8");
    const identity = { commonName: "n.example", san: ["DNS:n.example"] };
    const { certPem, names, ignored } = await signCsr({ issuer: pki.intermediate, csrPem, identity, ...period });
    assert.equal(names, [{ type: "dns", value: "n.example" }]);
    assert.equal(ignored, ["subject C=DE, O=Acme, CN=n.example", "IP:10.1.2.3"]);
    const expected = name === "ed" ? "accepted" : "unsupported-key-algorithm";
    assert.is(verdict(certPem + pki.intermediate.certPem, pki.trustPem), expected);
  }
});

test("makes a CA, a certificate and a list that verify here; its CA signs here too", async () => {
  const conf = `[ca]\ndefault_ca=d\n[d]\ndatabase=index.txt\nserial=serial\ncrlnumber=crlnumber\ndefault_md=default
policy=p\nnew_certs_dir=.\nx509_extensions=leaf\ndefault_days=30\ndefault_crl_days=7\ncrl_extensions=crl
certificate=oca.pem\nprivate_key=oca.key\n[p]\ncommonName=supplied\n[crl]\nauthorityKeyIdentifier=keyid
[leaf]\nbasicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash
authorityKeyIdentifier=keyid\nextendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=DNS:n.example\n`;
  await put({ "ca.conf": conf, "index.txt": "", "serial": "1000\n", "crlnumber": "01\n" });
  const ca = ["-addext", "keyUsage=critical,keyCertSign,cRLSign", "-subj", "/CN=OpenSSL CA/O=Acme", "-days", "60"];
  await opensslOk(dir, "req", "-x509", "-newkey", "ed25519", "-nodes", "-keyout", "oca.key", "-out", "oca.pem", ...ca);
  const request = ["-nodes", "-keyout", "n.key", "-out", "n.csr", "-subj", "/CN=n.example"];
  await opensslOk(dir, "req", "-new", "-newkey", "ed25519", ...request);
  await opensslOk(dir, "ca", "-batch", "-notext", "-config", "ca.conf", "-in", "n.csr", "-out", "n.pem");
  await opensslOk(dir, "ca", "-config", "ca.conf", "-gencrl", "-out", "before.pem");
  await opensslOk(dir, "ca", "-config", "ca.conf", "-revoke", "n.pem", "-crl_reason", "superseded");
  await opensslOk(dir, "ca", "-config", "ca.conf", "-gencrl", "-out", "after.pem");
  const read = (name: string) => readFile(join(dir, name), "utf8");
  const [chain, trust] = [await read("n.pem"), await read("oca.pem")];
  assert.is(verdict(chain, trust), "accepted");
  assert.is(verdict(chain, trust, await read("before.pem")), "accepted");
  assert.is(verdict(chain, trust, await read("after.pem")), "certificate-revoked");
  const issuer = { certPem: trust, keyPem: await read("oca.key") };
  const ours = await issueNode({ issuer, commonName: "ours", ...period });
  await put({ "ours.pem": ours.certPem });
  assert.match(await opensslOk(dir, "verify", "-x509_strict", "-CAfile", "oca.pem", "ours.pem"), "OK");
});

test("verifies chains under our CAs of other algorithms", async () => {
  for (const keyAlgorithm of ["ecdsa-p384", "rsa-2048"] as const) {
    const root = await issueRoot({ commonName: "Root", ...period, overrides: { keyAlgorithm } });
    const node = await issueNode({ issuer: root, commonName: "n", ...period });
    await put({ "other-root.pem": root.certPem, "other.pem": node.certPem });
    assert.match(await opensslOk(dir, "verify", "-x509_strict", "-CAfile", "other-root.pem", "other.pem"), "OK");
  }
});

test.run();
